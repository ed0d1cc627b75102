"""Reads out of a hunk which tokens became others: one name that became another, or a short run of tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from lsp_server.documents.store import Cursor, without_end
from lsp_server.edits.history import Hunk

TOKEN: Final = re.compile(r"[^\W\d]\w*|\d[\w.]*|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|`[^`]*`|\s+|.", re.S)
MAX_LINE_CHARS: Final = 1_000
MAX_SWAPPED: Final = 6


class Token(NamedTuple):
    """A token that isn't blank, and its column."""

    text: str
    column: int


class Swap(NamedTuple):
    """A run of tokens that became another on a line, with the tokens left and right of it."""

    line: int
    old: tuple[str, ...]
    new: tuple[Token, ...]
    left: tuple[Token, ...]
    right: tuple[Token, ...]


def tokens_of(line: str) -> tuple[Token, ...]:
    """Return the tokens of a line without blanks."""
    return tuple(Token(found[0], found.start()) for found in TOKEN.finditer(without_end(line)) if found[0].strip())


def swapped_names(hunk: Hunk) -> Iterator[tuple[str, str, list[Cursor]]]:
    """Yield each pair of names of which one became the other in a hunk, all else being as it was, with the places."""
    for version in hunk.versions:
        if len(version) != len(hunk.lines):
            continue
        pairs: set[tuple[str, str]] = set()
        places: list[Cursor] = []
        for number, (old_line, new_line) in enumerate(zip(version, hunk.lines, strict=True)):
            if old_line == new_line:
                continue
            old, new = tokens_of(old_line[:MAX_LINE_CHARS]), tokens_of(new_line[:MAX_LINE_CHARS])
            differing = [i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a.text != b.text]
            if len(old) != len(new) or not differing:
                break
            pairs.update((old[i].text, new[i].text) for i in differing)
            places += [Cursor(hunk.first + number, new[i].column) for i in differing]
        else:
            if len(pairs) == 1:
                yield (*next(iter(pairs)), places)


def swaps_of(hunk: Hunk) -> Iterator[Swap]:
    """Yield what became something else on the lines of a hunk, each line having one such run of tokens."""
    for version in hunk.versions:
        if len(version) != len(hunk.lines):
            continue
        for number, (old_line, new_line) in enumerate(zip(version, hunk.lines, strict=True)):
            if old_line != new_line and (swap := _swap(hunk.first + number, old_line, new_line)):
                yield swap


def _swap(number: int, old_line: str, new_line: str) -> Swap | None:
    old, new = tokens_of(old_line[:MAX_LINE_CHARS]), tokens_of(new_line[:MAX_LINE_CHARS])
    start = _num_common(old, new)
    end = min(_num_common(old[::-1], new[::-1]), len(old) - start, len(new) - start)
    changed = old[start : len(old) - end]
    brought = new[start : len(new) - end]
    if not changed or not brought or max(len(changed), len(brought)) > MAX_SWAPPED:
        return None
    return Swap(number, tuple(token.text for token in changed), brought, new[:start], new[len(new) - end :])


def _num_common(one: Sequence[Token], other: Sequence[Token]) -> int:
    shorter = min(len(one), len(other))
    return next((i for i in range(shorter) if one[i].text != other[i].text), shorter)
