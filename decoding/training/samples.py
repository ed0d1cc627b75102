"""Turns source files into rows of token ids in the very layout of the engine: `prompt_layout.build_prompt` makes them.

A sample is a prompt (repository, context files, path, suffix and prefix as the model's own template orders them), the
middle and an end; several follow each other in a row. For the shipped layout the middle follows the prefix with nothing
between, so that at worst the model is a plain language model of the prefix. Fill-in-the-middle: Bavarian et al. 2022
(https://arxiv.org/abs/2207.14255).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from decoding.protocol import CompletionOptions, CompletionRequest, ContextFile
from decoding.text.prompt_layout import Layout, build_prompt, find_layout
from decoding.training.corpus import SourceFile
from decoding.training.fim_splits import FimSplit, choose_split, cut_anywhere, windows

REPOSITORY_SHARE = 0.6
PATH_SHARE = 0.93
CONTEXT_SHARE = 0.25
CONTEXT_CHARACTERS = 900
SOURCE_FOLDER_SHARE = 0.15
ANSWER_TOKENS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFormat:
    """The form of a model's prompts: the tokenizer, the layout, the token that ends an answer, where cursors stand."""

    tokenizer: Tokenizer
    layout: Layout
    end_id: int
    cut: Callable[[str, random.Random], FimSplit] = choose_split

    @classmethod
    def suffix_first(cls, tokenizer: Tokenizer) -> SampleFormat:
        """Return the form of the models made here."""
        end_id: int = tokenizer.get_vocab()["<|endoftext|>"]
        layout = find_layout(tokenizer.get_vocab(), {"fim_order": "suffix_first"}, [end_id])
        return cls(tokenizer=tokenizer, layout=layout, end_id=end_id)

    @classmethod
    def prefix_first(cls, tokenizer: Tokenizer) -> SampleFormat:
        """Return the form of most published models: the classic layout, cut anywhere. For comparisons of layouts."""
        form = cls.suffix_first(tokenizer)
        layout = find_layout(tokenizer.get_vocab(), {"fim_order": "prefix_first"}, [form.end_id])
        return replace(form, layout=replace(layout, is_anchored=False), cut=cut_anywhere)

    def encode(self, text: str) -> list[int]:
        """Return token ids of plain text."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The text that goes before a file's own; "" where repository or path is unknown."""

    repo: str = ""
    path: str = ""
    context: tuple[ContextFile, ...] = ()


def encode_sample(form: SampleFormat, around: Surroundings, cut: FimSplit, *, budget: int) -> list[int]:
    """Return token ids of one sample, the prompt at most `budget` of them; plain text (no middle) has no end.

    Token healing makes the model generate the prefix's last token again, so prefix and middle are encoded as a whole
    wherever that agrees with the prefix's other tokens.
    """
    options = CompletionOptions(repo=around.repo, path=around.path, context=around.context)
    prompt = build_prompt(
        CompletionRequest(prompt=cut.prefix, suffix=cut.suffix, tabcast=options), form.layout, form.encode, budget
    )
    if cut.middle is None:
        return prompt.ids
    if prompt.cursor < len(prompt.ids):  # the classic layout, with the typed text before the suffix
        return [*prompt.ids, *form.encode(cut.middle), form.end_id]
    typed = form.encode(cut.prefix)
    whole = form.encode(cut.prefix + cut.middle)
    if prompt.num_typed and whole[: len(typed) - 1] == typed[:-1]:
        return [*prompt.ids[:-1], *whole[len(typed) - 1 :], form.end_id]
    return [*prompt.ids, *form.encode(cut.middle), form.end_id]


class Samples:
    """An endless stream of rows of token ids; equal seeds give equal rows. Each epoch cuts the files anew."""

    def __init__(self, files: Sequence[SourceFile], form: SampleFormat, *, row_len: int, seed: int) -> None:
        self._files = files
        self._form = form
        self._row_len = row_len
        self._random = random.Random(seed)  # noqa: S311 - sampling, not secrets
        self._packages: dict[str, list[SourceFile]] = {}
        for file in files:
            self._packages.setdefault(file.package, []).append(file)
        self._pending: list[int] = []
        self._begin_epoch()

    def batch(self, num_rows: int) -> npt.NDArray[np.int64]:
        """Return the next rows, shape (num_rows, row_len)."""
        return np.asarray([self._row() for _ in range(num_rows)], dtype=np.int64)

    def state(self) -> dict[str, Any]:
        """Return the stream's position, for `restore`."""
        return {
            "epoch": self._epoch_state,
            "next": self._next,
            "random": self._random.getstate(),
            "pending": list(self._pending),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a position that `state` returned, with equal files and settings."""
        self._random.setstate(state["epoch"])
        self._begin_epoch()
        self._random.setstate(state["random"])
        self._next = state["next"]
        self._pending = list(state["pending"])

    def _begin_epoch(self) -> None:
        self._epoch_state = self._random.getstate()
        self._texts = [(file, window) for file in self._files for window in windows(file.text, self._random)]
        self._random.shuffle(self._texts)
        self._next = 0

    def _row(self) -> list[int]:
        while len(self._pending) < self._row_len:
            if self._next == len(self._texts):
                self._begin_epoch()
            file, text = self._texts[self._next]
            self._next += 1
            cut = self._form.cut(text, self._random)
            budget = self._row_len - min(ANSWER_TOKENS, self._row_len // 4)
            self._pending += encode_sample(self._form, self._surroundings(file), cut, budget=budget)
        row = self._pending[: self._row_len]
        del self._pending[: self._row_len]
        return row

    def _surroundings(self, file: SourceFile) -> Surroundings:
        rng = self._random
        folder = "src/" if rng.random() < SOURCE_FOLDER_SHARE else ""
        context: list[ContextFile] = []
        others = self._packages[file.package]
        if rng.random() < CONTEXT_SHARE and len(others) > 1:
            for _ in range(rng.choice((1, 1, 2, 3))):
                other = _neighbour(file, others, rng)
                if other is not file:
                    context.append(ContextFile(path=folder + other.path, text=_extract(other.text, rng)))
        return Surroundings(
            repo=file.package if rng.random() < REPOSITORY_SHARE else "",
            path=folder + file.path if rng.random() < PATH_SHARE else "",
            context=tuple(context),
        )


def _neighbour(file: SourceFile, others: Sequence[SourceFile], rng: random.Random) -> SourceFile:
    """Choose another file, preferably of the file's own folder: the best of a few draws."""
    folder = file.path.rpartition("/")[0]
    drawn = [rng.choice(others) for _ in range(4)]
    return next((other for other in drawn if other.path.rpartition("/")[0] == folder), drawn[0])


def _extract(text: str, rng: random.Random) -> str:
    """Return whole lines of a file: its head, or as many from somewhere in it."""
    lines = text.splitlines(keepends=True)
    start = rng.randrange(len(lines)) if rng.random() < 0.5 else 0
    room = rng.randrange(150, CONTEXT_CHARACTERS)
    taken = []
    for line in lines[start:]:
        room -= len(line)
        if room < 0:
            break
        taken.append(line)
    return "".join(taken)
