"""Bounds what is read of a repository: in bytes and in time, and to plain files that are no links.

A repository is not trusted: any of its files may be broken, or written by somebody else.
"""

from __future__ import annotations

import os
import stat
import time
import zlib
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# chosen: an index of 100,000 files has 8 to 12 MB.
MAX_INDEX_BYTES: Final = 16_000_000
MAX_SMALL_BYTES: Final = 1_000_000
MAX_OBJECT_BYTES: Final = 2_000_000
MAX_ALL_BYTES: Final = 32_000_000
# chosen: the thread that gathers context computes for no longer.
MAX_S: Final = 0.5
_CHUNK: Final = 16_384


class UnreadableError(Exception):
    """A repository is broken, of a kind that isn't read, or takes too long to read."""


class Budget:
    """How much may still be read, in bytes and in the thread's own time.

    Each method raises `UnreadableError` where that is used up.
    """

    def __init__(self, max_s: float = MAX_S, clock: Callable[[], float] = time.thread_time) -> None:
        self._clock = clock
        self._end_s = clock() + max_s
        self._num_left = MAX_ALL_BYTES

    def spend(self, num_bytes: int) -> None:
        """Count bytes that were read or unpacked."""
        self._num_left -= num_bytes
        if self._num_left < 0 or self._clock() > self._end_s:
            raise UnreadableError("the repository takes too long to read")

    def read(self, path: Path, max_bytes: int = MAX_SMALL_BYTES) -> bytes:
        """Return the bytes of a plain file."""
        with self.opened(path) as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise UnreadableError(f"{path.name} is too large")
        self.spend(len(data))
        return data

    def text(self, path: Path) -> str:
        """Return a small file's text; "" where there is none."""
        try:
            return self.read(path).decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    @contextmanager
    def opened(self, path: Path) -> Iterator[IO[bytes]]:
        """Open a plain file, without waiting for a pipe or following a link."""
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UnreadableError(f"{path.name} is no plain file")
            yield file

    def inflate(self, file: IO[bytes], max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        """Return what is packed at the file's position, whose packed length is unknown."""
        unpacking, parts, size = zlib.decompressobj(), [], 0
        while not unpacking.eof:
            packed = unpacking.unconsumed_tail or file.read(_CHUNK)
            if not packed:
                raise UnreadableError("an object is cut short")
            part = unpacking.decompress(packed, max_bytes + 1 - size)
            size += len(part)
            self.spend(len(part))
            if size > max_bytes:
                raise UnreadableError("an object is too large")
            parts.append(part)
        return b"".join(parts)
