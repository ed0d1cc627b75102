"""Finds where a text ends: at the end of its line or statement, or of its block as the indentation tells it.

`find_end` works on a text that is still growing, so that the front end can stop the engine there.
"""

from __future__ import annotations

import re
from typing import Final

from lsp_server.documents.store import Place
from lsp_server.filters.surroundings import Mode, Surroundings
from lsp_server.languages.syntax import indentation, opens_block, unclosed
from lsp_server.languages.table import language_named

_DECORATOR: Final = re.compile(r"\s*(?:@\w|#\[)")
# A line of which no more than this has come may still become one that goes on.
_UNDECIDED: Final = re.compile(r"\s*[a-z]*\s*\Z")
# A line that ends with one of these goes on on the next one.
_GOES_ON: Final = frozenset("([{,:=>|&+\\")
# chosen: a call or a list that is longer than this is shown up to the end of its first line.
MAX_BRACKET_LINES: Final = 10


def cut_at_end(text: str, around: Surroundings) -> str:
    """Return the text up to its end, without the blanks there, except those that a brace behind the cursor needs."""
    place = around.place
    end = find_end(text + "\n", place, around.mode, around.language)
    whole = text if end is None else text[:end]
    return whole.rstrip() + around.final_line if _has_final_line(text, whole, around) else whole.rstrip()


def find_end(text: str, place: Place, mode: Mode, language: str = "") -> int | None:
    """Return the place where the text ends, or None while that can't be told yet."""
    if mode == "block":
        return _Block(place, language).find_end(text)
    end = text.find("\n")
    if end < 0 or place.tail.strip() or not place.head.strip():
        return None if end < 0 else end
    if not text[:end].strip():  # nothing to add to a statement that may be finished, or the next line of another
        return _Block(place, language).find_end(text) if place.head.rstrip()[-1] in _GOES_ON else end
    return _statement_end(text, place, language, end)


def _has_final_line(text: str, whole: str, around: Surroundings) -> bool:
    """Return whether the model itself wrote the line that leads to the brace behind the cursor."""
    last = around.final_line
    return bool(last and whole.strip()) and text[len(whole.rstrip()) :].startswith(last)


def _statement_end(text: str, place: Place, language: str, first_end: int) -> int | None:
    """Return the end of the line, or of the last line of a call or list that the first one opens."""
    before = unclosed(place.head, language).openers
    end = first_end
    for _ in range(MAX_BRACKET_LINES):
        found = unclosed(place.head + text[:end], language)
        opened = found.openers[len(before) :] if found.openers.startswith(before) else ""
        if not opened and not found.text:
            return end
        if found.text or opened[0] in language_named(language).statements_in:
            return first_end
        if (end := text.find("\n", end + 1)) < 0:
            return None
    return first_end


class _Block:
    """A block that begins at the cursor: below a header (`body_of` is its indentation) or on an empty line."""

    def __init__(self, place: Place, language: str) -> None:
        self.head = place.head
        self.language = language_named(language)
        header = _header(place, language)
        self.body_of = None if header is None else indentation(header)
        below = next((line for line in place.below if line.strip()), "")
        is_end_below = self.language.is_block_end(below) and indentation(below) == self.body_of
        self.wants_end = header is not None and not place.tail.strip() and not is_end_below
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
            if self._is_text(number, line):
                if self._is_own_end(full):
                    return start + len(line) if is_whole else None
                if self._ends_before(full, is_whole):
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

    def _is_own_end(self, line: str) -> bool:
        """Return whether the line closes the header's own block, and nothing below does."""
        return self.wants_end and indentation(line) == self.body_of and self.language.is_block_end(line)

    def _ends_before(self, line: str, is_whole: bool) -> bool:
        width = indentation(line)
        if self.own is None:
            self.own = width
            self.after_decorator = bool(_DECORATOR.match(line))
            is_label = width == self.body_of and self.language.label.match(line)
            return self.body_of is not None and width <= self.body_of and not is_label
        if width > self.own:
            self.seen_deeper = True
            return False
        if not is_whole and _UNDECIDED.match(line):
            return width < self.own
        has_labels = self.own == self.body_of  # which stand at their header's indentation
        goes_on = self.language.label.match(line) if has_labels else self.language.continues(line)
        if width < self.own:
            return True
        if self.after_decorator:
            self.after_decorator = bool(_DECORATOR.match(line))
            return False
        is_next_statement = has_labels or (self.own == 0 and (self.seen_deeper or self.seen_blank))
        return (is_next_statement and not goes_on) or bool(self.language.definition.match(line))


def _header(place: Place, language: str) -> str | None:
    """Return the line whose body the block is, or None."""
    if place.head.strip():
        return place.head
    nearest = next((line for line in reversed(place.above) if line.strip()), "")
    return nearest if opens_block(nearest, language) else None
