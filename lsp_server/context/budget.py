"""Decides how much of the file around the cursor goes with a request.

The far cut of the prefix moves in steps, and only when the cursor changes its line: while a line is being typed the
prefix keeps its beginning, so that the engine can reuse what it computed. It must not know tokens.
"""

from __future__ import annotations

from typing import NamedTuple

from lsp_server.documents.store import Cursor, Snapshot, without_end


class Cut(NamedTuple):
    """The text on both sides of the cursor, cut at line boundaries, with line feeds as the only line ends."""

    prefix: str
    suffix: str


def cut_around(snapshot: Snapshot, cursor: Cursor, *, prefix_chars: int, suffix_chars: int) -> Cut:
    """Return whole lines above and below up to the budget.

    The cursor's own line always goes, up to the budget's length.
    """
    lines = snapshot.lines
    line = without_end(lines[cursor.line])
    head = line[: cursor.column][-prefix_chars:]
    first = _first_line(lines, cursor.line, prefix_chars)
    prefix = "".join(without_end(above) + "\n" for above in lines[first : cursor.line])
    return Cut(
        prefix=prefix + head if len(head) == cursor.column else head,
        suffix=_suffix(line[cursor.column :], lines, cursor.line, suffix_chars),
    )


def _first_line(lines: tuple[str, ...], cursor_line: int, budget: int) -> int:
    """Return the first line to send: a multiple of a step of up to a quarter of the lines that the budget holds."""
    first = cursor_line
    while first > 0 and len(lines[first - 1]) <= budget:
        first -= 1
        budget -= len(lines[first])
    if first == 0:
        return 0
    # A power of two changes seldom as the cursor moves, and then its multiples mostly stay where they were.
    step = 1 << (max(4, cursor_line - first) // 4).bit_length() - 1
    return min(-(-first // step) * step, cursor_line)


def _suffix(tail: str, lines: tuple[str, ...], line: int, budget: int) -> str:
    kept = [tail[:budget]]
    room = budget - len(kept[0])
    for number in range(line + 1, len(lines)):
        room -= len(lines[number]) + 1
        if room < 0:
            break
        kept.append(without_end(lines[number]))
    return "\n".join(kept)
