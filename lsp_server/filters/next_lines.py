"""Cuts lines that follow the cursor already."""

from __future__ import annotations

from lsp_server.filters.surroundings import Surroundings
from lsp_server.languages.syntax import indentation, opens_block, unclosed
from lsp_server.languages.table import language_named

MIN_CUT_LINE_CHARS = 8
# chosen: a single line that stands so few lines below is a copy; farther away it may well be meant again.
NUM_LINES_SEARCHED = 5


def cut_next_lines(text: str, around: Surroundings) -> str:
    """Return the text up to the first line that the lines below the cursor begin with.

    A line that only ends a block is a copy only at the same indentation, and unless the text itself began that block.
    """
    place = around.place
    below = [line.rstrip() for line in place.below if line.strip()]
    first, *rest = text.split("\n")
    lines = [(place.head + first).rstrip(), *(line.rstrip() for line in rest)]
    if not below or (len(lines) == 1 and _stands_below(lines[0], below)):
        return text if not below or not first.strip() else ""
    for number, line in enumerate(lines):
        if line.strip() and not _is_own_end(lines, number, around.language) and _is_copy(lines[number:], below, around):
            return "\n".join(text.split("\n")[:number]).rstrip()
    return text


def _is_copy(lines: list[str], below: list[str], around: Surroundings) -> bool:
    """Return whether the first line is the next one below, or all lines are the first ones below but for blanks."""
    if lines[0] == below[0]:
        return True
    if language_named(around.language).is_block_end(lines[0]):
        return False
    return _is_beginning([line.strip() for line in lines if line.strip()], [line.strip() for line in below])


def _is_beginning(copied: list[str], below: list[str]) -> bool:
    """Return whether these lines are the first of those below; the last may be cut short, but not to a few letters."""
    *whole, last = copied
    if len(copied) > len(below) or whole != below[: len(whole)]:
        return False
    return last == below[len(whole)] or (len(last) >= MIN_CUT_LINE_CHARS and below[len(whole)].startswith(last))


def _is_own_end(lines: list[str], number: int, language: str) -> bool:
    """Return whether a line ends a block or bracket that the lines of the text before it began."""
    line, before = lines[number], lines[:number]
    if not language_named(language).is_block_end(line):
        return False
    if unclosed("\n".join(before), language).openers:
        return True
    width = indentation(line)
    own = next((above for above in reversed(before) if above.strip() and indentation(above) <= width), "")
    return bool(own) and indentation(own) == width and opens_block(own, language)


def _stands_below(line: str, below: list[str]) -> bool:
    """Return whether a line stands, at its own indentation, a few lines below in the same block."""
    if len(line.strip()) < MIN_CUT_LINE_CHARS or not any(map(str.isalnum, line)):
        return False  # a ruler may well be meant again
    width = indentation(line)
    for other in below[:NUM_LINES_SEARCHED]:
        if indentation(other) < width:
            return False
        if other == line:
            return True
    return False
