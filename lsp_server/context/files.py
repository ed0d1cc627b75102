"""Reads the files of a workspace; no other module does, but for those of git, which `git/` reads.

It reads only what lies inside the roots, is not ignored, is plain text and of bounded size. Symbolic links are resolved
first, and both names are judged. It must not know documents or requests.
"""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from lsp_server.context.ignore import IgnoreRules, secret_reason

MAX_FILE_BYTES: Final = 256 * 1024
MAX_FOLDER_DEPTH: Final = 32
ENTRIES_PER_STEP: Final = 100
# What git asks an editor to write, in `.git/`.
MESSAGE_FILES: Final = frozenset(
    {"COMMIT_EDITMSG", "MERGE_MSG", "SQUASH_MSG", "TAG_EDITMSG", "EDIT_DESCRIPTION", "NOTES_EDITMSG"}
)
OUTSIDE: Final = "it lies outside of the workspace"


class TextFile(NamedTuple):
    """A file's text, with line feeds as the only line ends, and a stamp that changes when the file does."""

    path: Path
    text: str
    stamp: tuple[int, int]


class Workspace:
    """The files that may be read. Everything here blocks, so it belongs to a background thread."""

    def __init__(self, folders: Iterable[Path]) -> None:
        resolved = sorted({root for folder in folders if (root := _resolve(folder))}, key=lambda root: len(root.parts))
        self._rules = [IgnoreRules(root) for root in reversed(resolved)]  # the innermost first

    @property
    def roots(self) -> list[Path]:
        """Return the resolved roots, the innermost first."""
        return [rules.root for rules in self._rules]

    @contextmanager
    def at_one_moment(self) -> Iterator[None]:
        """Look at each rule file only once within this context, however many files are judged."""
        with ExitStack() as stack:
            for rules in self._rules:
                stack.enter_context(rules.at_one_moment())
            yield

    def reason(self, path: Path) -> str:
        """Return why a file must not be read: the pattern, or that it lies outside; "" if it may be read."""
        resolved = _resolve(path)
        if resolved is None:
            return "it can't be found"
        if self._rules_around(resolved) is None:
            return OUTSIDE
        names = dict.fromkeys((resolved, path))
        reasons = (rules.reason(name) for name in names if (rules := self._rules_around(name)))
        return next(filter(None, reasons), "")

    def document_reason(self, path: Path) -> str:
        """Return the pattern that excludes an open document, or "". The document may lie outside of the workspace."""
        names = dict.fromkeys(filter(None, (path, _resolve(path))))
        for name in names:
            if is_message(name):
                continue
            rules = self._rules_around(name)
            if why := rules.reason(name) if rules else secret_reason(name):
                return why
        return ""

    def read(self, path: Path) -> TextFile | None:
        """Return the text of a file that may be read; None if it may not, is no plain text, or is too large."""
        resolved = _resolve(path)
        return None if resolved is None or self.reason(path) else _read_text(resolved)

    def walk(self, near: Path | None = None, max_entries: int | None = None) -> Iterator[Path | None]:
        """Yield every file below the roots that may be read, and None after each folder and now and then.

        Links are not followed, nor folders of another disk. What lies close to `near` comes first, and the walk ends
        after `max_entries` names. The caller may stop between any two.
        """
        seen: set[Path] = set()
        num_left = max_entries
        for rules in self._rules:
            device, waiting = _device(rules.root), [(0, rules.root)]
            while waiting and num_left != 0:
                _, folder = heapq.heappop(waiting)
                is_deep = len(folder.parts) - len(rules.root.parts) > MAX_FOLDER_DEPTH
                if folder in seen or is_deep or _device(folder) != device:
                    continue
                seen.add(folder)
                files, folders = _entries(folder, num_left)
                num_left = None if num_left is None else num_left - len(files) - len(folders)
                for number, file in enumerate(files, 1):
                    if not rules.entry_reason(file, is_folder=False):
                        yield file
                    elif number % ENTRIES_PER_STEP == 0:
                        yield None
                for inner in folders:
                    if not rules.entry_reason(inner, is_folder=True):
                        heapq.heappush(waiting, (_distance(inner, near), inner))
                    yield None
                yield None

    def _rules_around(self, path: Path) -> IgnoreRules | None:
        return next((rules for rules in self._rules if rules.root in path.parents), None)


def within(walk: Iterator[Path | None], max_s: float, clock: Callable[[], float]) -> Iterator[Path | None]:
    """Yield what a walk yields, until it has used so many seconds by itself."""
    spent_s = 0.0
    while spent_s < max_s:
        began_s = clock()
        try:
            found = next(walk)
        except StopIteration:
            return
        spent_s += clock() - began_s
        yield found


def stamp_of(path: Path) -> tuple[int, int] | None:
    """Return values that change when a file changes; None if it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _read_text(resolved: Path) -> TextFile | None:
    """Read a file without waiting for a pipe, and without following a link that was put there since it was resolved."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(resolved, "rb", opener=lambda name, _: os.open(name, flags)) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_FILE_BYTES:
                return None
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES or b"\0" in data:
            return None
        text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, UnicodeDecodeError):
        return None
    return TextFile(resolved, text, (found.st_mtime_ns, found.st_size))


def _entries(folder: Path, max_entries: int | None) -> tuple[list[Path], list[Path]]:
    files, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in islice(entries, max_entries):
                if entry.is_dir(follow_symlinks=False):
                    folders.append(folder / entry.name)
                elif entry.is_file(follow_symlinks=False):
                    files.append(folder / entry.name)
    except OSError:
        return [], []
    return sorted(files), sorted(folders)


def _device(folder: Path) -> int | None:
    try:
        return folder.stat().st_dev
    except OSError:
        return None


def _distance(folder: Path, near: Path | None) -> int:
    """Return how many steps, up and down the tree, lead from one folder to another."""
    if near is None:
        return 0
    num_common = next((n for n, (a, b) in enumerate(zip(folder.parts, near.parts, strict=False)) if a != b), None)
    num_common = min(len(folder.parts), len(near.parts)) if num_common is None else num_common
    return len(folder.parts) + len(near.parts) - 2 * num_common


def is_message(path: Path) -> bool:
    """Return whether git gave this file to an editor, so that a message is written in it."""
    return path.name in MESSAGE_FILES and ".git" in path.parts


def _resolve(path: Path) -> Path | None:
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        return None
