"""Holds connections to an engine that has proved itself.

No token and no text goes to a process that did not prove that it knows the token: a connection is opened only by `GET
/health`, whose answer is checked, and a call may only reuse a connection that was checked. It must not know how an
engine is started or what a completion is. aiohttp is imported in a thread at first use.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import logging
import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from decoding.protocol import PROTOCOL_VERSION, Address, Health, is_proven
from lsp_server.engine.stream import EngineUnavailable, refusal

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

logger = logging.getLogger(__name__)

HEALTH_TIMEOUT_S: Final = 2.0
SILENCE_TIMEOUT_S: Final = 120.0
MAX_HEALTH_BYTES: Final = 65536
MAX_PROOFS: Final = 5
# chosen: a user's pause to think may outlast aiohttp's default of 15 s, and shouldn't cost a new connection.
KEEP_ALIVE_S: Final = 300.0
MAX_FIGURES_BYTES: Final = 262144


class _NotProven(Exception):  # noqa: N818 - never leaves this module
    """A call would have opened a connection that nobody has checked."""


class _Sessions(NamedTuple):
    """Two ways to use one pool of connections: probes may open one, calls may not."""

    probes: ClientSession
    calls: ClientSession


class EngineConnection:
    """The pool of proven connections to the engine of one runtime directory.

    `silent` is an engine that accepted the last health check and did not answer it; `proven` is the one that proved
    itself last. An answer that is not read to its end costs its connection: then another is opened at once, before the
    next request needs one.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._opening = asyncio.Lock()
        self._sessions: _Sessions | None = None
        self._preparing: asyncio.Task[Health | None] | None = None
        self.proven: Address | None = None
        self.silent: Address | None = None

    async def health(self) -> Health | None:
        """Ask the engine that the address file names for its health; None if none runs or it can't prove itself."""
        sessions = await self._open()
        address = Address.read(self._directory)
        health, is_silent = (None, False) if address is None else await self._prove(sessions.probes, address)
        self.proven = None if health is None else address
        self.silent = address if is_silent else None
        return health

    async def post(self, path: str, body: dict[str, Any]) -> ClientResponse:
        """Send a request over a proven connection. The caller must `end` the answer. Raises as `_call` does."""
        return await self._call("POST", path, body)

    async def figures(self) -> str:
        """Return the text of the engine's `/metrics`. Raises as `_call` does."""
        response = await self._call("GET", "/metrics", None)
        try:
            return (await response.content.read(MAX_FIGURES_BYTES)).decode("utf-8", "replace")
        finally:
            self.end(response)

    def end(self, response: ClientResponse) -> None:
        """Release an answer, whether it was read to its end or not."""
        is_lost = response.connection is not None
        response.close()
        if is_lost and self._sessions is not None and not self._sessions.calls.closed:
            self._prepare()

    async def _call(self, method: str, path: str, body: dict[str, Any] | None) -> ClientResponse:
        """Send a call over a proven connection. Raises `EngineUnavailable`, or aiohttp's errors in transit."""
        sessions = await self._open()
        for _ in range(MAX_PROOFS):
            if self.proven is None:
                await self.health()
            address = self.proven
            if address is None:
                break
            if sessions.calls.closed:
                raise EngineUnavailable("the connection to the engine was closed", "lost")
            headers = {"Authorization": f"Bearer {address.token}"}
            try:
                response = await sessions.calls.request(
                    method, address.url + path, json=body, headers=headers, allow_redirects=False
                )
            except _NotProven:
                await self._prepare()  # the next round finds its connection in the pool
                continue
            if response.status != 200:
                raise await refusal(response)
            return response
        raise EngineUnavailable("no engine is running")

    async def close(self) -> None:
        """Close all connections and the pool that holds them."""
        if self._preparing is not None:
            self._preparing.cancel()
        if self._sessions is not None:
            await self._sessions.calls.close()
            await self._sessions.probes.close()

    def _prepare(self) -> asyncio.Future[Health | None]:
        """Put a proven connection into the pool. Callers that wait at the same time share one health check."""
        if self._preparing is None or self._preparing.done():
            self._preparing = asyncio.create_task(self.health())
        return asyncio.shield(self._preparing)

    async def _open(self) -> _Sessions:
        async with self._opening:
            if self._sessions is None:
                aiohttp: Any = await asyncio.to_thread(importlib.import_module, "aiohttp")
                # Libraries keep many objects for good; else every garbage collection goes through them for 30 ms.
                gc.freeze()
                connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S)
                trace = aiohttp.TraceConfig()
                trace.on_connection_create_start.append(_refuse_new_connection)
                self._sessions = _Sessions(
                    probes=aiohttp.ClientSession(
                        connector=connector, timeout=aiohttp.ClientTimeout(total=HEALTH_TIMEOUT_S), trust_env=False
                    ),
                    calls=aiohttp.ClientSession(
                        connector=connector,
                        connector_owner=False,
                        trace_configs=[trace],
                        timeout=aiohttp.ClientTimeout(total=None, sock_read=SILENCE_TIMEOUT_S),
                        trust_env=False,
                    ),
                )
            return self._sessions

    async def _prove(self, probes: ClientSession, address: Address) -> tuple[Health | None, bool]:
        """Check that the other side knows the token; only then does its connection stay in the pool.

        Return the health, None if there was no proof, and whether no answer came at all.
        """
        from aiohttp import ClientError  # noqa: PLC0415 - imported by `_open` before

        nonce = secrets.token_hex(16)
        try:
            response = await probes.get(f"{address.url}/health", params={"nonce": nonce}, allow_redirects=False)
            try:
                health = Health.from_json(json.loads(await response.content.read(MAX_HEALTH_BYTES)))
                if is_proven(address, nonce, health):
                    await response.read()
                    return health if health.protocol == PROTOCOL_VERSION else _of_another_version(health), False
                logger.warning("port %d is not our engine's: it can't prove that it knows the token", address.port)
            finally:
                response.close()
        except TimeoutError:
            return None, True
        except (ClientError, OSError, ValueError, TypeError) as error:
            logger.debug("no engine on port %d: %s", address.port, type(error).__name__)
        return None, False


def _of_another_version(health: Health) -> Health:
    detail = f"an engine of another version ({health.version}) is running; restart it"
    return replace(health, status="failed", detail=detail)


async def _refuse_new_connection(*_: object) -> None:
    raise _NotProven
