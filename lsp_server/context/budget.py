"""Decides how much of the file around the cursor goes with a request.

The far cut of the prefix moves in steps, and only when the cursor changes its line: while a line is being typed the
prefix keeps its beginning, so that the engine can reuse what it computed. It must not know tokens.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from lsp_server.documents.store import Cursor, Snapshot, without_end

LEAST_LINES: Final = 10
LEAST_STEP: Final = 8
MAX_BLOCK_LINES: Final = 30
# chosen: what is read below the cursor goes on for so many lines at the most to reach the end of a block.
MAX_MORE_LINES: Final = 6
# chosen: a header that goes on for more lines than that isn't sent on its own.
MAX_HEADER_LINES: Final = 8
MAX_HEADERS: Final = 6
CLOSERS: Final = (")", "]", "}")


class Cut(NamedTuple):
    """The text on both sides of the cursor, cut at line boundaries, with line feeds as the only line ends."""

    prefix: str
    suffix: str


class Least(NamedTuple):
    """How many characters of a cut's end and beginning are nearest to the cursor.

    `nearest_chars` of the prefix are what a very slow model can do with. `headers` are those of the blocks around,
    the outermost first: where each begins and ends, in characters before the cursor.
    """

    prefix_chars: int
    suffix_chars: int
    nearest_chars: int = 0
    headers: tuple[tuple[int, int], ...] = ()


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


def least_around(snapshot: Snapshot, cursor: Cursor) -> Least:
    """Return how much of a cut is worth reading in any case: the block around the cursor, ten lines on each side.

    It begins where it did while lines are typed, but for a step now and then, and ends with a block if one ends soon.
    """
    lines, line = snapshot.lines, cursor.line
    nearest = max(0, (line - LEAST_LINES) // LEAST_STEP * LEAST_STEP)
    first = min(_block_start(lines, line), nearest)

    def above(number: int) -> int:
        return sum(len(without_end(text)) + 1 for text in lines[number:line]) + cursor.column

    tail = len(without_end(lines[line])) - cursor.column
    end = _block_end(lines, line + 1 + LEAST_LINES)
    below = sum(len(without_end(text)) + 1 for text in lines[line + 1 : end])
    # With the line end: a model takes a text that stops without one for one to go on with.
    return Least(
        prefix_chars=above(first),
        suffix_chars=tail + below + (end < len(lines)),
        nearest_chars=above(nearest),
        headers=tuple((above(begin), above(end)) for begin, end in _headers(lines, line, nearest)),
    )


def windows_around(lines: tuple[str, ...], line: int, budget: int, count: int) -> list[int]:
    """Return the last lines of so many windows, this line's first and then its neighbours in turns.

    All lines of a window have prefixes that begin alike, so that one reading of it serves them all.
    """
    first, end = line, window_end(lines, line, budget)
    ends = [end]
    while len(ends) < count:
        before = len(ends)
        if (below := end + LEAST_STEP) < len(lines) or end < (below := len(lines) - 1):
            end = window_end(lines, below, budget)
            ends.append(end)
        begin = _first_line(lines, first, budget)
        while first >= 0 and _first_line(lines, first, budget) == begin:
            first -= LEAST_STEP
        if first >= 0 and len(ends) < count:
            ends.append(window_end(lines, first, budget))
        if len(ends) == before:
            break
    return ends


def window_end(lines: tuple[str, ...], line: int, budget: int) -> int:
    """Return the last line, or nearly, at which the prefix still begins where it does at this line."""
    first, end = _first_line(lines, line, budget), line
    for later in range(line, len(lines), LEAST_STEP):
        if _first_line(lines, later, budget) != first:
            return end
        end = later
    return len(lines) - 1 if _first_line(lines, len(lines) - 1, budget) == first else end


def _block_end(lines: tuple[str, ...], line: int) -> int:
    """Return the first line from here on, or a few behind it, that stands behind the end of a block; else this one."""
    for number in range(line, min(len(lines), line + MAX_MORE_LINES + 1)):
        depth = _depth(lines[number])
        if depth < 0 or depth < _depth(lines[number - 1]):
            return number
    return line


def _block_start(lines: tuple[str, ...], line: int) -> int:
    """Return the line of the header around this one, as far out as MAX_BLOCK_LINES reach."""
    start, depth = line, _depth(lines[line])
    for number in range(line - 1, max(-1, line - MAX_BLOCK_LINES - 1), -1):
        if not lines[number].strip():
            continue
        here = _depth(lines[number])
        if depth < 0:
            depth = here
        elif here < depth:
            start, depth = number, here
    return start


def _headers(lines: tuple[str, ...], line: int, nearest: int) -> list[tuple[int, int]]:
    """Return first lines and ends of the headers around a line that stand above the nearest ones, outermost first.

    A header that ends with closers, as `) -> None:`, is sent from the line on that stands as far out.
    """
    found: list[tuple[int, int]] = []
    depth = next((here for number in range(line, -1, -1) if (here := _depth(lines[number])) >= 0), 0)
    number = line - 1
    while number >= 0 and depth > 0 and len(found) < MAX_HEADERS:
        here = _depth(lines[number])
        if 0 <= here < depth:
            begin = number
            if lines[number].lstrip().startswith(CLOSERS):
                begin = next((n for n in range(number - 1, -1, -1) if 0 <= _depth(lines[n]) <= here), number)
            if number < nearest and number - begin < MAX_HEADER_LINES:
                found.append((begin, number + 1))
            depth, number = here, begin
        number -= 1
    return found[::-1]


def _depth(line: str) -> int:
    """Return how far a line is indented, -1 for an empty one."""
    text = without_end(line)
    return len(text) - len(text.lstrip()) if text else -1


def _first_line(lines: tuple[str, ...], cursor_line: int, budget: int) -> int:
    """Return the first line to send: a multiple of a step of up to half of the lines that the budget holds."""
    first = cursor_line
    while first > 0 and len(lines[first - 1]) <= budget:
        first -= 1
        budget -= len(lines[first])
    if first == 0:
        return 0
    # A power of two changes seldom as the cursor moves, and then its multiples mostly stay where they were.
    step = 1 << (max(4, cursor_line - first) // 2).bit_length() - 1
    return min(-(-first // step) * step, cursor_line)


def _suffix(tail: str, lines: tuple[str, ...], line: int, budget: int) -> str:
    kept = [tail[:budget]]
    room = budget - len(kept[0])
    for number in range(line + 1, len(lines)):
        if len(lines[number]) + 1 > room:
            kept += [""] if room else []  # a text that stops within a line would be one to go on with
            break
        room -= len(lines[number]) + 1
        kept.append(without_end(lines[number]))
    return "\n".join(kept)
