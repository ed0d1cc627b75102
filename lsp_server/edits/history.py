"""Tracks what the user changed lately in each document, by hunks with their earlier states.

A hunk is a run of lines that was changed; its versions are the texts that it had before, at its beginning and at each
pause. An undo or a redo shows by a document's return to a text that it had before. It must not know requests, settings
or the wire.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from lsprotocol import types

from lsp_server.edits.proposal import Change

# chosen: next edits aren't looked for in longer documents, where each key would cost too much.
MAX_LINES: Final = 20_000
MAX_HUNKS: Final = 8
# chosen: a long rename is followed to its end; what was accepted tells that the new name is the user's.
MAX_ACCEPTED: Final = 1_000
MAX_HUNK_LINES: Final = 40
MAX_VERSIONS: Final = 6
MAX_STATES: Final = 300
MAX_CHANGES: Final = 100
# chosen: behind such a pause what stands there is a state of its own, from which a rename may begin.
PAUSE_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunk:
    """A run of `lines` from line `first` on that was changed. `versions` are its earlier texts, the oldest first.

    `is_ours` is true if it is an edit that was offered and accepted, which says nothing new of what the user wants.
    """

    first: int
    lines: tuple[str, ...]
    versions: tuple[tuple[str, ...], ...]
    at_s: float
    is_ours: bool = False

    @property
    def end(self) -> int:
        """Return the line behind the hunk."""
        return self.first + len(self.lines)

    @property
    def is_taken_back(self) -> bool:
        """Return whether it was an accepted edit, in whose place stands again what was there before."""
        return self.is_ours and self.lines == self.versions[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What is known of a document: its hunks, the latest first, when it changed last, and whether that was an undo."""

    hunks: tuple[Hunk, ...] = ()
    changed_s: float = float("-inf")
    is_return: bool = False


@dataclass(slots=True)
class _Document:
    num_lines: int
    fingerprint: int
    hunks: list[Hunk] = field(default_factory=list)
    changed_s: float = float("-inf")
    is_return: bool = False
    states: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=MAX_STATES))
    changes: deque[tuple[int, Change]] = field(default_factory=lambda: deque(maxlen=MAX_CHANGES))
    known_since: int = 0


class EditHistory:
    """The past of all documents. It is told of each change with the lines before it and behind it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._documents: dict[str, _Document] = {}

    def changed(
        self,
        params: types.DidChangeTextDocumentParams,
        before: Sequence[str],
        after: Sequence[str],
        revision: int,
        *,
        is_ours: bool = False,
    ) -> None:
        """Take note of a change, behind which the document has this revision. `is_ours` if it was offered."""
        uri = params.text_document.uri
        if max(len(before), len(after)) > MAX_LINES:
            self._documents.pop(uri, None)
            return
        known = self._documents.get(uri)
        if known is None:
            known = self._documents[uri] = _Document(len(before), sum(map(hash, before)))
            known.states.append((known.num_lines, known.fingerprint))
            known.known_since = revision - len(params.content_changes)
        if (change := find_change(before, after, _hint(params))) is None:
            return
        now_s = self._clock()
        known.num_lines = len(after)
        known.fingerprint += sum(map(hash, change.new)) - sum(map(hash, change.old))
        state = (known.num_lines, known.fingerprint)
        known.is_return = state in known.states
        known.states.append(state)
        if len(known.changes) == MAX_CHANGES:
            known.known_since = known.changes[0][0]
        known.changes.append((revision, change))
        known.hunks = _with_change(known.hunks, change, after, now_s, is_ours=is_ours)
        known.changed_s = now_s

    def past(self, uri: str) -> Past:
        """Return what is known of a document, to be kept and read in any thread."""
        known = self._documents.get(uri)
        if known is None:
            return Past()
        return Past(hunks=tuple(known.hunks), changed_s=known.changed_s, is_return=known.is_return)

    def since_change_s(self, uri: str) -> float:
        """Return how long ago a document changed."""
        known = self._documents.get(uri)
        return float("inf") if known is None else self._clock() - known.changed_s

    def changes_since(self, uri: str, revision: int) -> list[Change] | None:
        """Return the changes behind a revision; None if they are not all known."""
        known = self._documents.get(uri)
        if known is None or revision < known.known_since:
            return None
        return [change for number, change in known.changes if number > revision]

    def leads_back(self, uri: str, change: Change) -> bool:
        """Return whether a change would lead to a text that the document had before."""
        if (known := self._documents.get(uri)) is None:
            return False
        fingerprint = known.fingerprint + sum(map(hash, change.new)) - sum(map(hash, change.old))
        return (known.num_lines + len(change.new) - len(change.old), fingerprint) in known.states

    def forget(self, uri: str) -> None:
        """Drop all that is known of a closed document."""
        self._documents.pop(uri, None)


def find_change(before: Sequence[str], after: Sequence[str], hint: tuple[int, int] | None = None) -> Change | None:
    """Return the change between two texts; None if there is none. `hint` are the first and last line that may differ.

    Lines that weren't touched are the same objects, which compare at once.
    """
    start, num_end, shortest = 0, 0, min(len(before), len(after))
    if hint is not None:
        start = max(0, min(hint[0] - 1, shortest))
        num_end = max(0, min(len(before) - hint[1] - 1, shortest - start))
    while start < shortest - num_end and before[start] == after[start]:
        start += 1
    while num_end < shortest - start and before[-1 - num_end] == after[-1 - num_end]:
        num_end += 1
    old, new = tuple(before[start : len(before) - num_end]), tuple(after[start : len(after) - num_end])
    return Change(first=start, old=old, new=new) if old or new else None


def _hint(params: types.DidChangeTextDocumentParams) -> tuple[int, int] | None:
    changes = params.content_changes
    if len(changes) != 1 or not isinstance(changes[0], types.TextDocumentContentChangePartial):
        return None
    return changes[0].range.start.line, changes[0].range.end.line


def _with_change(
    hunks: Sequence[Hunk], change: Change, after: Sequence[str], now_s: float, *, is_ours: bool = False
) -> list[Hunk]:
    """Return the hunks behind a change, the latest first: it goes on with the hunk that it is in, or begins one."""
    moved = len(change.new) - len(change.old)
    latest, others = None, []
    for hunk in hunks:
        if hunk.first <= change.first and change.end <= hunk.end and hunk.lines:
            latest = hunk
        elif hunk.end <= change.first:
            others.append(hunk)
        elif change.end <= hunk.first:
            others.append(_moved(hunk, moved))
    if latest is None:
        latest = Hunk(first=change.first, lines=change.new, versions=(change.old,), at_s=now_s, is_ours=is_ours)
    else:
        versions = latest.versions
        if now_s - latest.at_s >= PAUSE_S and latest.lines != versions[-1]:
            versions = (*versions[-MAX_VERSIONS + 1 :], latest.lines)
        lines = tuple(after[latest.first : latest.end + moved])
        latest = replace(latest, lines=lines, versions=versions, at_s=now_s)
    if max(len(latest.lines), *map(len, latest.versions)) > MAX_HUNK_LINES:
        return others
    hunks = [latest, *others]
    by_user = [hunk for hunk in hunks if not hunk.is_ours][:MAX_HUNKS]
    return [hunk for hunk in hunks if hunk.is_ours or hunk in by_user][:MAX_ACCEPTED]


def _moved(hunk: Hunk, num_lines: int) -> Hunk:
    return replace(hunk, first=hunk.first + num_lines) if num_lines else hunk
