"""Gathers the context of a request and freezes it for a burst of typing, so that the prompt keeps its beginning.

This is the event loop's side: it notes what the editor does, which costs microseconds, and asks the background thread
in pauses. Only a burst's first request may wait for it, for a short time. It must not know the engine or the wire.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from lsprotocol import types
from pygls.uris import to_fs_path

from decoding.protocol import ContextFile
from lsp_server.context.ignore import RULE_FILES
from lsp_server.context.ranking import room_for
from lsp_server.context.snippets import EditorState, OpenDocument
from lsp_server.context.worker import ContextWorker
from lsp_server.documents.changes import end_of_last_change
from lsp_server.documents.store import MAX_LINE_CHARS, DocumentStore, Snapshot

logger = logging.getLogger(__name__)

BURST_S: Final = 2.0
PAUSE_S: Final = 0.7
WAIT_S: Final = 0.006
WEIGHT: Final = 0.3
MAX_LINES_MOVED: Final = 30
MAX_OTHERS: Final = 20
MAX_RECENT: Final = 10
# chosen: a longer document, surely generated, takes too long to look through; it gives no context and no edits.
MAX_LINES: Final = 20_000
SCHEMES: Final = ("file", "untitled", "vscode-notebook-cell")

Files = tuple[ContextFile, ...]


@dataclass(slots=True, kw_only=True)
class _Burst:
    """A burst's context, gathered for `asked`; `is_late` means that the burst's first request couldn't wait for it."""

    asked: _Asked
    files: Files
    line: int
    active_s: float
    is_late: bool = False
    is_over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    uri: str
    sources: tuple[str, ...]
    max_chars: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """The context that was gathered in a pause; `num_changes` is the number of changes up to then."""

    asked: _Asked
    files: Files
    line: int
    num_changes: int


