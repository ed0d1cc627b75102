"""Judges a text in any language by its brackets and strings: it must leave open no more than was open without it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from lsp_server.documents.store import Place
from lsp_server.filters.closers import num_replaced
from lsp_server.filters.surroundings import final_line
from lsp_server.languages.language import Language
from lsp_server.languages.syntax import Unclosed, inside, unclosed, without_comment
from lsp_server.languages.table import language_named

ParsesWith = Callable[[str], bool]
"""Whether the code parses with such a text at the cursor, as far as can be told."""

# chosen: so many of the lines above are scanned for brackets that the text may close.
NUM_LINES_SCANNED: Final = 50
_TERMINATORS: Final = ",;: \t"
# A line of a language with braces that ends so waits for an operand.
_WAITS: Final = re.compile(r"(?:[=.&|<(\[^~]|(?<!/)\*|(?<![*/])/|(?<!\+)\+|(?<!-)-|::)\s*\Z")


class _Before(NamedTuple):
    """The cursor's line without a text, and the brackets that are open at the cursor."""

    place: Place
    language: Language
    name: str
    line: Unclosed
    open_here: str
    takes_header: bool


def bracket_checker(place: Place, language: str, *, takes_header: bool = True) -> ParsesWith | None:
    """Return a judge by brackets and quotes; None within strings and comments, and where brackets mean nothing.

    With `takes_header` a line may end with the brace that a body follows.
    """
    known = language_named(language)
    if not known.brackets:
        return None
    above = place.above[-NUM_LINES_SCANNED:]
    line = unclosed(place.head + place.tail, language)
    if inside((*above, place.head), language).text:
        return None
    if line.text:
        return _quote_checker(place, known, language, line.text)
    open_here = inside((*above, place.head), language).brackets
    return partial(_is_balanced, _Before(place, known, language, line, open_here, takes_header))


def _quote_checker(place: Place, language: Language, name: str, mark: str) -> ParsesWith | None:
    """Return a judge for a place before a lone quote on its line, which a text has to open; None if it ends below."""
    form = language.string_of[mark][0] if mark in language.string_of else None
    if form is None or form.over_lines:
        return None
    return lambda part: not unclosed(place.head + part + left_of(place, part), name).text


def left_of(place: Place, part: str) -> str:
    """Return what is left behind the cursor of the rest of its line, if this text is put in."""
    return place.tail[num_replaced(part, place) :]


def leads_to_brace(part: str, place: Place) -> bool:
    """Return whether a body of several lines between two braces brings along the line end before the second one."""
    last = final_line(place)
    return not last or "\n" not in part or part.endswith(last)


def _is_balanced(before: _Before, part: str) -> bool:
    """Return whether a text leaves nothing open but what was, except a body at its end, and waits for nothing."""
    place, left = before.place, left_of(before.place, part)
    if not leads_to_brace(part, place):
        return False
    code = place.head + (without_header(part, before.language) if before.takes_header else part)
    found = unclosed(code + left, before.name)
    if found.text:
        return _ends_below(found.text, code + left, before)
    if not left.strip() and _waits(place.head + part, before):
        return False
    if _num_unmatched(found) < _num_unmatched(before.line):
        return True
    if not before.line.openers.startswith(found.openers):
        return False
    more = found.closers.removeprefix(before.line.closers) if found.closers.startswith(before.line.closers) else "?"
    closes = [before.language.pairs.get(closer, "?") for closer in more]
    return not closes or (not left.strip(_TERMINATORS) and list(before.open_here[::-1][: len(closes)]) == closes)


def _num_unmatched(found: Unclosed) -> int:
    return len(found.openers) + len(found.closers)


def _ends_below(mark: str, code: str, before: _Before) -> bool:
    """Return whether what a text leaves open, a comment or a heredoc, ends below the cursor and not by chance."""
    below = "\n".join(before.place.below)
    end = before.language.comment_ends.get(mark)
    if end is None:
        return mark == "<<" and unclosed(f"{code}\n{below}", before.name).text != mark
    found = end.match(below)
    return found is not None and mark not in found[0]


def _waits(code: str, before: _Before) -> bool:
    """Return whether the last line of some code ends within an expression."""
    last = without_comment(code.rpartition("\n")[2], before.name)
    return before.language.body == "braces" and bool(_WAITS.search(last))


def without_header(part: str, language: Language) -> str:
    """Return a line without the brace at its end that a body follows; of several lines, none may lack its body."""
    part = part.rstrip()
    is_header = part.endswith("{") and "{" in language.statements_in and "\n" not in part.lstrip()
    return part[:-1] if is_header else part
