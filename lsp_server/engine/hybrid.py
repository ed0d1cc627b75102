"""Asks a server that the user's file names, and has the engine on this machine write a first text meanwhile.

It must not know documents, or when a first text is shown.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from decoding.protocol import CompletionRequest, CompletionStats, Health
from lsp_server.engine.fallback import WithFallback
from lsp_server.engine.model_choice import EngineSpec
from lsp_server.engine.remote import RemoteEngine
from lsp_server.engine.seam import THIS_MACHINE, Client
from lsp_server.engine.stream import EngineUnavailable, Part

logger = logging.getLogger(__name__)

# chosen: an engine on this machine that went away is started again after so long at the earliest.
WAKE_AGAIN_S: Final = 10.0


class Hybrid:
    """The client of a server, with the engine on this machine beside it; `on_health` gets every change of the server's.

    While the server is away the other one answers alone, as with `WithFallback`.
    """

    def __init__(
        self,
        remote: RemoteEngine,
        local: Client,
        on_health: Callable[[Health], None] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._remote = remote
        self._local = local
        self._on_health = on_health
        self._clock = clock
        self._both = WithFallback(remote, local, self._pass_on)
        self._local_health = Health(status="absent")
        self._remote_health: Health | None = None
        self._trouble = ""
        self._starting: asyncio.Task[None] | None = None
        self._started_s = float("-inf")

    @property
    def name(self) -> str:
        """The user's name for the server."""
        return self._both.name

    @property
    def spec(self) -> EngineSpec:
        """The engine on this machine."""
        return self._both.spec

    @property
    def destination(self) -> str:
        """The host to which text goes, "" while it stays on this machine."""
        return self._both.destination

    @property
    def author(self) -> str:
        """Whose texts `complete` streams, as people call it."""
        return self.name if self._both.is_served_remotely else THIS_MACHINE

    @property
    def first(self) -> Health | None:
        """The state of the engine that can write a first text now, None where there is none to be had."""
        is_ready = self._local_health.status == "ready" and self._both.is_served_remotely
        return self._local_health if is_ready else None

    @property
    def takes_proposals(self) -> bool:
        """Return whether the server verifies what another model proposes."""
        return self._remote.facts is not None and self._remote.facts.kind == "tabcast"

    async def attach(self) -> Health | None:
        """Return the state of who answers, or None."""
        return await self._both.attach()

    async def ensure(self) -> Health:
        """Return the state of who answers; the engine on this machine is started, too. Raises `EngineUnavailable`."""
        self._start()
        return self._marked(await self._both.ensure())

    async def wait_ready(self, timeout_s: float = 120) -> Health:
        """Wait until one of both is ready. Raises `EngineUnavailable`."""
        return self._marked(await self._both.wait_ready(timeout_s))

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Part, None]:
        """Stream one completion of the server. What it reads ahead, the other one reads ahead, too.

        Raises `EngineUnavailable`.
        """
        other = None
        if request.tabcast.prepare and self.first is not None:
            other = asyncio.create_task(self._read_ahead(request))
        try:
            async with aclosing(self._both.complete(request)) as parts:
                async for part in parts:
                    yield part
            if other is not None:
                await asyncio.wait([other])
        except EngineUnavailable:
            if other is None or not self._both.is_served_remotely:
                raise
            # The server reads nothing ahead: what the other one has read is all there is.
            await asyncio.wait([other])
            yield CompletionStats(reason="prepared")
        finally:
            if other is not None:
                other.cancel()

    async def read(self, request: CompletionRequest) -> None:
        """Have the server read a prompt, if it does so. Raises `EngineUnavailable`."""
        async with aclosing(self._remote.complete(request)) as parts:
            async for _ in parts:
                pass

    async def complete_first(self, request: CompletionRequest) -> AsyncGenerator[Part, None]:
        """Stream a first text of the engine on this machine. Raises `EngineUnavailable`."""
        try:
            async with aclosing(self._local.complete(request)) as parts:
                async for part in parts:
                    yield part
        except EngineUnavailable as error:
            if error.code != "superseded":
                self._local_health = Health(status="absent")
                self._start()
            raise

    async def replace_if_stuck(self) -> bool:
        """Replace an engine on this machine that computes nothing. Raises `EngineUnavailable`."""
        return await self._both.replace_if_stuck()

    async def stop(self) -> bool:
        """Have the engine on this machine end, and look for the server anew. Raises `EngineUnavailable`."""
        return await self._both.stop()

    async def close(self) -> None:
        """Drop all connections."""
        if self._starting is not None:
            self._starting.cancel()
        await self._both.close()

    def hear_local(self, health: Health) -> None:
        """Note a state of the engine on this machine."""
        self._local_health = health
        self._both.hear_local(health)
        self._tell()

    def hear_remote(self, health: Health) -> None:
        """Note a state of the server."""
        self._both.hear_remote(health)

    def _start(self) -> None:
        is_under_way = self._starting is not None and not self._starting.done()
        if is_under_way or self._local_health.status == "ready" or self._clock() - self._started_s < WAKE_AGAIN_S:
            return
        self._started_s = self._clock()
        self._starting = asyncio.create_task(self._start_local())

    async def _start_local(self) -> None:
        try:
            await self._local.ensure()
            self._local_health = await self._local.wait_ready()
            self._trouble = ""
        except EngineUnavailable as error:
            if str(error) != self._trouble:
                logger.warning("no first texts are written on this machine: %s", error)
            self._trouble = str(error)
        self._tell()

    async def _read_ahead(self, request: CompletionRequest) -> None:
        try:
            async with aclosing(self._local.complete(request)) as parts:
                async for _ in parts:
                    pass
        except EngineUnavailable as error:
            logger.debug("nothing is read ahead on this machine: %s", error)

    def _marked(self, health: Health) -> Health:
        """Return the server's state with who writes first texts, or why nobody does."""
        if not self._both.is_served_remotely:
            return health
        self._remote_health = health
        if self._local_health.status == "ready":
            return replace(health, weights=f"{health.held}, first texts by {self._local_health.held or 'this machine'}")
        trouble = f"no first texts are written on this machine: {self._trouble}" if self._trouble else ""
        return replace(health, detail=health.detail or trouble)

    def _pass_on(self, health: Health) -> None:
        if self._on_health is not None:
            self._on_health(self._marked(health))

    def _tell(self) -> None:
        """Tell the server's state anew, which names the engine on this machine."""
        if self._remote_health is not None and self._both.is_served_remotely:
            self._pass_on(self._remote_health)
