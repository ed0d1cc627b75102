"""Implements the source "similar": windows of other files whose identifiers are most like those around the cursor.

Likeness is the Jaccard index of two sets of identifiers, each weighted by how few windows have it (Jaccard over fixed
windows as in Copilot, weights after Sparck Jones 1972). The index of the workspace keeps numbers instead of text, is
bounded in files and bytes, and is built in steps of about a millisecond. It must not know requests or the wire.
"""

from __future__ import annotations

import math
import re
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from lsp_server.context.definitions import DefinitionIndex
from lsp_server.context.files import Workspace, stamp_of, within
from lsp_server.context.snippets import EditorState, OpenDocument, Snippet, text_of

MAX_FILES: Final = 2000
MAX_LISTED: Final = 20_000
# chosen: a whole home directory may be open as a folder. What lies near the document is found long before.
MAX_WALKED: Final = 100_000
MAX_WALK_S: Final = 5.0
MAX_BYTES: Final = 8 * 1024 * 1024
WINDOW_LINES: Final = 20
STRIDE: Final = 10
MIN_WORDS: Final = 4
LINES_PER_STEP: Final = 100
NUM_ABOVE: Final = 20
NUM_BELOW: Final = 5
NUM_RESCORED: Final = 60
MAX_FOUND: Final = 8
MIN_LIKENESS: Final = 0.08

_WORD: Final = re.compile(r"[A-Za-z_]\w{2,}")
_COMMON_TEXT: Final = """
and assert async await break case catch class const continue def default del elif else enum except export extends
finally for from func function global import interface lambda let new nonlocal not null pass private public raise
return self static str int float bool list dict super switch this throw true try type typeof var void while with yield
None True False
"""
_COMMON: Final = frozenset(_COMMON_TEXT.split())
FAMILIES: Final = (
    frozenset({".py", ".pyi"}),
    frozenset({".js", ".jsx", ".ts", ".tsx", ".mjs", ".cjs"}),
    frozenset({".c", ".h", ".cc", ".cpp", ".hpp"}),
)


class _Window(NamedTuple):
    first_line: int
    ids: array[int]


class _Indexed(NamedTuple):
    stamp: tuple[int, int]
    num_bytes: int
    windows: list[_Window]