class ContextGatherer:
    """Gathers the context for one editor window. It belongs to the event loop's thread."""

    def __init__(
        self,
        documents: DocumentStore,
        folder_uris: Callable[[], list[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._documents = documents
        self._folder_uris = folder_uris
        self._clock = clock
        self._worker = ContextWorker()
        self._folders: list[str] | None = None
        self._lines: dict[str, int] = {}  # by URI, the last visited at the end
        self._recent: dict[Path, int] = {}
        self._judged: dict[str, asyncio.Future[str]] = {}
        self._known: dict[str, OpenDocument] = {}
        self._bursts: dict[str, _Burst] = {}
        self._ready: _Ready | None = None
        self._takes_s = 0.0  # how long gathering takes, lately: if it is too long, requests don't wait for it
        self._num_changes = 0
        self._num_changes_before = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Have the thread import and read what its first judgement needs, now that the editor is ready."""
        self._follow_folders()

    def opened(self, uri: str) -> None:
        """Take note of a document that was opened, and have it judged by the ignore rules."""
        self._lines[uri] = self._lines.pop(uri, -1)
        self._judge(uri)
        if document := self._document(uri):
            self._recent.pop(document.file or Path(), None)
            self._worker.look(document)

    def changed(self, params: types.DidChangeTextDocumentParams) -> None:
        """Take note of a document that was changed, as the sign that a burst goes on."""
        uri = params.text_document.uri
        end = end_of_last_change(params)
        self._visit(uri, self._lines.get(uri, -1) if end is None else end.line)
        now = self._clock()
        burst = self._bursts.get(uri)
        if burst is not None:
            if now - burst.active_s > BURST_S and not burst.is_over:
                burst.is_over = True
                self._num_changes_before = self._num_changes
            burst.active_s = now
        self._num_changes += 1
        self._wait_for_pause()

    def closing(self, uri: str) -> None:
        """Take a last look at a document that is about to be forgotten."""
        if document := self._document(uri):
            self._worker.look(document)
            if document.file:
                self._recent[document.file] = self._lines.get(uri, -1)
        while len(self._recent) > MAX_RECENT:
            del self._recent[next(iter(self._recent))]
        for known in (self._lines, self._judged, self._known, self._bursts):
            known.pop(uri, None)

    def changed_on_disk(self, uris: Sequence[str]) -> None:
        """Follow files that were saved, created or deleted. Changed ignore rules hold from now on."""
        files = [Path(path) for uri in uris if uri.startswith("file:") and (path := to_fs_path(uri))]
        self._judge_all(at_once=any(file.name in RULE_FILES for file in files))
        self._worker.changed_on_disk(files)

    async def ignored_by(self, uri: str) -> str:
        """Return the pattern that excludes an open document, and the file it stands in; "" if none does."""
        if uri not in self._judged:
            self._judge(uri)
        return await asyncio.shield(self._judged[uri])

    def files(self, uri: str) -> Files:
        """Return the context that goes with a document's requests until the burst of typing in it ends."""
        burst = self._bursts.get(uri)
        return () if burst is None else burst.files

    async def prepare(self, snapshot: Snapshot, line: int, sources: tuple[str, ...], context_tokens: int) -> None:
        """Start or continue a burst before a request at this line; `context_tokens` is the model's window or 0."""
        uri = snapshot.uri
        self._visit(uri, line)
        asked = _Asked(uri=uri, sources=sources, max_chars=room_for(context_tokens))
        if not sources or not asked.max_chars:
            self._bursts.pop(uri, None)
            return
        burst, now = self._bursts.get(uri), self._clock()
        if burst is not None and burst.asked != asked:
            burst = None
        if burst is not None and not burst.is_over:
            if abs(burst.line - line) <= MAX_LINES_MOVED and now - burst.active_s <= BURST_S:
                burst.line, burst.active_s = line, now
                if burst.is_late and (found := self._made_for(asked, line)) is not None:
                    burst.files, burst.is_late = found, False
                self._wait_for_pause()
                return
            self._num_changes_before = self._num_changes
        before = burst.files if burst is not None else ()
        found = await self._fresh(asked, snapshot, line, before)
        self._bursts[uri] = _Burst(
            asked=asked,
            files=before if found is None else found,
            line=line,
            active_s=self._clock(),
            is_late=found is None,
        )
        self._wait_for_pause()

    def close(self) -> None:
        """Stop the thread and the timer."""
        if self._timer is not None:
            self._timer.cancel()
        self._worker.close()

    async def _fresh(self, asked: _Asked, snapshot: Snapshot, line: int, before: Files) -> Files | None:
        """Return the last pause's context if it still holds, else gather now; None if that takes too long."""
        if (found := self._made_for(asked, line)) is not None:
            return found
        gathering = self._gather(asked, snapshot, line, before)
        done, _ = await asyncio.wait([gathering], timeout=WAIT_S if self._takes_s <= WAIT_S else 0)
        return gathering.result() if done and not gathering.cancelled() and not gathering.exception() else None

    def _made_for(self, asked: _Asked, line: int) -> Files | None:
        """Return what was gathered for this place since the burst began or in the pause before it."""
        ready = self._ready
        if ready is None or ready.asked != asked or ready.num_changes < self._num_changes_before:
            return None
        return ready.files if abs(ready.line - line) <= MAX_LINES_MOVED else None

    def _gather(self, asked: _Asked, snapshot: Snapshot, line: int, before: Files) -> asyncio.Future[Files]:
        self._follow_folders()
        uris = [uri for uri in reversed(self._lines) if uri != asked.uri][:MAX_OTHERS]
        others = (self._document(uri) for uri in uris)
        view = EditorState(
            current=OpenDocument.of(snapshot, self._folder_uris(), line),
            stored=self._document(asked.uri),
            others=tuple(document for document in others if document),
            recent=tuple(reversed(self._recent.items())),
            sources=asked.sources,
            max_chars=asked.max_chars,
        )
        num_changes, began_s = self._num_changes, time.perf_counter()
        gathering = asyncio.wrap_future(self._worker.gather(view, before))

        def keep(done: asyncio.Future[Files]) -> None:
            self._takes_s += WEIGHT * (time.perf_counter() - began_s - self._takes_s)
            if done.cancelled():
                return
            if error := done.exception():
                logger.error("context could not be gathered: %s", type(error).__name__)
                return
            self._ready = _Ready(asked=asked, files=done.result(), line=line, num_changes=num_changes)

        gathering.add_done_callback(keep)
        return gathering

    def _wait_for_pause(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(PAUSE_S, self._pause)

    def _pause(self) -> None:
        """Gather for the document that is being worked in, so that the next burst need not wait."""
        self._judge_all()
        uri = next(reversed(self._lines), "")
        burst, snapshot = self._bursts.get(uri), self._documents.snapshot(uri)
        if burst is not None and snapshot is not None:
            self._gather(burst.asked, snapshot, self._lines[uri], burst.files)

    def _visit(self, uri: str, line: int) -> None:
        self._lines.pop(uri, None)
        self._lines[uri] = line

    def _judge_all(self, *, at_once: bool = False) -> None:
        for uri in self._judged:
            self._judge(uri, at_once=at_once)

    def _judge(self, uri: str, *, at_once: bool = True) -> None:
        """Judge a document again; if this must hold `at_once`, requests wait for it, else the last one holds on."""
        self._follow_folders()
        path = to_fs_path(uri) if uri.startswith("file:") else None
        name = uri.rpartition(":")[2]
        judging = asyncio.wrap_future(self._worker.judge(Path(path) if path else None, name))
        before = self._judged.get(uri)
        if before is None or at_once or not before.done():
            self._judged[uri] = judging
            return

        def replace_before(done: asyncio.Future[str]) -> None:
            if self._judged.get(uri) is before and not done.cancelled():
                self._judged[uri] = done

        judging.add_done_callback(replace_before)

    def _follow_folders(self) -> None:
        folders = self._folder_uris()
        if folders != self._folders:
            self._folders = folders
            self._worker.start([Path(path) for folder in folders if (path := to_fs_path(folder))])

    def _document(self, uri: str) -> OpenDocument | None:
        """Return an open document as it is now, if it may be context.

        An unchanged one is the object that was returned before.
        """
        known, revision = self._known.get(uri), self._documents.revision(uri)
        line = self._lines.get(uri, -1)
        if known is None or known.revision != revision:
            lines = self._documents.lines(uri) or ()
            is_small = len(lines) <= MAX_LINES and max(map(len, lines), default=0) <= MAX_LINE_CHARS
            snapshot = self._documents.snapshot(uri) if is_small and uri.partition(":")[0] in SCHEMES else None
            if snapshot is None:
                return None
            known = OpenDocument.of(snapshot, self._folder_uris())
        self._known[uri] = known if known.line == line else replace(known, line=line)
        return self._known[uri]
