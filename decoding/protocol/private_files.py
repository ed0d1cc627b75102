"""Reads and writes files that only this user may read or write; a file that another user could have written is refused.

Another user of the machine may make a folder in `/tmp` before this one does, and put an address and a token of his own
into it. Windows has no such owners and modes: there a user's temporary folder is his own anyway.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

_HAS_OWNERS: Final = hasattr(os, "getuid")
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
# Links are not followed, Windows changes no line ends, and a pipe that nobody writes to doesn't hold up the reader.
_SAFE: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_READ: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _SAFE
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE
_FOLDER: Final = _READ | getattr(os, "O_DIRECTORY", 0)
ADVICE: Final = "remove it, or set TABCAST_RUNTIME_DIR to a folder of your own"


def make_private(directory: Path) -> None:
    """Create a runtime directory that only this user can enter.

    Raises `PermissionError` if it, or the folder above it, belongs to someone else or is a link of someone else's.
    """
    for folder in (directory.parent, directory):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _HAS_OWNERS:
        return
    for found in (os.lstat(directory.parent), directory.parent.stat()):
        _check_owner(directory.parent, found)
    descriptor = _open_folder(directory)
    try:
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def read_private(path: Path, max_bytes: int) -> bytes:
    """Return the content of a file that nobody else could have written or read.

    Raises `PermissionError` with a sentence if somebody could, `OSError` if it can't be read, and `ValueError` if it
    has more than `max_bytes`.
    """
    folder = _open_folder(path.parent, is_private=True) if _HAS_OWNERS else None
    try:
        descriptor = _open(path, folder)
    finally:
        if folder is not None:
            os.close(folder)
    try:
        _check_file(path, os.fstat(descriptor))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(max_bytes + 1)
    finally:
        os.close(descriptor)
    if len(content) > max_bytes:
        raise ValueError(f"{path} has more than {max_bytes} bytes")
    return content


def write_private(path: Path, content: bytes, *, is_kept: bool = False) -> None:
    """Write a file that only this user can read; a reader sees all of it, or the old content.

    `is_kept` makes it survive a crash of the machine. Raises `OSError`.
    """
    if path.is_dir():
        raise PermissionError(f"{path} is a folder; {ADVICE}")
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)  # may be left of an earlier process with our number
    try:
        with os.fdopen(os.open(partial, _WRITE, 0o600), "wb") as file:
            file.write(content)
            if is_kept:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def folder_trouble(directory: Path, error: OSError) -> str:
    """Return a sentence for people on why a runtime directory can't be used."""
    if error.errno is None:  # our own error, which is a sentence already
        return str(error)
    advice = "free some space, or set" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "set"
    reason = error.strerror or type(error).__name__
    return f"{error.filename or directory} can't be written ({reason}): {advice} TABCAST_RUNTIME_DIR to another folder"


def _open(path: Path, folder: int | None) -> int:
    try:
        return os.open(path, _READ) if folder is None else os.open(path.name, _READ, dir_fd=folder)
    except OSError as error:
        if path.is_symlink():
            raise PermissionError(f"{path} is a link; {ADVICE}") from error
        raise


def _open_folder(folder: Path, *, is_private: bool = False) -> int:
    try:
        descriptor = os.open(folder, _FOLDER)
    except OSError as error:
        if folder.is_symlink():
            raise PermissionError(f"{folder} is a link; {ADVICE}") from error
        raise
    try:
        found = os.fstat(descriptor)
        _check_owner(folder, found)
        if is_private and found.st_mode & _OTHERS:
            raise PermissionError(f"others may enter {folder}: 'chmod 700 {folder}' keeps them out")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to another user; {ADVICE}")


def _check_file(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise PermissionError(f"{path} is no plain file; {ADVICE}")
    if _HAS_OWNERS:
        _check_owner(path, found)
        if found.st_mode & _OTHERS:
            raise PermissionError(f"others may read or write {path}: 'chmod 600 {path}' keeps them out")
