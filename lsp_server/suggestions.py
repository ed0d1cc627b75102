"""Type-through: while the user types what was suggested, the rest of it is the answer, and no engine is asked.

Pure functions over snapshots; it must not know the engine or the wire.
"""

from __future__ import annotations

from dataclasses import dataclass

from lsp_server.documents import Cursor, Snapshot, without_end
from lsp_server.trigger import Mode, is_only_closers

NUM_LINES_COMPARED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A finished text and where it belongs."""

    snapshot: Snapshot
    cursor: Cursor
    text: str
    mode: Mode


def rest_of(suggestion: Suggestion, snapshot: Snapshot, cursor: Cursor) -> str | None:
    """What is left of the suggestion if all that happened since is that its beginning was typed, else None.

    An editor that closes brackets itself may have put closers behind the cursor.
    """
    typed = _typed_since(suggestion, snapshot, cursor)
    if typed is None or not suggestion.text.startswith(typed):
        return None
    old_tail = without_end(suggestion.snapshot.lines[suggestion.cursor.line])[suggestion.cursor.column :]
    new_tail = without_end(snapshot.lines[cursor.line])[cursor.column :]
    if not new_tail.endswith(old_tail) or not is_only_closers(new_tail.removesuffix(old_tail)):
        return None
    if _below(snapshot, cursor) != _below(suggestion.snapshot, suggestion.cursor):
        return None
    return suggestion.text[len(typed) :]


def _typed_since(suggestion: Suggestion, snapshot: Snapshot, cursor: Cursor) -> str | None:
    start = suggestion.cursor
    if snapshot.uri != suggestion.snapshot.uri or not 0 <= cursor.line - start.line <= suggestion.text.count("\n"):
        return None
    if _above(snapshot, start) != _above(suggestion.snapshot, start):
        return None
    between = "".join(without_end(line) + "\n" for line in snapshot.lines[start.line : cursor.line])
    written = between + snapshot.lines[cursor.line][: cursor.column]
    head = suggestion.snapshot.lines[start.line][: start.column]
    return written[len(head) :] if written.startswith(head) else None


def _above(snapshot: Snapshot, cursor: Cursor) -> tuple[str, ...]:
    return snapshot.lines[max(0, cursor.line - NUM_LINES_COMPARED) : cursor.line]


def _below(snapshot: Snapshot, cursor: Cursor) -> tuple[str, ...]:
    return snapshot.lines[cursor.line + 1 : cursor.line + 1 + NUM_LINES_COMPARED]
