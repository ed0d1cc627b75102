"""Bounds what a connection may cost before anybody is known to be let in: how many there are, and how slow.

A client that sends its request's head byte by byte, or reads its answer so, holds a connection for seconds and not for
ever. It knows no HTTP beyond where requests begin and end, which it is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from aiohttp import web

from decoding.service.gates import Handler


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds that a client has: for a request's head, between two requests, and to read what is sent.

    `most` is the number of connections at one time. chosen: an editor's window keeps two or three.
    """

    head_s: float = 10.0
    idle_s: float = 120.0
    write_s: float = 20.0
    most: int = 2000


DEFAULT_PATIENCE: Final = Patience()


class Connections:
    """All connections of a server: makes a protocol for each, and learns from requests which of them wait."""

    def __init__(self, patience: Patience = DEFAULT_PATIENCE) -> None:
        self.patience = patience
        self.num_refused = 0
        self._open: dict[asyncio.BaseTransport, _Connection] = {}

    def __len__(self) -> int:
        return len(self._open)

    def wrap(self, make: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """Return a factory of protocols that bounds those of another factory."""
        return lambda: _Connection(self, make())

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Note that the head of a request is complete, and when its answer is sent."""
        connection = self._open.get(request.transport) if request.transport is not None else None
        if connection is None:
            return await handler(request)
        connection.head_is_read()
        try:
            return await handler(request)
        finally:
            connection.is_answered()

    def opened(self, transport: asyncio.BaseTransport, connection: _Connection) -> bool:
        """Take in a connection; return whether there is room for it."""
        if len(self._open) >= self.patience.most:
            self.num_refused += 1
            return False
        self._open[transport] = connection
        return True

    def closed(self, transport: asyncio.BaseTransport | None) -> None:
        """Forget a connection."""
        if transport is not None:
            self._open.pop(transport, None)


class _Connection(asyncio.Protocol):
    """Passes all on to the protocol of HTTP, and cuts the connection when its client takes too long."""

    def __init__(self, connections: Connections, inner: asyncio.Protocol) -> None:
        self._connections = connections
        self._inner = inner
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._is_idle = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._inner.connection_made(transport)
        if self._connections.opened(transport, self):
            self._wait(self._connections.patience.head_s)
        else:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._is_idle:  # the next request's head begins
            self._is_idle = False
            self._wait(self._connections.patience.head_s)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._waiting, self._writing):
            if timer is not None:
                timer.cancel()
        self._connections.closed(self._transport)
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._writing = self._later(self._connections.patience.write_s)
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
        self._inner.resume_writing()

    def head_is_read(self) -> None:
        """Let the request take the time that its handler allows."""
        self._is_idle = False
        if self._waiting is not None:
            self._waiting.cancel()

    def is_answered(self) -> None:
        """Wait for the next request."""
        self._is_idle = True
        self._wait(self._connections.patience.idle_s)

    def _wait(self, seconds: float) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = self._later(seconds)

    def _later(self, seconds: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, self._cut)

    def _cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()
