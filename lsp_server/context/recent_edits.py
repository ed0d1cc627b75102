"""Implements the source "edits": the latest changes in all documents, as the hunks of a diff.

Hunks come from comparing a document with an earlier state of it, so that keystrokes make one edit, and text that was
typed and taken back makes none. It must not know requests or the wire.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from lsp_server.context.snippets import EditorState, OpenDocument, Snippet
from lsp_server.documents.store import without_end

MAX_HUNKS: Final = 8
MAX_DOCUMENTS: Final = 20
MAX_HUNK_LINES: Final = 12
NUM_LINES_APART: Final = 3
NUM_LINES_SHOWN: Final = 1
MAX_COMPARED_LINES: Final = 600
NUM_LINES_NEAR: Final = 40
DIFF_PATH: Final = "recent-edits.diff"


class Hunk(NamedTuple):
    """One change: `old` and `new` lines with their line ends, their places counted from 0, and when it last changed."""

    old_line: int
    old: tuple[str, ...]
    new_line: int
    new: tuple[str, ...]
    tick: int


@dataclass(slots=True)
class _History:
    base: tuple[str, ...]
    path: str
    seen: tuple[str, ...]
    hunks: list[Hunk] = field(default_factory=list)


class RecentEdits:
    """The past states of the documents. It is not thread-safe."""

    def __init__(self) -> None:
        self._histories: dict[str, _History] = {}
        self._tick = 0

    def look(self, document: OpenDocument) -> None:
        """Take note of a document as it is now. Later looks are compared with the first."""
        history = self._histories.pop(document.uri, None)
        if history is None:
            history = _History(base=document.lines, path=document.path, seen=document.lines)
        elif history.seen is not document.lines:
            self._tick += 1
            hunks = diff(history.base, document.lines, self._tick)
            ticks = {(hunk.old, hunk.new): hunk.tick for hunk in history.hunks}
            history.hunks = [hunk._replace(tick=ticks.get((hunk.old, hunk.new), self._tick)) for hunk in hunks]
            history.seen = document.lines
            _forget_oldest(history)
        self._histories[document.uri] = history  # goes to the end, as the most recently used
        while len(self._histories) > MAX_DOCUMENTS:
            del self._histories[next(iter(self._histories))]

    def drop(self, uri: str) -> None:
        """Forget a document that must not be used."""
        self._histories.pop(uri, None)

    def snippets(self, view: EditorState) -> Iterator[Snippet]:
        """Yield the last hunks, newest first, except those around the cursor."""
        found = [(hunk, history, uri) for uri, history in self._histories.items() for hunk in history.hunks]
        found.sort(key=lambda entry: -entry[0].tick)
        rank = 0
        for hunk, history, uri in found:
            line = view.current.line
            if uri == view.current.uri and hunk.new_line - NUM_LINES_NEAR < line < _end(hunk) + NUM_LINES_NEAR:
                continue
            yield Snippet(
                source="edits",
                path=DIFF_PATH,
                text=render(history.path, hunk, history.seen),
                first_line=hunk.tick,
                score=1 / (1 + rank / 2),
            )
            rank += 1
            if rank == MAX_HUNKS:
                return


def diff(old: Sequence[str], new: Sequence[str], tick: int) -> list[Hunk]:
    """Return the hunks between two texts.

    Changes a few lines apart are one hunk; a change that is too large gives none.
    """
    start = 0
    shortest = min(len(old), len(new))
    while start < shortest and (old[start] is new[start] or old[start] == new[start]):
        start += 1
    end = 0
    while end < shortest - start and (old[-1 - end] is new[-1 - end] or old[-1 - end] == new[-1 - end]):
        end += 1
    a, b = old[start : len(old) - end], new[start : len(new) - end]
    if (not a and not b) or len(a) + len(b) > MAX_COMPARED_LINES:
        return []
    spans: list[list[int]] = []
    for tag, a0, a1, b0, b1 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        if spans and a0 - spans[-1][1] < NUM_LINES_APART:
            spans[-1][1], spans[-1][3] = a1, b1
        else:
            spans.append([a0, a1, b0, b1])
    return [Hunk(start + a0, tuple(a[a0:a1]), start + b0, tuple(b[b0:b1]), tick) for a0, a1, b0, b1 in spans]


def render(path: str, hunk: Hunk, lines: Sequence[str]) -> str:
    """Format a hunk like `diff -u`, without its counts, with the line above and the line below."""
    above = lines[max(0, hunk.new_line - NUM_LINES_SHOWN) : hunk.new_line]
    below = lines[_end(hunk) : _end(hunk) + NUM_LINES_SHOWN]
    body = [" " + line for line in above]
    body += ["-" + line for line in hunk.old[:MAX_HUNK_LINES]]
    body += ["+" + line for line in hunk.new[:MAX_HUNK_LINES]]
    body += [" " + line for line in below]
    return "\n".join([f"@@ {path} @@", *map(without_end, body)])


def _forget_oldest(history: _History) -> None:
    """Make the oldest hunk part of the base with which later looks are compared."""
    if len(history.hunks) <= MAX_HUNKS:
        if not history.hunks and history.base is not history.seen:
            history.base = history.seen  # no changes are left, or there are too many to keep
        return
    oldest = min(history.hunks, key=lambda hunk: hunk.tick)
    base, at = history.base, oldest.old_line
    history.base = (*base[:at], *oldest.new, *base[at + len(oldest.old) :])
    moved = len(oldest.new) - len(oldest.old)
    history.hunks = [
        hunk._replace(old_line=hunk.old_line + moved * (hunk.old_line > at))
        for hunk in history.hunks
        if hunk is not oldest
    ]


def _end(hunk: Hunk) -> int:
    return hunk.new_line + len(hunk.new)
