r"""Turns source files into training rows in the very layout that the engine asks in: suffix first.

A sample is `<file>path\n<prefix><suffix>SUFFIX<middle>PREFIX MIDDLE<end>`: the middle follows the prefix with nothing
between, so that at worst the model is a plain language model of the prefix.
Fill-in-the-middle: Bavarian et al. 2022 (https://arxiv.org/abs/2207.14255), their SPM order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from decoding.training.corpus import SourceFile

WINDOW_CHARACTERS = 3000
SUFFIX_CHARACTERS = 900
PLAIN_SHARE = 0.4


class Samples:
    """An endless stream of rows of token ids, the same for the same seed; each epoch cuts the files anew."""

    def __init__(self, files: Sequence[SourceFile], tokenizer: Tokenizer, *, row_len: int, seed: int) -> None:
        self._files = files
        self._tokenizer = tokenizer
        self._row_len = row_len
        self._random = random.Random(seed)  # noqa: S311 - sampling, not secrets
        self._rows = self._generate()

    def batch(self, num_rows: int) -> npt.NDArray[np.int64]:
        """The next rows, shape (num_rows, row_len)."""
        return np.asarray([next(self._rows) for _ in range(num_rows)], dtype=np.int64)

    def _generate(self) -> Iterator[list[int]]:
        pending: list[int] = []
        while True:
            windows = [window for file in self._files for window in _windows(file, self._random)]
            self._random.shuffle(windows)
            for path, text in windows:
                pending += encode_sample(self._tokenizer, path, *_cut(text, self._random))
                while len(pending) >= self._row_len:
                    yield pending[: self._row_len]
                    del pending[: self._row_len]


def encode_sample(tokenizer: Tokenizer, path: str, prefix: str, middle: str | None, suffix: str) -> list[int]:
    """Token ids of one sample; `middle` None means plain text without an end."""
    file_separator, begin, end, middle_token, stop = (
        tokenizer.get_vocab()[f"<|{name}|>"]
        for name in ("file_sep", "fim_prefix", "fim_suffix", "fim_middle", "endoftext")
    )
    head = [file_separator, *encode(tokenizer, path + "\n"), begin, end]
    if middle is None:
        return [*head, middle_token, *encode(tokenizer, prefix)]
    return [*head, *encode(tokenizer, suffix), middle_token, *encode_at_cursor(tokenizer, prefix, middle), stop]


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Token ids of plain text; nothing in it is read as a special token's name."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def encode_at_cursor(tokenizer: Tokenizer, prefix: str, middle: str) -> list[int]:
    """Prefix and middle as they meet when the prefix alone was tokenized and the model goes on.

    Where the cursor cuts a token of the whole text, the rest of that token is encoded by itself.
    """
    whole = tokenizer.encode(prefix + middle, add_special_tokens=False)
    cursor = len(prefix)
    first = next((i for i, (_, end) in enumerate(whole.offsets) if end > cursor), len(whole.ids))
    if first < len(whole.ids) and whole.offsets[first][0] < cursor:
        rest = (prefix + middle)[cursor : whole.offsets[first][1]]
        return [*encode(tokenizer, prefix), *encode(tokenizer, rest), *whole.ids[first + 1 :]]
    return [*encode(tokenizer, prefix), *whole.ids[first:]]


def _windows(file: SourceFile, rng: random.Random) -> Iterator[tuple[str, str]]:
    lines = file.text.splitlines(keepends=True)
    start, size = 0, rng.randrange(WINDOW_CHARACTERS // 2, WINDOW_CHARACTERS)
    length = 0
    for i, line in enumerate(lines):
        length += len(line)
        if length >= size:
            yield file.path, "".join(lines[start : i + 1])
            start, length, size = i + 1, 0, rng.randrange(WINDOW_CHARACTERS // 2, WINDOW_CHARACTERS)
    if length > 100:
        yield file.path, "".join(lines[start:])


def _cut(text: str, rng: random.Random) -> tuple[str, str | None, str]:
    """Choose a cursor: (prefix, middle, suffix); the middle is None for plain text."""
    kind = rng.random()
    if kind < PLAIN_SHARE:
        return text, None, ""
    lines = text.splitlines(keepends=True)
    row = rng.randrange(len(lines))
    start = sum(map(len, lines[:row]))
    indent = len(lines[row]) - len(lines[row].lstrip(" "))
    body_end = _body_end(lines, row)
    if kind < 0.55:  # the rest of a line, from anywhere in it
        start += rng.randrange(max(1, len(lines[row])))
        end = sum(map(len, lines[: row + 1])) - 1
    elif kind < 0.75:  # whole lines, the indentation typed or not
        start += indent if rng.random() < 0.7 else 0
        end = sum(map(len, lines[: row + rng.choice((1, 1, 1, 2, 3, 5))])) - 1
    elif kind < 0.90 and body_end > row + 1:  # a body after the line that opens it
        start += len(lines[row]) - (rng.random() < 0.5)
        end = sum(map(len, lines[:body_end])) - 1
    elif kind < 0.94:  # nothing is missing
        start += len(lines[row]) - 1
        end = start
    else:
        start += rng.randrange(max(1, len(lines[row])))
        end = start + rng.randrange(1, 120)
    end = min(max(start, end), len(text))
    return text[:start], text[start:end], text[end : end + rng.randrange(SUFFIX_CHARACTERS)]


def _body_end(lines: Sequence[str], row: int) -> int:
    """The row after the block that `lines[row]` opens; `row + 1` where it opens none."""
    if not lines[row].rstrip().endswith(":"):
        return row + 1
    outer = len(lines[row]) - len(lines[row].lstrip())
    end = row + 1
    for i in range(row + 1, min(len(lines), row + 25)):
        if lines[i].strip():
            if len(lines[i]) - len(lines[i].lstrip()) <= outer:
                break
            end = i + 1
    return end
