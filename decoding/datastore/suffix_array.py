"""Implements a suffix array over tokens, which finds the places behind the longest match with the end of a text.

Places are sorted by the tokens before them, read backwards, so that one binary search finds those with the longest
match. Prefix doubling: Manber and Myers 1993 (https://doi.org/10.1137/0222058); only groups that are not told apart yet
are sorted again (Larsson and Sadakane 2007, https://doi.org/10.1016/j.tcs.2007.07.017). As a source of drafts: REST, He
et al. 2023 (https://arxiv.org/abs/2311.08252).

Arrays of numbers: it knows no file, no tokenizer and no model.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

# chosen: places are sorted by so many tokens, so this is the longest match that is reported. No draft needs more.
DEPTH: Final = 16
# chosen: only so many places with the longest match are read, those nearest in order, to bound the time of a proposal.
MAX_FOUND: Final = 32

Tokens = NDArray[np.unsignedinteger[Any]]
Places = NDArray[np.uint32]


class Found(NamedTuple):
    """The places with the longest match: its length in tokens, and the tokens behind each, (places, length)."""

    match_len: int
    following: list[list[int]]


def sort_places(tokens: Tokens, depth: int = DEPTH) -> Places:
    """Sort all places by at least the `depth` tokens before them, read backwards.

    Args:
        tokens: (N,) of an unsigned type; N < 2**32.
        depth: places that agree in more tokens are in arbitrary order.

    Returns:
        (N + 1,) places from 0 to N; place p stands behind p tokens.
    """
    keys, known = _first_keys(tokens)
    order = np.argsort(keys)
    keys = keys[order]
    is_first = np.append(True, keys[1:] != keys[:-1])  # marks the first place of each group of equal keys
    del keys
    groups = np.empty(len(order), dtype=np.uint32)
    groups[order] = _starts(is_first, np.arange(len(order), dtype=np.uint32))
    while known < depth:
        slots = np.flatnonzero(~(is_first & np.append(is_first[1:], True)))
        if not len(slots):
            break
        places = order[slots]
        # Key 0 stands for the text's beginning, which sorts before all tokens.
        further = np.where(places >= known, groups[np.maximum(places - known, 0)] + np.int64(1), 0)
        pairs = (groups[places].astype(np.int64) << 32) | further
        by_pair = np.argsort(pairs)
        pairs, places = pairs[by_pair], places[by_pair]
        order[slots] = places
        is_new = np.append(True, pairs[1:] != pairs[:-1])
        is_first[slots] = is_new
        groups[places] = _starts(is_new, slots.astype(np.uint32))
        known *= 2
    return order.astype(np.uint32)


def _first_keys(tokens: Tokens) -> tuple[NDArray[np.uint64], int]:
    """Return for each place a key of the tokens before it that go into 64 bits, and how many these are.

    In a key, 0 stands for the text's beginning.
    """
    bits = (int(tokens.max(initial=0)) + 1).bit_length()
    count = 64 // bits
    keys = np.zeros(len(tokens) + 1, dtype=np.uint64)
    for distance in range(1, count + 1):
        keys <<= np.uint64(bits)
        keys[distance:] |= tokens[: max(0, len(tokens) + 1 - distance)].astype(np.uint64) + np.uint64(1)
    return keys, count


def _starts(is_first: NDArray[np.bool_], slots: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return for each slot the first slot of its group."""
    return np.maximum.accumulate(np.where(is_first, slots, 0))


class SuffixArray:
    """Searches in tokens and their sorted places, which may lie on disk.

    Invalid numbers lead to useless results, never to an error: a damaged file is only bad advice.
    """

    def __init__(self, tokens: Tokens, order: Places, separator: int) -> None:
        """`separator` stands between texts: no match and no draft goes beyond it."""
        self._tokens, self._order, self._separator = tokens, order, separator
        # Reading single items from a memoryview is several times faster than from an array.
        self._token_view, self._order_view = memoryview(tokens), memoryview(order)  # type: ignore[arg-type]
        self._ranges: dict[int, tuple[int, int]] = {}

    def find(self, recent: Sequence[int], length: int, min_match: int = 1) -> Found:
        """Find places behind the longest match with the end of `recent`, and `length` tokens behind each.

        There are `MAX_FOUND` places at most, and none for a match below `min_match` tokens.
        """
        wanted = list(recent[: -DEPTH - 1 : -1])
        if not wanted:
            return Found(0, [])
        begin, end = self._range_of(wanted[0])
        slot = bisect_left(self._order_view, wanted, begin, end, key=self._before)
        near = self._order_view[max(0, slot - 1) : slot + 1]
        match_len = max((_common_len(self._before(place), wanted) for place in near), default=0)
        if match_len < min_match:
            return Found(0, [])
        view, alike, last = self._token_view, wanted[match_len - 1 :: -1], len(self._token_view)
        following = [
            view[place : place + length].tolist()
            for place in self._order_view[max(0, slot - MAX_FOUND // 2) : slot + MAX_FOUND // 2]
            if match_len <= place < last and view[place - match_len : place].tolist() == alike
        ]
        return Found(match_len, [self._until_separator(ids) for ids in following])

    def _range_of(self, token_id: int) -> tuple[int, int]:
        """Return the slots of the places behind a token. They are cached, since they are asked for again and again."""
        found = self._ranges.get(token_id)
        if found is None:
            begin = bisect_left(self._order_view, [token_id], key=self._before)
            end = bisect_left(self._order_view, [token_id + 1], begin, key=self._before)
            found = self._ranges[token_id] = (begin, end)
        return found

    def _before(self, place: int) -> list[int]:
        """Return the tokens before a place, read backwards."""
        ids: list[int] = self._token_view[max(0, place - DEPTH) : place].tolist()
        ids.reverse()
        return ids

    def _until_separator(self, ids: list[int]) -> list[int]:
        return ids[: ids.index(self._separator)] if self._separator in ids else ids


def _common_len(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
