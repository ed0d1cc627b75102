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
# A line of a language with braces that ends so waits for an operand.
_WAITS: Final = re.compile(r"(?:[=.&|<(\[^~]|(?<!/)\*|(?<![*/])/|(?<!\+)\+|(?<!-)-|::)\s*\Z")


class _Before(NamedTuple):
    """The cursor's line without a text, and the brackets that are open above it."""

    place: Place
    language: Language
    name: str
    line: Unclosed
    open_above: str


def bracket_checker(place: Place, language: str) -> ParsesWith | None:
    """Return a judge by brackets and quotes; None within strings and comments, and where brackets mean nothing."""
    known = language_named(language)
    if not known.brackets:
        return None
    above = place.above[-NUM_LINES_SCANNED:]
    line = unclosed(place.head + place.tail, language)
    if line.text or inside((*above, place.head), language).text:
        return None
    return partial(_is_balanced, _Before(place, known, language, line, inside(above, language).brackets))


def left_of(tail: str, part: str) -> str:
    """Return what is left behind the cursor of the rest of its line, if this text is put in."""
    return tail[num_replaced(part, tail) :]


def _is_balanced(before: _Before, part: str) -> bool:
    """Return whether a text leaves nothing open but what was, except a body at its end, and waits for nothing."""
    place, left = before.place, left_of(before.place.tail, part)
    last = final_line(place)
    if last and "\n" in part and not part.endswith(last):
        return False
    if not left.strip() and _waits(place.head + part, before):
        return False
    code = place.head + _without_header(part, before.language)
    found = unclosed(code + left, before.name)
    if found.text or not before.line.openers.startswith(found.openers):
        return False
    more = found.closers.removeprefix(before.line.closers) if found.closers.startswith(before.line.closers) else "?"
    closes = [before.language.pairs.get(closer, "?") for closer in more]
    return not closes or (not left.strip() and list(before.open_above[::-1][: len(closes)]) == closes)


def _waits(code: str, before: _Before) -> bool:
    """Return whether the last line of some code ends within an expression."""
    last = without_comment(code.rpartition("\n")[2], before.name)
    return before.language.body == "braces" and bool(_WAITS.search(last))


def _without_header(part: str, language: Language) -> str:
    """Return a text without the brace at its end that a body follows."""
    part = part.rstrip()
    return part[:-1] if part.endswith("{") and "{" in language.statements_in else part
