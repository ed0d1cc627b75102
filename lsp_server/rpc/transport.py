"""Reads the base protocol's frames from standard input or a socket, and hands them over one by one.

pygls reads standard input in a thread, with three hand-overs for each message; each takes a turn of the scheduler,
which a busy machine gives late. A pipe or a socket is read by the event loop itself here, the rest (terminals, files,
Windows) with one hand-over. It must not know what a message means.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

if TYPE_CHECKING:
    from concurrent.futures import Executor

# Messages that came in one piece are handled in one turn of the event loop, but no longer than this.
TURN_S: Final = 0.002
BUFFER_BYTES: Final = 2**20
_LENGTH: Final = b"content-length"


class Frames(Protocol):
    """Where messages come from."""

    async def read(self) -> bytes | None:
        """The next message's body; None at the end, also in the middle of a message."""


class StreamFrames:
    """Frames of a stream of the event loop."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def read(self) -> bytes | None:
        """As `Frames` says; a line without an end is the end, too: this is no such protocol."""
        length = 0
        try:
            while header := await self._reader.readline():
                length = _length(header) or length
                if length and not header.strip():
                    return await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            return None
        return None


class ThreadFrames:
    """Frames of a file that only blocks."""

    def __init__(self, file: BinaryIO, executor: Executor | None) -> None:
        self._file = file
        self._executor = executor

    async def read(self) -> bytes | None:
        """As `Frames` says."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._read)

    def _read(self) -> bytes | None:
        length = 0
        while header := self._file.readline():
            length = _length(header) or length
            if length and not header.strip():
                body = self._file.read(length)
                return body if len(body) == length else None
        return None


async def standard_input(file: BinaryIO, output: BinaryIO, executor: Executor | None) -> Frames:
    """The frames of standard input, by the best way that it allows."""
    if not _can_be_polled(file, output):
        return ThreadFrames(file, executor)
    reader = asyncio.StreamReader(limit=BUFFER_BYTES)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    return StreamFrames(reader)


async def dispatch_frames(frames: Frames, handle: Callable[[bytes], None]) -> None:
    """Give each body to `handle`, in their order, until the input ends."""
    turn_s = time.perf_counter()
    while (body := await frames.read()) is not None:
        handle(body)
        if (now_s := time.perf_counter()) - turn_s > TURN_S:
            await asyncio.sleep(0)
            turn_s = now_s


def _can_be_polled(file: BinaryIO, output: BinaryIO) -> bool:
    """Whether the event loop can read it, and writing does not change with that: a pipe, or a socket of its own."""
    if sys.platform == "win32":
        return False
    try:
        status, other = os.fstat(file.fileno()), os.fstat(output.fileno())
    except (OSError, ValueError):
        return False
    is_shared = (status.st_dev, status.st_ino) == (other.st_dev, other.st_ino)
    return stat.S_ISFIFO(status.st_mode) or (stat.S_ISSOCK(status.st_mode) and not is_shared)


def _length(header: bytes) -> int:
    """The length that a header tells, 0 if it is another one."""
    name, _, value = header.partition(b":")
    value = value.strip()
    return int(value) if name.strip().lower() == _LENGTH and value.isdigit() else 0
