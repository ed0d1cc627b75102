"""Implements the source "staged": what the commit is about to change, while its message is being written.

It is read from the repository's own files; git is never run. A repository that is broken, of another kind or slow to
read gives nothing. Files that are ignored, links and what is no text are left out. It must not know requests or the
wire.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from pygls.uris import to_fs_path

from lsp_server.context.files import is_message, stamp_of
from lsp_server.context.git.bounded import Budget
from lsp_server.context.git.changes import BROKEN, Change, find_repository, git_dir_of, index_file, staged_changes
from lsp_server.context.git.objects import Objects
from lsp_server.context.ignore import IgnoreRules
from lsp_server.context.recent_edits import MAX_HUNK_LINES, diff, render
from lsp_server.context.snippets import EditorState, OpenDocument, Snippet

logger = logging.getLogger(__name__)

STAGED_PATH: Final = "staged.diff"
MAX_FILES: Final = 40
# VS Code writes a commit's message in an input of its own, which is no file.
_INPUT_SCHEME: Final = "vscode-scm:git/"
# chosen: a message tells of the whole change, and a slow model has to read it first.
MAX_STAGED_CHARS: Final = 6000
_HEAD_BYTES: Final = 8000


class StagedDiff:
    """The change of the last repository that was looked at, read anew when its index or its last commit changes."""

    def __init__(self) -> None:
        self._key: object = None
        self._known: list[Snippet] = []

    def snippets(self, view: EditorState) -> Iterator[Snippet | None]:
        """Yield a snippet of each change that the commit under way makes, and None in between."""
        git_dir = _message_of(view.current)
        if git_dir is None:
            return
        stamps = [stamp_of(path) for path in (index_file(git_dir), git_dir / "HEAD", git_dir / "logs" / "HEAD")]
        key = (git_dir, view.max_chars, *stamps)
        if key != self._key:
            found: list[Snippet] = []
            for snippet in _read(git_dir, min(MAX_STAGED_CHARS, view.max_chars // 2)):
                found += [snippet] if snippet else []
                yield None
            self._key, self._known = key, found
        yield from self._known


def _message_of(document: OpenDocument) -> Path | None:
    """Return the repository's own folder for whose commit a document is the message; None if it is none."""
    if document.file is not None:
        return document.file.parent.resolve() if is_message(document.file) else None
    root = _root_of_input(document.uri)
    try:
        return git_dir_of(root.resolve(strict=True), Budget()) if root else None
    except BROKEN as error:
        logger.info("the repository of the message can't be read: %s", type(error).__name__)
        return None


def _root_of_input(uri: str) -> Path | None:
    """Return the work tree that VS Code's source control shows, by its input's URI; None for other documents.

    The URI's query is `rootUri=`, and behind it a URI with the characters escaped that a query gives a meaning. Most
    clients escape those of the whole query again.
    """
    if not uri.startswith(_INPUT_SCHEME):
        return None
    query = uri.partition("?")[2]
    name, _, root = (query if query.startswith("rootUri=") else unquote(query)).partition("=")
    root = unquote(root)
    path = to_fs_path(root) if name == "rootUri" and root.startswith("file:///") else None
    return Path(path) if path else None


def _read(git_dir: Path, room: int) -> Iterator[Snippet | None]:
    number = 0
    try:
        for text in _hunks_of_all(git_dir):
            if len(text) <= room:
                room -= len(text)
                yield Snippet(source="staged", path=STAGED_PATH, text=text, first_line=number, score=1 / (1 + number))
                number += 1
            else:
                yield None
    except BROKEN as error:
        logger.info("the staged change can't be read: %s", type(error).__name__)


def _hunks_of_all(git_dir: Path) -> Iterator[str]:
    """Yield the hunks of each changed file, the first of all files before the second of any."""
    budget = Budget()
    repository = find_repository(git_dir, budget)
    objects = Objects(repository.common_dir / "objects", budget)
    rules = IgnoreRules(repository.work_tree)
    with rules.at_one_moment():
        changes = [
            change
            for change in staged_changes(repository, objects, budget)
            if not rules.reason(repository.work_tree / change.path)
        ]
    hunks = [_hunks(change, objects) for change in _without_moves(changes)[:MAX_FILES]]
    while hunks:
        waiting, hunks = hunks, []
        for of_file in waiting:
            if text := next(of_file, ""):
                yield text
                hunks.append(of_file)


def _without_moves(changes: list[Change]) -> list[Change]:
    """Return the changes without files that only have another path now."""
    moved = {change.old for change in changes if change.new is None} & {
        change.new for change in changes if change.old is None
    }
    return [change for change in changes if (change.old or change.new) not in moved or (change.old and change.new)]


def _hunks(change: Change, objects: Objects) -> Iterator[str]:
    if change.new is None:
        yield f"@@ {change.path} @@ deleted"
        return
    try:
        old = _lines(objects.read(change.old, "blob")) if change.old else ()
        new = _lines(objects.read(change.new, "blob"))
    except BROKEN:
        return
    if change.old is None:
        body = "\n".join("+" + line for line in new[:MAX_HUNK_LINES])
        yield f"@@ {change.path} @@ new\n{body}"
        return
    for hunk in diff(old, new, 0):
        yield render(change.path, hunk, new)


def _lines(data: bytes) -> tuple[str, ...]:
    """Return a text's lines; none where it is no text."""
    if b"\0" in data[:_HEAD_BYTES]:
        return ()
    return tuple(data.decode("utf-8", "replace").splitlines())
