"""Finds the first change in a region that a model writes again, as soon as what it writes has rejoined the original.

It must not know formats, the engine or documents. Pure functions of lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from lsp_server.edits.proposal import Change

# chosen: so many lines in a row that are as before tell that a change is over; one that is alone of its kind does, too.
NUM_REJOINED: Final = 2
_WORDS: Final = re.compile(r"\w{2,}")


def first_change(region: Sequence[str], text: str, *, is_whole: bool) -> Change | None:
    """Return the first change of a region in a text that was written for it; None while none has rejoined.

    Its lines are counted from the region's first. `is_whole` if nothing more is written. A region whose end was left
    out has no change that is sure.
    """
    written = text.splitlines(keepends=True)
    if not is_whole and written and not written[-1].endswith("\n"):
        written.pop()
    first = _num_common(region, written)
    if first == len(written) and not is_whole:
        return None
    for end in range(first, len(written)):
        if (line := _rejoined(region, written, first, end)) is not None:
            return Change(first=first, old=tuple(region[first:line]), new=tuple(written[first:end]))
    return _to_the_end(region, written, first) if is_whole else None


def _rejoined(region: Sequence[str], written: Sequence[str], first: int, end: int) -> int | None:
    """Return the region's line with which what was written goes on from its line `end`."""
    lines = [number for number in range(first, len(region)) if (number, end) != (first, first)]
    lines.sort(key=lambda number: abs(number - end))
    for number in lines:
        num_same = _num_common(region[number:], written[end:])
        told = written[end : end + num_same]
        is_alone = num_same and list(region[first:]).count(told[0]) == 1 and len(_WORDS.findall(told[0])) > 1
        if is_alone or (num_same >= NUM_REJOINED and any(_WORDS.search(line) for line in told)):
            return number
    return None


def _to_the_end(region: Sequence[str], written: Sequence[str], first: int) -> Change | None:
    """Return the change of a text that ended, if as many lines of the region were written again."""
    num_same = min(_num_common(region[::-1], written[::-1]), len(region) - first, len(written) - first)
    old, new = tuple(region[first : len(region) - num_same]), tuple(written[first : len(written) - num_same])
    if old == new or (not num_same and len(new) < len(old)):
        return None  # nothing has changed, or the end is missing, which says nothing
    return Change(first=first, old=old, new=new)


def _num_common(one: Sequence[str], other: Sequence[str]) -> int:
    shorter = min(len(one), len(other))
    return next((i for i in range(shorter) if one[i] != other[i]), shorter)
