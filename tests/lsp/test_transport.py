"""Frames of the base protocol, however they arrive, and from whatever standard input is."""

from __future__ import annotations

import asyncio
import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from lsp_server.rpc import transport
from lsp_server.rpc.transport import Frames, StreamFrames, ThreadFrames, dispatch_frames, standard_input


def frame(body: bytes, header: bytes = b"Content-Length: %d\r\n\r\n") -> bytes:
    return header % len(body) + body


async def bodies(frames: Frames) -> list[bytes]:
    found: list[bytes] = []
    await dispatch_frames(frames, found.append)
    return found


def stream_of(data: bytes) -> StreamFrames:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return StreamFrames(reader)


CASES = {
    "two": (frame(b"{}") + frame(b"[1]"), [b"{}", b"[1]"]),
    "another order and case": (frame(b"{}", b"Content-Type: x\r\ncontent-length:%d\r\n\r\n"), [b"{}"]),
    "a header that is none": (b"nonsense\r\n\r\n" + frame(b"{}"), [b"{}"]),
    "no length": (b"Content-Length: many\r\n\r\n" + frame(b"{}"), [b"{}"]),
    "cut in a body": (frame(b"{}") + b"Content-Length: 9\r\n\r\n{", [b"{}"]),
    "cut in a header": (frame(b"{}") + b"Content-Le", [b"{}"]),
    "nothing": (b"", []),
}


@pytest.mark.parametrize("name", CASES)
async def test_frames_are_read_and_the_rest_is_the_end(name: str) -> None:
    data, expected = CASES[name]
    assert await bodies(stream_of(data)) == expected
    assert await bodies(ThreadFrames(io.BytesIO(data), None)) == expected


async def test_a_line_without_an_end_is_no_protocol() -> None:
    assert await bodies(stream_of(b"x" * 100_000)) == []


@pytest.fixture
def nowhere() -> Iterator[BinaryIO]:
    with Path(os.devnull).open("wb") as output:
        yield output


@pytest.mark.parametrize("kind", ["pipe", "socket"])
async def test_a_pipe_or_a_socket_is_read_by_the_event_loop(kind: str, nowhere: BinaryIO) -> None:
    first, second = os.pipe() if kind == "pipe" else (end.detach() for end in socket.socketpair())
    with os.fdopen(first, "rb") as file, os.fdopen(second, "wb") as editor:
        frames = await standard_input(file, nowhere, None)
        assert isinstance(frames, StreamFrames)
        reading = asyncio.create_task(frames.read())
        for piece in (frame(b"x" * 3_000_000)[:-1], b"x"):
            assert not reading.done()
            await asyncio.to_thread(editor.write, piece)
            await asyncio.to_thread(editor.flush)
        assert len(await reading or b"") == 3_000_000


async def test_one_socket_for_both_ways_stays_as_it_is(tmp_path: Path, nowhere: BinaryIO) -> None:
    """Without blocking, what is written to it would get lost; a file can't be polled at all."""
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb") as file, ours.makefile("wb") as output:
        assert isinstance(await standard_input(file, output, None), ThreadFrames)
        assert os.get_blocking(ours.fileno())
    path = tmp_path / "session"
    path.write_bytes(frame(b"{}"))
    with path.open("rb") as file:
        assert await bodies(await standard_input(file, nowhere, None)) == [b"{}"]


async def test_others_have_their_turn_in_a_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "TURN_S", -1.0)
    order: list[Any] = []
    asyncio.get_running_loop().call_soon(order.append, "other")
    await dispatch_frames(stream_of(frame(b"1") * 3), order.append)
    assert order == [b"1", "other", b"1", b"1"]
