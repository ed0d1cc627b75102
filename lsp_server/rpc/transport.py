"""Reads the base protocol's frames from standard input or a socket, and dispatches them one by one.

pygls reads standard input in a thread, with three hand-overs for each message; each takes a turn of the scheduler,
which a busy machine gives late. Here the event loop itself reads a pipe or a socket; the rest (terminals, files,
Windows) takes one hand-over. It must not know what a message means.
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

# chosen: messages that came in one piece are handled in one turn of the event loop, but for no longer than this.
TURN_S: Final = 0.002
BUFFER_BYTES: Final = 2**20
_LENGTH: Final = b"content-length"


class Frames(Protocol):
    """A source of the base protocol's messages."""

    async def read(self) -> bytes | None:
        """Return the next message's body; None at the end of the input, also in the middle of a message."""


class StreamFrames:
    """Reads frames from an asyncio stream."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def read(self) -> bytes | None:
        """Return the next message's body, or None at the end.

        A line without an end counts as the end: that is no LSP client.
        """
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
    """Reads frames from a file that only blocks, in a thread."""

    def __init__(self, file: BinaryIO, executor: Executor | None) -> None:
        self._file = file
        self._executor = executor

    async def read(self) -> bytes | None:
        """Return the next message's body, or None at the end of the file."""
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
    """Return the frames of standard input, read in the best way that it allows."""
    if not _can_be_polled(file, output):
        return ThreadFrames(file, executor)
    reader = asyncio.StreamReader(limit=BUFFER_BYTES)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    return StreamFrames(reader)


async def dispatch_frames(frames: Frames, handle: Callable[[bytes], None]) -> None:
    """Give each body to `handle` in order until the input ends."""
    turn_s = time.perf_counter()
    while (body := await frames.read()) is not None:
        handle(body)
        if (now_s := time.perf_counter()) - turn_s > TURN_S:
            await asyncio.sleep(0)
            turn_s = now_s


def _can_be_polled(file: BinaryIO, output: BinaryIO) -> bool:
    """Return whether the event loop can read a file without changing how the output is written.

    This holds for a pipe, or for a socket that isn't the output too.
    """
    if sys.platform == "win32":
        return False
    try:
        status, other = os.fstat(file.fileno()), os.fstat(output.fileno())
    except (OSError, ValueError):
        return False
    is_shared = (status.st_dev, status.st_ino) == (other.st_dev, other.st_ino)
    return stat.S_ISFIFO(status.st_mode) or (stat.S_ISSOCK(status.st_mode) and not is_shared)


def _length(header: bytes) -> int:
    """Return the length that a header gives, or 0 if it is another header."""
    name, _, value = header.partition(b":")
    value = value.strip()
    return int(value) if name.strip().lower() == _LENGTH and value.isdigit() else 0
