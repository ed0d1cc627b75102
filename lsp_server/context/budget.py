"""How much of the file around the cursor goes with a request.

The far cut of the prefix moves in steps, and only when the cursor changes its line: while a line is being typed
the prefix keeps its beginning, so that the engine can reuse what it computed. It must not know tokens.
"""

from __future__ import annotations

from typing import NamedTuple

from lsp_server.documents import Cursor, Snapshot, without_end


class Cut(NamedTuple):
    """The text on both sides of the cursor, cut at line boundaries, with line feeds as the only line ends."""

    prefix: str
    suffix: str


def cut_around(snapshot: Snapshot, cursor: Cursor, *, prefix_chars: int, suffix_chars: int) -> Cut:
    """Whole lines above and below up to the budget; the cursor's own line always, up to the same length."""
    lines = snapshot.lines
    line = without_end(lines[cursor.line])
    head = line[: cursor.column][-prefix_chars:]
    first = _first_line(lines[: cursor.line], prefix_chars)
    prefix = "".join(without_end(above) + "\n" for above in lines[first : cursor.line])
    return Cut(
        prefix=prefix + head if len(head) == cursor.column else head,
        suffix=_suffix(line[cursor.column :], lines, cursor.line, suffix_chars),
    )


def _first_line(above: tuple[str, ...], budget: int) -> int:
    """The first line to send, such that whole steps of a quarter of the budget are left out."""
    excess = sum(map(len, above)) - budget
    if excess <= 0:
        return 0
    step = max(1, budget // 4)
    left_out = -(-excess // step) * step
    for index, line in enumerate(above):
        left_out -= len(line)
        if left_out <= 0:
            return index + 1
    return len(above)


def _suffix(tail: str, lines: tuple[str, ...], line: int, budget: int) -> str:
    kept = [tail[:budget]]
    room = budget - len(kept[0])
    for below in lines[line + 1 :]:
        room -= len(below) + 1
        if room < 0:
            break
        kept.append(without_end(below))
    return "\n".join(kept)
