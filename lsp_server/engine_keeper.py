"""Keeps an engine at hand: starts one in the background when it is missed, and knows its last state.

Losing the engine is normal, so nothing here raises; it must not know documents or the wire.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable

from decoding.protocol import CompletionRequest, CompletionStats, Health
from lsp_server.engine_client import EngineClient, EngineUnavailable

logger = logging.getLogger(__name__)

ClientFactory = Callable[[Callable[[Health], None]], EngineClient]


class EngineKeeper:
    """The engine as a session sees it: `health`, why there is none (`problem`), and `wake` to do something about it."""

    def __init__(self, make_client: ClientFactory, show: Callable[[Health], None]) -> None:
        self.health = Health(status="absent")
        self.problem = ""
        self._show = show
        self._make_client = make_client
        self._client: EngineClient | None = None
        self._waking: asyncio.Task[None] | None = None
        self._is_closed = False

    def complete(self, request: CompletionRequest) -> AsyncGenerator[str | CompletionStats, None]:
        """Stream a completion; to be asked when `health` is ready. Raises `EngineUnavailable`."""
        if self._client is None:
            raise EngineUnavailable("no engine is running")
        return self._client.complete(request)

    def wake(self) -> None:
        """Attach to an engine, or start one, and wait in the background until it is ready."""
        if not self._is_closed and (self._waking is None or self._waking.done()):
            self._waking = asyncio.create_task(self._wake())

    async def restart(self) -> None:
        """Stop the running engine and start another."""
        await self._end_waking()
        try:
            await (await self._get_client()).stop()
        except EngineUnavailable as error:
            logger.warning("%s", error)
        self.wake()

    async def close(self) -> None:
        """Let go of the engine, which stays for others."""
        self._is_closed = True
        await self._end_waking()
        if self._client is not None:
            await self._client.close()

    def note_problem(self, error: EngineUnavailable) -> None:
        """A call failed: the next state is not known until someone wakes the engine."""
        if error.code in ("lost", "absent"):
            self._note(Health(status="absent", detail=str(error)))
        if str(error) != self.problem and error.code != "backing off":
            logger.warning("%s", error)
        self.problem = str(error)

    async def _wake(self) -> None:
        try:
            client = await self._get_client()
            await client.ensure()
            await client.wait_ready()
            self.problem = ""
        except EngineUnavailable as error:
            self.note_problem(error)
        except Exception as error:
            logger.exception("the engine can't be started")
            self.problem = f"{type(error).__name__}: {error}"

    async def _get_client(self) -> EngineClient:
        if self._client is None:  # in a thread, since it reads the user's configuration
            self._client = await asyncio.to_thread(self._make_client, self._note)
        return self._client

    async def _end_waking(self) -> None:
        if self._waking is not None and not self._waking.done():
            self._waking.cancel()
            await asyncio.wait([self._waking])

    def _note(self, health: Health) -> None:
        self.health = health
        self._show(health)
