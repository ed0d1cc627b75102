"""Derives the repository's name and the file's path in it from the editor's folders and the document's URI.

Nothing is read and no program is run: a workspace is not trusted.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import NamedTuple

from pygls.uris import to_fs_path


class Location(NamedTuple):
    """The place of a document. `repo` is empty where the file lies in none of the editor's folders."""

    repo: str
    path: str


def locate(uri: str, folder_uris: Iterable[str]) -> Location:
    """Return the place of a document in the innermost folder that holds it."""
    file = PurePath(to_fs_path(uri) or uri.partition("?")[0].rpartition(":")[2])
    folders = [PurePath(path) for folder in folder_uris if (path := to_fs_path(folder))]
    around = [folder for folder in folders if folder in file.parents]
    if not around:
        return Location(repo="", path=file.name)
    innermost = max(around, key=lambda folder: len(folder.parts))
    return Location(repo=innermost.name, path=file.relative_to(innermost).as_posix())
