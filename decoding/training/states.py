"""Keeps on disk what a target computed of texts: hidden states, tokens, and what it would write behind each of them.

A text is one file, written whole or not at all, so that whoever collects may be ended at any time and go on later.
Knows no model.

Dimension letters: N tokens of a text, C width of the target, K likeliest tokens, B places, H heads.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from decoding.errors import TabcastError

NUM_LIKELIEST: Final = 8  # chosen: what heads learn of a distribution; the rest of code's is next to nothing
MANIFEST: Final = "states.json"
FORMAT: Final = 1

Record = NDArray[np.void]


def record_type(width: int) -> np.dtype[np.void]:
    """Return the type of a text's tokens, one record for each.

    `state` is the normalised input of the target's head; `choices` and `shares` are the likeliest tokens behind this
    one, and `is_own` whether the target wrote it.
    """
    fields: list[Any] = [("state", np.float16, width), ("id", np.int32), ("is_own", np.bool_)]
    fields += [("choices", np.int32, NUM_LIKELIEST), ("shares", np.float16, NUM_LIKELIEST)]
    return np.dtype(fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Places of texts, with the tokens that follow each and the target's distribution at these."""

    states: NDArray[np.float16]  # (B, C)
    known_ids: NDArray[np.int32]  # (B, H), the tokens behind the place
    choices: NDArray[np.int32]  # (B, H, K), what may follow each of them
    shares: NDArray[np.float16]  # (B, H, K)


class StatesFolder:
    """A folder of collected texts; `told` says what they come from, and others aren't mixed with them."""

    def __init__(self, folder: Path, told: dict[str, Any]) -> None:
        """Raises `TabcastError` if the folder has states of something else, or can't be written."""
        self.folder = folder
        told = {"format": FORMAT, **told}
        path = folder / MANIFEST
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if path.is_file():
                had = json.loads(path.read_text(encoding="utf-8"))
                unlike = [name for name in told if had.get(name) != told[name]]
                if unlike:
                    raise TabcastError(
                        f"{folder} holds what was collected with another {unlike[0]}: remove it, or name another --out"
                    )
            else:
                path.write_text(json.dumps(told), encoding="utf-8")
        except (ValueError, AttributeError):
            raise TabcastError(f"{path} is damaged: remove {folder}, and the states are collected anew") from None
        except OSError as error:
            raise TabcastError(f"{folder} can't be written: {error.strerror}") from None

    def has(self, name: str) -> bool:
        """Return whether a text was collected."""
        return self._path(name).is_file()

    def write(self, name: str, records: Record) -> None:
        """Write a text's records. Raises `TabcastError` on a full disk."""
        path = self._path(name)
        partial = path.with_suffix(".partial")
        try:
            with partial.open("wb") as out:
                np.save(out, records, allow_pickle=False)
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise TabcastError(f"{path} can't be written: {error.strerror}") from None

    def read(self, name: str) -> Record:
        """Map a text's records, (N,). Raises `TabcastError` if they are damaged."""
        try:
            found: Record = np.load(self._path(name), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError):
            raise TabcastError(f"{self._path(name)} is damaged: remove it, and it is collected anew") from None
        return found

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"


class Places:
    """All places of some texts that have enough tokens behind them, in an order that a seed decides; see `DataLoader`.

    A row of a batch is `row_len` numbers of places, for `take`. Each epoch has an order of its own.
    """

    def __init__(self, texts: Sequence[Record], *, num_heads: int, row_len: int, seed: int) -> None:
        self._texts, self._num_heads, self._row_len, self._seed = texts, num_heads, row_len, seed
        ends = np.cumsum([max(0, len(text) - num_heads) for text in texts])
        self._ends = ends.astype(np.int64)
        self._epoch = self._next = 0
        self._order = self._shuffled()

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def batch(self, num_rows: int) -> NDArray[np.int64]:
        """Return the next numbers of places, shape (num_rows, row_len)."""
        found: list[NDArray[np.int64]] = []
        left = num_rows * self._row_len
        while left:
            if self._next == len(self._order):
                self._epoch, self._next = self._epoch + 1, 0
                self._order = self._shuffled()
            found.append(self._order[self._next : self._next + left])
            self._next += len(found[-1])
            left -= len(found[-1])
        return np.concatenate(found).reshape(num_rows, self._row_len)

    def state(self) -> dict[str, Any]:
        """Return the stream's position, for `restore`."""
        return {"epoch": self._epoch, "next": self._next}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a position that `state` returned."""
        self._epoch, self._next = state["epoch"], state["next"]
        self._order = self._shuffled()

    def take(self, places: NDArray[np.int64]) -> Batch:
        """Read places by their numbers (B,)."""
        width = self._texts[0].dtype["state"].shape[0]
        ahead, likeliest = (len(places), self._num_heads), (len(places), self._num_heads, NUM_LIKELIEST)
        made = Batch(
            states=np.empty((len(places), width), np.float16),
            known_ids=np.empty(ahead, np.int32),
            choices=np.empty(likeliest, np.int32),
            shares=np.empty(likeliest, np.float16),
        )
        of_text = np.searchsorted(self._ends, places, side="right")
        for number in np.unique(of_text):
            rows = np.flatnonzero(of_text == number)
            text = self._texts[number]
            at = places[rows] - (self._ends[number - 1] if number else 0)
            made.states[rows] = text["state"][at]
            for head in range(self._num_heads):
                behind = text[at + 1 + head]
                made.known_ids[rows, head] = behind["id"]
                made.choices[rows, head], made.shares[rows, head] = behind["choices"], behind["shares"]
        return made

    def _shuffled(self) -> NDArray[np.int64]:
        return np.random.default_rng([self._seed, self._epoch]).permutation(len(self)).astype(np.int64)
