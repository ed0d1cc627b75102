"""Reads git's index: the files that the next commit holds, in versions 2 to 4.

An index that is split over two files, or sparse, is refused. It must not know commits or documents.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from lsp_server.context.git.bounded import UnreadableError
from lsp_server.context.git.objects import SHA_BYTES

MAX_ENTRIES: Final = 150_000
_HEAD: Final = 12
# Of each entry: times, device, inode, mode, user, group, size; then the SHA and flags.
_MODE_AT: Final = 24
_SHA_AT: Final = 40
_FLAGS_AT: Final = 60
_NAME_AT: Final = 62
_FOLDER: Final = 0o040000
_EXTENDED: Final = 0x4000
_STAGE: Final = 0x3000
_INTENT_TO_ADD: Final = 0x2000
SPLIT, TREES = b"link", b"TREE"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the next commit."""

    mode: int
    sha: bytes


@dataclass(slots=True)
class Index:
    """The files by path, those in conflict, and the known trees of folders ("" is the root) that have no change since.

    Paths are bytes, as git has them.
    """

    files: dict[bytes, Entry] = field(default_factory=dict)
    conflicts: set[bytes] = field(default_factory=set)
    trees: dict[bytes, bytes] = field(default_factory=dict)


def read_index(data: bytes) -> Index:
    """Read an index file's bytes. Raises `UnreadableError`, `struct.error`, `IndexError` or `ValueError`."""
    magic, version, count = struct.unpack_from(">4sII", data)
    if magic != b"DIRC" or version not in (2, 3, 4) or count > MAX_ENTRIES:
        raise UnreadableError("the index is of an unknown kind or too large")
    found, at, name = Index(), _HEAD, b""
    for _ in range(count):
        (mode,) = struct.unpack_from(">I", data, at + _MODE_AT)
        sha = data[at + _SHA_AT : at + _FLAGS_AT]
        (flags,) = struct.unpack_from(">H", data, at + _FLAGS_AT)
        start = at + _NAME_AT
        is_only_intended = False
        if flags & _EXTENDED:
            (more,) = struct.unpack_from(">H", data, start)
            is_only_intended, start = bool(more & _INTENT_TO_ADD), start + 2
        if version == 4:
            num_dropped, start = _varint(data, start)
            end = data.index(b"\0", start)
            name, after = name[: len(name) - num_dropped] + data[start:end], end + 1
        else:
            end = data.index(b"\0", start)
            name, after = data[start:end], at + ((end - at) // 8 + 1) * 8
        at = after
        if mode == _FOLDER:
            raise UnreadableError("the index leaves folders out")
        if flags & _STAGE:
            found.conflicts.add(name)
        elif not is_only_intended:
            found.files[name] = Entry(mode, sha)
    _read_extensions(data, at, found)
    return found


def _read_extensions(data: bytes, at: int, found: Index) -> None:
    while at + 8 <= len(data) - SHA_BYTES:
        name, size = struct.unpack_from(">4sI", data, at)
        if name == SPLIT:
            raise UnreadableError("the index is split")
        if name == TREES:
            _read_trees(data[at + 8 : at + 8 + size], found)
        at += 8 + size


def _read_trees(data: bytes, found: Index) -> None:
    """Read the extension that remembers the trees of folders; one that has changed since has a count of -1."""
    at, open_folders = 0, list[tuple[bytes, int]]()
    while at < len(data):
        end = data.index(b"\0", at)
        line_end = data.index(b"\n", end)
        count, _, num_folders = data[end + 1 : line_end].partition(b" ")
        while open_folders and not open_folders[-1][1]:
            open_folders.pop()
        path = data[at:end]
        if open_folders:
            above, num_left = open_folders[-1]
            open_folders[-1] = above, num_left - 1
            path = above + b"/" + path if above else path
        at = line_end + 1
        if int(count) >= 0:
            found.trees[path] = data[at : at + SHA_BYTES]
            at += SHA_BYTES
        open_folders.append((path, int(num_folders)))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number in the form of version 4, and the place behind it."""
    byte = data[at]
    found, at = byte & 0x7F, at + 1
    while byte & 0x80:
        byte = data[at]
        found, at = (found + 1) << 7 | byte & 0x7F, at + 1
    return found, at
