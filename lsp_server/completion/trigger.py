"""Decides whether to ask at all, and for how much: the rest of a line, or a block.

Pure functions over the surroundings of the cursor; it must not know the engine, settings or the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lsp_server.documents.store import Place
from lsp_server.filters.surroundings import Mode
from lsp_server.languages.scopes import Scope, scopes_at
from lsp_server.languages.syntax import (
    indentation,
    inside,
    is_between_braces,
    is_header,
    is_only_closers,
    takes_statements,
)

MAX_DEBOUNCE_S: Final = 0.075
OVERDUE: Final = 1.5
# chosen: only so much text above the cursor is scanned for open brackets and strings, because a line of generated code
# may have a million characters.
MAX_READ_CHARS: Final = 20_000
_BEGINS: Final = "(.[{,= "


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The decision for a cursor. `mode` is None where nothing should be asked, for the given reason."""

    mode: Mode | None
    reason: str


def decide(place: Place, *, is_invoked: bool, language: str = "") -> Decision:
    """Decide what to ask for at this cursor; `is_invoked` is true if the user asked by hand.

    A block is asked for where a statement may begin: on an empty line, or for the body behind a header that has none.
    """
    if not any(line.strip() for line in (*place.above, place.head, place.tail, *place.below)):
        return Decision(mode=None, reason="the document is empty")
    if is_inside_word(place):
        return Decision(mode="line" if is_invoked else None, reason="the cursor is inside a word")
    if is_between_braces(place.head, place.tail) and is_header(_nearest((*place.above, place.head)), language):
        return Decision(mode="block", reason="an empty body between braces")
    if place.tail.strip():
        reason = "closers follow" if is_only_closers(place.tail) else "code follows on the line"
        return Decision(mode="line", reason=reason)
    return _decide_at_line_end(place, language)


def _decide_at_line_end(place: Place, language: str) -> Decision:
    lines = _nearest((*place.above, place.head))
    if not place.head.strip():
        if takes_statements(inside(lines, language), language):
            return Decision(mode="block", reason="an empty line")
        return Decision(mode="line", reason="an empty line inside brackets or a string")
    if is_header(lines, language) and not _has_body(place):
        return Decision(mode="block", reason="an empty body")
    return Decision(mode="line", reason="the end of a line")


def debounce_s(place: Place, *, gap_s: float, since_change_s: float, answer_s: float) -> float:
    """Return how many seconds to wait for another key before the engine is asked.

    There is no wait where an answer usually comes before the next key (`gap_s` is the time between keys), and where
    something new begins. Otherwise the wait ends when a key is overdue. Time that the editor has waited itself
    (`since_change_s`) counts.
    """
    if answer_s < gap_s or not place.head.strip() or place.head[-1] in _BEGINS:
        return 0.0
    return min(MAX_DEBOUNCE_S, max(0.0, OVERDUE * gap_s - since_change_s))


def scopes_of(place: Place, language: str) -> frozenset[Scope]:
    """Return the kinds of text that the cursor stands in; none in code."""
    return scopes_at(_nearest((*place.above, place.head)), language)


def disabled_scope(place: Place, language: str, disabled: tuple[str, ...]) -> str:
    """Return the entry of a setting that turns suggestions off at this place, `comment` or `python:comment`; or ""."""
    if not disabled:
        return ""
    scopes = scopes_of(place, language)
    named = {f"{language.lower()}:{scope}" for scope in scopes}.union(scopes)
    return next((entry for entry in disabled if entry.lower() in named), "")


def is_inside_word(place: Place) -> bool:
    """Return whether the cursor has letters on both sides."""
    return _is_word(place.head[-1:]) and _is_word(place.tail[:1])


def _nearest(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return the last of these lines; of a line that is too long only its end."""
    first, room = len(lines), MAX_READ_CHARS
    while first > 0 and room > 0:
        first -= 1
        room -= len(lines[first]) + 1
    if room >= 0 or first == len(lines):
        return lines[first:]
    return (lines[first][-room:], *lines[first + 1 :])


def _has_body(place: Place) -> bool:
    next_line = next((line for line in place.below if line.strip()), "")
    return indentation(next_line) > indentation(place.head)


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"