class SimilarIndex:
    """An index of the workspace's files in the languages asked for. It is not thread-safe."""

    def __init__(self, workspace: Workspace, clock: Callable[[], float] = time.perf_counter) -> None:
        self._workspace = workspace
        self._clock = clock
        self._files: dict[Path, _Indexed] = {}
        self._frequency: Counter[int] = Counter()
        self._num_windows = 0
        self.num_bytes = 0
        self.definitions = DefinitionIndex()  # of the same files, which are read here anyway

    @property
    def num_files(self) -> int:
        """Return how many files the index holds."""
        return len(self._files)

    def build(self, endings: frozenset[str], near: Path | None) -> Iterator[None]:
        """Bring the index up to date in small steps. If there are too many files, those near `near` come first."""
        listed: list[Path] = []
        for file in within(self._workspace.walk(near, MAX_WALKED), MAX_WALK_S, self._clock):
            if file is not None and file.suffix in endings:
                listed.append(file)
            if len(listed) == MAX_LISTED:
                break
            yield
        parts = near.parts if near else ()
        listed.sort(key=lambda file: (-_num_common(file.parts, parts), file))
        for gone in set(self._files).difference(listed[:MAX_FILES]):
            self._remove(gone)
        for file in listed[:MAX_FILES]:
            yield from self._refresh(file)

    def refresh(self, file: Path) -> None:
        """Index one file again; it may be new, changed or gone."""
        for _ in self._refresh(file):
            pass

    def snippets(self, view: EditorState, documents: Iterable[OpenDocument]) -> Iterator[Snippet | None]:
        """Yield the most similar windows of these open documents and of files, and None after each step of the work."""
        wanted = _query(view.current)
        if len(wanted) < MIN_WORDS:
            return
        endings = family_of(view.current.file)
        texts = {document.file: document for document in documents}
        found: list[tuple[int, _Window, Path | None, OpenDocument | None]] = []
        for document in texts.values():
            if document.uri != view.current.uri and document.language == view.current.language:
                windows = windows_of(document.lines)
                found += [(len(wanted.intersection(w.ids)), w, document.file, document) for w in windows]
            yield None
        for file, indexed in list(self._files.items()):
            if file not in texts and file.suffix in endings and file != view.current.file:
                found += [(len(wanted.intersection(w.ids)), w, file, None) for w in indexed.windows]
                yield None
        found.sort(key=lambda one: -one[0])
        scored = [(self.likeness(wanted, w.ids), w, file, document) for _, w, file, document in found[:NUM_RESCORED]]
        scored.sort(key=lambda one: -one[0])
        yield from self._distinct(scored, view)

    def _distinct(
        self, scored: Sequence[tuple[float, _Window, Path | None, OpenDocument | None]], view: EditorState
    ) -> Iterator[Snippet]:
        """Yield the best windows, no two of which share lines, with their text as it is now."""
        taken: list[tuple[object, int]] = []
        for likeness, window, file, document in scored:
            where = document.uri if document else file
            is_shared = any(where == w and abs(window.first_line - line) < WINDOW_LINES for w, line in taken)
            if likeness < MIN_LIKENESS or is_shared:
                continue
            path, text = self._text(window, file, document, view)
            if text.strip():
                taken.append((where, window.first_line))
                yield Snippet(source="similar", path=path, text=text, first_line=window.first_line, score=likeness)
            if len(taken) == MAX_FOUND:
                return

    def _text(
        self, window: _Window, file: Path | None, document: OpenDocument | None, view: EditorState
    ) -> tuple[str, str]:
        end = window.first_line + min(WINDOW_LINES, view.window_lines)
        if document is not None:
            return document.path, text_of(document.lines, window.first_line, end)
        read = self._workspace.read(file) if file else None
        if read is None or file is None or self._files[file].stamp != read.stamp:
            return "", ""  # the file changed since it was indexed; the next build will see that
        root = next(root for root in self._workspace.roots if root in file.parents)
        return file.relative_to(root).as_posix(), text_of(tuple(read.text.split("\n")), window.first_line, end)

    def likeness(self, wanted: frozenset[int], ids: Iterable[int]) -> float:
        """Return the weighted Jaccard index, from 0 to 1."""
        held = frozenset(ids)
        shared = sum(map(self._weight, wanted & held))
        total = sum(map(self._weight, wanted | held))
        return shared / total if total else 0.0

    def _weight(self, word_id: int) -> float:
        return math.log(1 + (1 + self._num_windows) / (1 + self._frequency[word_id]))

    def _refresh(self, file: Path) -> Iterator[None]:
        stamp = stamp_of(file)
        if stamp is not None and file in self._files and self._files[file].stamp == stamp:
            return
        self._remove(file)
        read = self._workspace.read(file) if stamp is not None and self.num_bytes + stamp[1] <= MAX_BYTES else None
        yield
        if read is None:
            return
        windows: list[_Window] = []
        for window in _windows(read.text.split("\n")):
            windows.append(window)
            if len(windows) % (LINES_PER_STEP // STRIDE) == 0:
                yield
        if file in self._files:  # a refresh came between two steps and read the file later than this did
            return
        indexed = self._files[file] = _Indexed(read.stamp, len(read.text), windows)
        self.num_bytes += len(read.text)
        self._num_windows += len(windows)
        for window in windows:
            self._frequency.update(window.ids)
        yield from self.definitions.take(file, read, lambda: self._files.get(file) is indexed)

    def _remove(self, file: Path) -> None:
        indexed = self._files.pop(file, None)
        if indexed is None:
            return
        self.definitions.remove(file)
        self.num_bytes -= indexed.num_bytes
        self._num_windows -= len(indexed.windows)
        for window in indexed.windows:
            for word_id in window.ids:
                self._frequency[word_id] -= 1
                if self._frequency[word_id] <= 0:
                    del self._frequency[word_id]


def family_of(file: Path | None) -> frozenset[str]:
    """Return the file endings of the same language."""
    ending = file.suffix if file else ""
    return next((family for family in FAMILIES if ending in family), frozenset({ending} - {""}))


def word_ids(line: str) -> frozenset[int]:
    """Return numbers of the identifiers in a line, except words that every file has."""
    return frozenset(hash(word) & 0x7FFFFFFF for word in _WORD.findall(line[:1000]) if word not in _COMMON)


@lru_cache(maxsize=32)
def windows_of(lines: tuple[str, ...]) -> tuple[_Window, ...]:
    """Return the windows of an open document.

    They are cached, since a document is mostly unchanged since the last time.
    """
    return tuple(_windows(lines))


def _windows(lines: Sequence[str]) -> Iterator[_Window]:
    for first in range(0, max(1, len(lines) - STRIDE), STRIDE):
        ids = frozenset().union(*map(word_ids, lines[first : first + WINDOW_LINES]))
        if len(ids) >= MIN_WORDS:
            yield _Window(first, array("i", ids))


def _query(document: OpenDocument) -> frozenset[int]:
    line = max(0, document.line)
    return frozenset().union(*map(word_ids, document.lines[max(0, line - NUM_ABOVE) : line + NUM_BELOW]))


def _num_common(a: Sequence[str], b: Sequence[str]) -> int:
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
