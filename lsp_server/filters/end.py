"""Finds where a text ends: at the end of its line, or of its block as the indentation tells it.

`find_end` works on a text that is still growing, so that the front end can stop the engine there.
"""

from __future__ import annotations

import re
from typing import Final

from lsp_server.documents.store import Place
from lsp_server.documents.syntax import indentation
from lsp_server.filters.surroundings import Mode, Surroundings

# A line at the block's own indentation that begins like this continues the statement above it.
_GOES_ON: Final = re.compile(r"\s*(?:(?:else|elif|except|finally|case)\b|[)\]}])")
_NEW_DEFINITION: Final = re.compile(r"\s*(?:(?:async\s+)?def|class)\s|\s*@")
_DECORATOR: Final = re.compile(r"\s*@")
# A line of which no more than this has come may still become one that goes on.
_UNDECIDED: Final = re.compile(r"\s*[a-z]*\s*\Z")


def cut_at_end(text: str, around: Surroundings) -> str:
    """Return the text up to its end, without the blanks there."""
    end = find_end(text + "\n", around.place, around.mode)
    return (text if end is None else text[:end]).rstrip()


def find_end(text: str, place: Place, mode: Mode) -> int | None:
    """Return the place where the text ends, or None while that can't be told yet."""
    if mode == "line":
        end = text.find("\n")
        return None if end < 0 else end
    return _Block(place).find_end(text)


class _Block:
    """A block that begins at the cursor: below a header (`body_of` is its indentation) or on an empty line."""

    def __init__(self, place: Place) -> None:
        self.head = place.head
        header = _header(place)
        self.body_of = None if header is None else indentation(header)
        self.own: int | None = None
        self.seen_deeper = False
        self.seen_blank = False
        self.after_decorator = False

    def find_end(self, text: str) -> int | None:
        lines = text.split("\n")
        start = 0
        for number, line in enumerate(lines):
            is_whole = number < len(lines) - 1
            full = self.head + line if number == 0 else line
            if self._is_text(number, line) and self._ends_before(full, is_whole):
                return max(0, start - 1)
            start += len(line) + 1
        return None

    def _is_text(self, number: int, line: str) -> bool:
        if number == 0 and self.head.strip():
            return False  # the line is the rest of the header's own line
        if not line.strip():
            self.seen_blank = self.seen_blank or self.own is not None
            return False
        return True

    def _ends_before(self, line: str, is_whole: bool) -> bool:
        width = indentation(line)
        if self.own is None:
            self.own = width
            self.after_decorator = bool(_DECORATOR.match(line))
            return self.body_of is not None and width <= self.body_of
        if width > self.own:
            self.seen_deeper = True
            return False
        if not is_whole and _UNDECIDED.match(line):
            return width < self.own
        goes_on = bool(_GOES_ON.match(line))
        if width < self.own:
            return True
        if self.after_decorator:
            self.after_decorator = bool(_DECORATOR.match(line))
            return False
        is_next_statement = self.own == 0 and (self.seen_deeper or self.seen_blank) and not goes_on
        return is_next_statement or bool(_NEW_DEFINITION.match(line))


def _header(place: Place) -> str | None:
    """Return the line whose body the block is, or None."""
    if place.head.strip():
        return place.head
    nearest = next((line for line in reversed(place.above) if line.strip()), "")
    return nearest if nearest.rstrip().endswith(":") else None
