"""Chooses where a cursor may stand in a file: windows of its text, each cut into prefix, middle and suffix.

The shares follow what an editor asks for: the rest of a line, whole lines, bodies, and now and then nothing. Knows
texts, no tokens.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

WINDOW_CHARACTERS = 3000
SUFFIX_CHARACTERS = 900
MIN_WINDOW_CHARACTERS = 100
MAX_BODY_LINES = 25
PLAIN_SHARE = 0.3
PLAIN_SHARE_ANYWHERE = 0.5


class FimSplit(NamedTuple):
    """The prefix, middle and suffix of a text; the middle is None for plain text, which has no cursor."""

    prefix: str
    middle: str | None
    suffix: str


def windows(text: str, rng: random.Random) -> Iterator[str]:
    """Yield whole lines of `text` in pieces of 1,500 to 3,000 characters."""
    lines = text.splitlines(keepends=True)
    start, length, size = 0, 0, rng.randrange(WINDOW_CHARACTERS // 2, WINDOW_CHARACTERS)
    for i, line in enumerate(lines):
        length += len(line)
        if length >= size:
            yield "".join(lines[start : i + 1])
            start, length, size = i + 1, 0, rng.randrange(WINDOW_CHARACTERS // 2, WINDOW_CHARACTERS)
    if length > MIN_WINDOW_CHARACTERS:
        yield "".join(lines[start:])


def choose_split(text: str, rng: random.Random) -> FimSplit:
    """Choose a cursor and what is missing behind it."""
    kind = rng.random()
    if kind < PLAIN_SHARE:
        return FimSplit(text, None, "")
    lines = text.splitlines(keepends=True)
    row = rng.randrange(len(lines))
    start = sum(map(len, lines[:row]))
    indent = len(lines[row]) - len(lines[row].lstrip(" "))
    line_end = start + len(lines[row].rstrip("\n"))
    body_end = _body_end(lines, row)
    if kind < 0.50:  # the rest of a line, from anywhere in it
        start += rng.randrange(max(1, len(lines[row])))
        end = line_end
    elif kind < 0.75:  # whole lines, the indentation typed or not
        end = sum(map(len, lines[: row + rng.choice((1, 1, 1, 2, 3, 5))])) - 1
        start += indent if rng.random() < 0.7 else 0
    elif kind < 0.88 and body_end > row + 1:  # a body after the line that opens it
        start += len(lines[row]) - (rng.random() < 0.5)
        end = sum(map(len, lines[:body_end])) - 1
    elif kind < 0.93:  # nothing is missing
        start = end = line_end
    else:  # any stretch
        start += rng.randrange(max(1, len(lines[row])))
        end = start + rng.randrange(1, 120)
    end = min(max(start, end), len(text))
    return FimSplit(text[:start], text[start:end], text[end : end + rng.randrange(SUFFIX_CHARACTERS)])


def cut_anywhere(text: str, rng: random.Random) -> FimSplit:
    """Cut at two random characters, uniformly: how most published models were taught (Bavarian et al.)."""
    if rng.random() < PLAIN_SHARE_ANYWHERE:
        return FimSplit(text, None, "")
    start, end = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
    return FimSplit(text[:start], text[start:end], text[end:])


def _body_end(lines: Sequence[str], row: int) -> int:
    """Return the row after the block that `lines[row]` opens; `row + 1` where it opens none."""
    if not lines[row].rstrip().endswith(":"):
        return row + 1
    outer = len(lines[row]) - len(lines[row].lstrip())
    end = row + 1
    for i in range(row + 1, min(len(lines), row + MAX_BODY_LINES)):
        if lines[i].strip():
            if len(lines[i]) - len(lines[i].lstrip()) <= outer:
                break
            end = i + 1
    return end
