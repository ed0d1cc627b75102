"""Tracks the latest change of each document: typing with its rhythm, or a deletion with the text that it removed.

Pure bookkeeping over changes; it must not know requests, the engine or the wire.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from lsprotocol import types

from lsp_server.documents.halves import BYTE_ORDER_MARK
from lsp_server.documents.store import Cursor, Snapshot

RIGHT_AFTER_S: Final = 1.0
A_MOMENT_S: Final = 10.0
# chosen: what was deleted stays away from its line for so long.
AWAY_S: Final = 30.0
MAX_DELETIONS: Final = 8
# chosen: longer gaps are pauses to think and don't count as typing rhythm.
MAX_GAP_S: Final = 1.0
DEFAULT_GAP_S: Final = 0.2
_WEIGHT: Final = 0.3
_WORD: Final = re.compile(r"\s*\w+\s*|\s+")
MAX_DELETED_CHARS: Final = 2000


@dataclass(frozen=True, slots=True)
class Deletion:
    """A deleted text, the cursor afterwards, and the time.

    `whole` is the text that this and the deletions right before it removed together, key by key.
    """

    text: str
    cursor: Cursor
    at_s: float
    whole: str = ""

    @property
    def is_by_key(self) -> bool:
        """Return whether one press of a key may have done it: it removed a character, a pair of brackets, or a word."""
        return len(self.text) <= 2 or _WORD.fullmatch(self.text) is not None


@dataclass(slots=True)
class _Document:
    changed_s: float = float("-inf")
    gap_s: float = DEFAULT_GAP_S
    deletions: deque[Deletion] = field(default_factory=lambda: deque(maxlen=MAX_DELETIONS))
    was_deletion: bool = False


class Keystrokes:
    """Watches the changes of all documents. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._documents: dict[str, _Document] = {}

    def note(self, before: Snapshot | None, params: types.DidChangeTextDocumentParams, now_s: float) -> None:
        """Take note of a change. `before` is the document without it, and is needed only where something is deleted."""
        known = self._documents.setdefault(params.text_document.uri, _Document())
        gap_s = now_s - known.changed_s
        if gap_s < MAX_GAP_S:
            known.gap_s += _WEIGHT * (gap_s - known.gap_s)
        known.changed_s = now_s
        deleted = None if before is None else _deletion(before, params.content_changes, now_s)
        if deleted and known.was_deletion and (joined := _joined(known.deletions[-1], deleted)) is not deleted:
            deleted = joined
            known.deletions.pop()
        known.was_deletion = deleted is not None
        if deleted:
            known.deletions.append(deleted)

    def forget(self, uri: str) -> None:
        """Drop all that is known of a closed document."""
        self._documents.pop(uri, None)

    def deletion_just_now(self, uri: str, cursor: Cursor, now_s: float) -> Deletion | None:
        """Return the deletion here if it is the latest change and only a moment old, else None."""
        known = self._documents.get(uri)
        if known is None or not known.was_deletion:
            return None
        latest = known.deletions[-1]
        is_here = latest.cursor == cursor and now_s - latest.at_s < RIGHT_AFTER_S
        return latest if is_here else None

    def deleted_at(self, uri: str, cursor: Cursor, now_s: float) -> tuple[str, ...]:
        """Return the texts that were deleted on this line a while ago, however many keys that took."""
        known = self._documents.get(uri)
        return tuple(
            deletion.whole or deletion.text
            for deletion in (known.deletions if known else ())
            if deletion.cursor.line == cursor.line and now_s - deletion.at_s <= AWAY_S
        )

    def since_change_s(self, uri: str, now_s: float) -> float:
        """Return how many seconds ago the document changed."""
        known = self._documents.get(uri)
        return now_s - known.changed_s if known else float("inf")

    def gap_s(self, uri: str) -> float:
        """Return the usual number of seconds between keys, lately."""
        known = self._documents.get(uri)
        return known.gap_s if known else DEFAULT_GAP_S


def may_delete(params: types.DidChangeTextDocumentParams) -> bool:
    """Return whether a change may remove text, so that the document before it is needed."""
    return any(
        isinstance(change, types.TextDocumentContentChangeWholeDocument) or change.range.start != change.range.end
        for change in params.content_changes
    )


def _deletion(
    before: Snapshot, changes: Sequence[types.TextDocumentContentChangeEvent], now_s: float
) -> Deletion | None:
    """Return the deletion if the changes only deleted, and more than the indentation of an empty line."""
    if len(changes) != 1:
        return None
    change = changes[0]
    if isinstance(change, types.TextDocumentContentChangeWholeDocument):
        start, text = _shrunk(before.text, change.text.removeprefix(BYTE_ORDER_MARK))
        above = before.text[:start].split("\n")
        cursor = Cursor(len(above) - 1, len(above[-1]))
    elif change.text:
        return None
    else:
        cursor, end = before.cursor(change.range.start), before.cursor(change.range.end)
        lines = before.lines[cursor.line : end.line + 1]
        text = "".join(lines)[cursor.column : sum(map(len, lines[:-1])) + end.column] if lines else ""
    head = before.lines[cursor.line][: cursor.column]
    is_indentation = "\n" not in text and not text.strip() and not head.strip()
    return None if not text or is_indentation else Deletion(text[:MAX_DELETED_CHARS], cursor, now_s)


def _joined(earlier: Deletion, latest: Deletion) -> Deletion:
    """Return the latest deletion with what the one before it removed at the same place, by Backspace or by Delete."""
    before = earlier.whole or earlier.text
    if latest.at_s - earlier.at_s > A_MOMENT_S:
        return latest
    if latest.cursor == earlier.cursor:
        return replace(latest, whole=(before + latest.text)[:MAX_DELETED_CHARS])
    if _behind(latest) == earlier.cursor:
        return replace(latest, whole=(latest.text + before)[:MAX_DELETED_CHARS])
    return latest


def _behind(deletion: Deletion) -> Cursor:
    """Return the cursor behind the text before it was deleted."""
    above, _, last = deletion.text.rpartition("\n")
    column = len(last) if "\n" in deletion.text else deletion.cursor.column + len(last)
    return Cursor(deletion.cursor.line + (above.count("\n") + 1 if "\n" in deletion.text else 0), column)


def _shrunk(before: str, after: str) -> tuple[int, str]:
    """Return where a text lost something, and the lost text; (0, "") if more than that happened."""
    lost = len(before) - len(after)
    if lost <= 0:
        return 0, ""
    low, high = 0, len(after)  # bisection compares whole slices, which is quick in large texts
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if before[:middle] == after[:middle] else (low, middle - 1)
    return (low, before[low : low + lost]) if before[low + lost :] == after[low:] else (0, "")
