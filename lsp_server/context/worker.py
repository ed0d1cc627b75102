"""Runs the background thread of context: it alone reads files, keeps the index and compares texts.

One thread does everything in the order in which it was asked. It builds the index in between, in steps of about a
millisecond. It must not know the event loop, requests or the wire.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path, PurePath
from typing import Final, NamedTuple, TypeVar

from decoding.protocol import ContextFile
from lsp_server.context.files import Workspace
from lsp_server.context.ignore import RULE_FILES, secret_reason
from lsp_server.context.imports import ModuleFile, imported_definitions, read_module
from lsp_server.context.open_files import visited_places
from lsp_server.context.ranking import choose
from lsp_server.context.recent_edits import RecentEdits
from lsp_server.context.similar import SimilarIndex, family_of
from lsp_server.context.snippets import EditorState, OpenDocument, Snippet
from lsp_server.context.staged import StagedDiff
from lsp_server.documents.store import without_end

logger = logging.getLogger(__name__)
T = TypeVar("T")

# chosen: other threads wait at most this long for the interpreter. The default of 5 ms would be felt in the event loop.
SWITCH_INTERVAL_S: Final = 0.0005
STEP_S: Final = 0.001
REBUILD_S: Final = 120.0


class _ToJudge(NamedTuple):
    """A document that waits to be judged by the ignore rules of these folders."""

    judging: Future[str]
    file: Path | None
    name: str
    folders: tuple[Path, ...]


class ContextWorker:
    """Takes work from any thread. Its futures fail only because of a bug."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="tabcast-context")
        self._clock = clock
        self._folders: tuple[Path, ...] = ()
        self._folders_to_be: tuple[Path, ...] = ()
        self._to_judge: deque[_ToJudge] = deque()
        self._workspace = Workspace(())
        self._index = SimilarIndex(self._workspace)
        self._edits = RecentEdits()
        self._staged = StagedDiff()
        self._build: Iterator[None] | None = None
        self._built_for: frozenset[str] = frozenset()
        self._built_s = 0.0

    def start(self, folders: Sequence[Path]) -> None:
        """Use these folders of the workspace; new ones mean a new index."""
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._folders_to_be = tuple(folders)
        self._submit(self._set_folders, self._folders_to_be)

    def judge(self, file: Path | None, name: str) -> Future[str]:
        """Return the pattern that excludes an open document, or ""; `name` is used where it has no file.

        A request waits for this, so it comes between the steps of a gathering.
        """
        judging: Future[str] = Future()
        self._to_judge.append(_ToJudge(judging, file, name, self._folders_to_be))
        if self._submit(self._judge_waiting).cancelled():
            judging.cancel()
        return judging

    def look(self, document: OpenDocument) -> None:
        """Take note of a document when it is opened and closed; later edits are compared with that state."""
        self._submit(self._look, document)

    def gather(self, view: EditorState, before: Sequence[ContextFile]) -> Future[tuple[ContextFile, ...]]:
        """Gather the context for a view; `before` is what was sent last, whose order is kept."""
        return self._submit(self._gather, view, before)

    def changed_on_disk(self, files: Sequence[Path]) -> None:
        """Look at these files again; after a change of ignore rules, at all files."""
        self._submit(self._refresh, files)

    def close(self) -> None:
        """Drop all waiting work and end after the step that runs."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with suppress(IndexError):
            while True:  # the thread takes from it, too
                self._to_judge.popleft().judging.cancel()

    def _submit(self, work: Callable[..., T], *arguments: object) -> Future[T]:
        try:
            return self._pool.submit(work, *arguments)
        except RuntimeError:  # the thread's executor was shut down
            done: Future[T] = Future()
            done.cancel()
            return done

    def _set_folders(self, folders: tuple[Path, ...]) -> None:
        if folders != self._folders:
            self._folders = folders
            self._workspace = Workspace(folders)
            self._index = SimilarIndex(self._workspace)
            self._build = None
            self._built_for = frozenset()
        for root in self._workspace.roots[:1]:
            self._workspace.document_reason(root / "a")  # imports, and reads the rules, before a request waits

    def _judge(self, file: Path | None, name: str) -> str:
        return self._workspace.document_reason(file) if file else secret_reason(PurePath(name))

    def _judge_waiting(self) -> None:
        """Judge all that waits, if it was asked for with the present folders; the rest waits for its folders."""
        with suppress(IndexError):  # `close` may empty the queue at the same time
            while self._to_judge[0].folders == self._folders:
                judging, file, name, _ = self._to_judge.popleft()
                if judging.set_running_or_notify_cancel():
                    try:
                        judging.set_result(self._judge(file, name))
                    except Exception as error:
                        judging.set_exception(error)

    def _look(self, document: OpenDocument) -> None:
        if not self._judge(document.file, document.path):
            self._edits.look(document)

    def _gather(self, view: EditorState, before: Sequence[ContextFile]) -> tuple[ContextFile, ...]:
        with self._workspace.at_one_moment():
            allowed = tuple(d for d in view.others if not self._judge(d.file, d.path))
        view = replace(view, others=allowed)
        for document in (*reversed(allowed), *([view.stored] if view.stored else [])):
            self._edits.look(document)
        if not {"similar", "definitions"}.isdisjoint(view.sources):
            self._keep_index(view.current.file)
        return choose(self._between_judgements(self._snippets(view)), view.max_chars, before)

    def _between_judgements(self, snippets: Iterator[Snippet | None]) -> Iterator[Snippet]:
        for snippet in snippets:
            self._judge_waiting()
            if snippet is not None:
                yield snippet

    def _snippets(self, view: EditorState) -> Iterator[Snippet | None]:
        if "staged" in view.sources:
            is_any = False
            for snippet in self._staged.snippets(view):
                is_any = is_any or snippet is not None
                yield snippet
            if is_any:  # nothing else tells what a commit does
                return
        documents = (view.current, *view.others)
        by_file = {document.file: document for document in documents if document.file}
        if "imports" in view.sources:
            find = cache(lambda file: self._module(file, by_file))
            yield from imported_definitions(view, self._workspace.roots, find)
        if "definitions" in view.sources:
            known, read = self._index.definitions, self._workspace.read
            yield from known.snippets(view, documents, read, self._name, family_of(view.current.file))
        if "open" in view.sources:
            yield from visited_places(view, self._closed(view, by_file))
        if "similar" in view.sources:
            yield from self._index.snippets(view, documents)
        if "edits" in view.sources:
            yield from self._edits.snippets(view)

    def _module(self, file: Path, by_file: dict[Path, OpenDocument]) -> ModuleFile | None:
        if document := by_file.get(file):
            return _parsed(file, document.path, document.lines)
        read = self._workspace.read(file)
        return None if read is None else _parsed(file, self._name(read.path), tuple(read.text.split("\n")))

    def _closed(self, view: EditorState, by_file: dict[Path, OpenDocument]) -> Iterator[OpenDocument]:
        for file, line in view.recent:
            read = None if file in by_file else self._workspace.read(file)
            if read is not None and file.suffix in family_of(view.current.file):
                yield OpenDocument(
                    uri=file.as_uri(),
                    path=self._name(read.path),
                    file=file,
                    language=view.current.language,
                    revision=0,
                    lines=tuple(read.text.split("\n")),
                    line=line,
                )

    def _name(self, file: Path) -> str:
        root = next(root for root in self._workspace.roots if root in file.parents)
        return file.relative_to(root).as_posix()

    def _refresh(self, files: Sequence[Path]) -> None:
        if any(file.name in RULE_FILES for file in files):
            self._built_for = frozenset()  # the next gathering builds it again
            return
        for file in files:
            if file.suffix in self._built_for and self._workspace.reason(file) in ("", "it can't be found"):
                self._index.refresh(file)

    def _keep_index(self, file: Path | None) -> None:
        endings = family_of(file)
        is_old = self._clock() - self._built_s > REBUILD_S
        if self._build is None and endings and (is_old or not endings <= self._built_for):
            self._built_for |= endings
            self._built_s = self._clock()
            self._build = self._index.build(self._built_for, file.parent if file else None)
            self._submit(self._build_some)

    def _build_some(self) -> None:
        """Build the index for a millisecond, leave the interpreter to others as long, and schedule the next step."""
        end = self._clock() + STEP_S
        build = self._build
        if build is None:
            return
        try:
            while self._clock() < end:
                next(build)
        except StopIteration:
            self._build = None
            logger.info("similar code: %d files, %d kB", self._index.num_files, self._index.num_bytes // 1024)
            return
        except Exception as error:
            self._build = None
            logger.error("the index of similar code failed: %s", type(error).__name__)
            return
        time.sleep(STEP_S)
        with suppress(RuntimeError):
            self._pool.submit(self._build_some)


@lru_cache(maxsize=64)
def _parsed(file: Path, path: str, lines: tuple[str, ...]) -> ModuleFile:
    return read_module(file, path, [without_end(line) for line in lines])
