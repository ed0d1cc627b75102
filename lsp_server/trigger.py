"""Should we ask at all, and for how much: the rest of a line, or a block.

Pure functions over the surroundings of the cursor; it must not know the engine, settings or the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from lsp_server.documents import Place

Mode = Literal["line", "block"]

CLOSERS: Final = frozenset(")]}\"'`")
# What may stand behind closers without being code of its own: `foo(|):`, `[a, |],`
_AFTER_CLOSERS: Final = frozenset(",;: \t")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """`mode` is None where nothing should be asked, for the reason given."""

    mode: Mode | None
    reason: str


def decide(place: Place, *, is_invoked: bool) -> Decision:
    """What to ask for at this cursor; `is_invoked` if the user asked by hand."""
    if not any(line.strip() for line in (*place.above, place.head, place.tail, *place.below)):
        return Decision(mode=None, reason="the document is empty")
    if is_inside_word(place):
        return Decision(mode="line" if is_invoked else None, reason="the cursor is inside a word")
    if place.tail.strip():
        reason = "closers follow" if is_only_closers(place.tail) else "code follows on the line"
        return Decision(mode="line", reason=reason)
    if not place.head.strip():
        return Decision(mode="block", reason="an empty line")
    if place.head.rstrip().endswith(":") and not _has_body(place):
        return Decision(mode="block", reason="an empty body")
    return Decision(mode="line", reason="the end of a line")


def is_inside_word(place: Place) -> bool:
    """Whether the cursor has letters on both sides."""
    return _is_word(place.head[-1:]) and _is_word(place.tail[:1])


def is_only_closers(tail: str) -> bool:
    """Whether what follows on the line only closes what stands before."""
    return all(char in CLOSERS or char in _AFTER_CLOSERS for char in tail)


def indentation(line: str) -> int:
    """The width of the blanks a line begins with; a tab goes to the next multiple of 8, as in Python."""
    expanded = line.expandtabs(8)
    return len(expanded) - len(expanded.lstrip())


def _has_body(place: Place) -> bool:
    next_line = next((line for line in place.below if line.strip()), "")
    return indentation(next_line) > indentation(place.head)


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"
