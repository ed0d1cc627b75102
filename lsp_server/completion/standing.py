"""Counts how much of a text is in a document. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from lsp_server.documents.store import without_end


def count_standing(text: str, lines: Sequence[str], first: int) -> int:
    """Count how many characters of a text are in a document's lines, from the beginning of line `first` on."""
    num_chars = 0
    wanted = text.split("\n")
    for offset, want in enumerate(wanted):
        if first + offset >= len(lines):
            return max(0, num_chars - 1)
        have = without_end(lines[first + offset])
        is_last = offset == len(wanted) - 1
        if is_last or have != want:
            return num_chars + _num_common(want, have)
        num_chars += len(want) + 1
    return num_chars


def count_kept(text: str, lines: Sequence[str]) -> int:
    """Count how many characters of an accepted text are still in a document, by whole lines."""
    there = {line.strip() for line in lines}
    return sum(len(line) for line in text.split("\n") if line.strip() in there)


def _num_common(one: str, other: str) -> int:
    shorter = min(len(one), len(other))
    return next((i for i in range(shorter) if one[i] != other[i]), shorter)
