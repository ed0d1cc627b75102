"""Lets the engine on this machine answer while a server that the user's file names is away.

It must not know what either of them is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace

from decoding.protocol import CompletionRequest, Health
from lsp_server.engine.model_choice import EngineSpec
from lsp_server.engine.remote import RemoteEngine
from lsp_server.engine.seam import Client
from lsp_server.engine.stream import EngineUnavailable, Part

logger = logging.getLogger(__name__)


class WithFallback:
    """Asks `remote`, and `local` while that fails; `on_health` gets every change of the state of who answers.

    What `local` does is marked as such: its state names the reason.
    """

    def __init__(self, remote: RemoteEngine, local: Client, on_health: Callable[[Health], None] | None = None) -> None:
        self.name = remote.name
        self._remote = remote
        self._local = local
        self._on_health = on_health
        self._reason = ""
        self._looking: asyncio.Task[None] | None = None

    @property
    def spec(self) -> EngineSpec:
        """The engine on this machine."""
        return self._local.spec

    @property
    def destination(self) -> str:
        """The host to which text goes, "" while it stays on this machine."""
        return "" if self._reason else self._remote.destination

    @property
    def is_served_remotely(self) -> bool:
        """Return whether the server answers, as far as is known."""
        return not self._reason

    async def attach(self) -> Health | None:
        """Return the state of who answers, or None."""
        if not self._reason:
            return await self._remote.attach()
        health = await self._local.attach()
        return None if health is None else self._marked(health)

    async def ensure(self) -> Health:
        """Return the state of the server, or of the engine on this machine. Raises `EngineUnavailable`."""
        try:
            health = await self._remote.ensure()
        except EngineUnavailable as error:
            self._note_away(error)
            return self._marked(await self._local.ensure())
        self._reason = ""
        return health

    async def wait_ready(self, timeout_s: float = 120) -> Health:
        """Wait until one of both is ready. Raises `EngineUnavailable`."""
        if not self._reason:
            try:
                return await self._remote.wait_ready(timeout_s)
            except EngineUnavailable as error:
                self._note_away(error)
                await self._local.ensure()
        return self._marked(await self._local.wait_ready(timeout_s))

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Part, None]:
        """Stream one completion, from this machine while the server is away. Raises `EngineUnavailable`."""
        if not self._reason:
            is_begun = False
            try:
                async with aclosing(self._remote.complete(request)) as parts:
                    async for part in parts:
                        is_begun = True
                        yield part
                return
            except EngineUnavailable as error:
                if error.code == "superseded":
                    raise
                self._note_away(error)
                health = None if is_begun else await self._local.attach()
                if health is None or health.status != "ready":
                    raise  # the session wakes the other one now
                self.hear_local(health)
        self._look_again()
        async with aclosing(self._local.complete(request)) as parts:
            async for part in parts:
                yield part

    async def replace_if_stuck(self) -> bool:
        """Replace an engine on this machine that computes nothing. Raises `EngineUnavailable`."""
        return bool(self._reason) and await self._local.replace_if_stuck()

    async def stop(self) -> bool:
        """Have the engine on this machine end, and look for the server anew. Raises `EngineUnavailable`."""
        self._reason = ""
        await self._remote.stop()
        return await self._local.stop()

    async def close(self) -> None:
        """Drop all connections."""
        if self._looking is not None:
            self._looking.cancel()
        await self._remote.close()
        await self._local.close()

    def hear_local(self, health: Health) -> None:
        """Pass on a state of the engine on this machine while that answers."""
        if self._reason and self._on_health is not None:
            self._on_health(self._marked(health))

    def hear_remote(self, health: Health) -> None:
        """Pass on a state of the server if it can be asked."""
        if health.status in ("ready", "loading") and self._on_health is not None:
            self._on_health(health)

    def _note_away(self, error: EngineUnavailable) -> None:
        if not self._reason:
            logger.warning("%s; the engine on this machine answers", error)
        self._reason = str(error)

    def _marked(self, health: Health) -> Health:
        held = f"{health.held or 'the local engine'}, in place of {self._remote.engine.name}"
        return replace(health, weights=held, draft="", detail=health.detail or self._reason)

    def _look_again(self) -> None:
        """Look for the server in the background, so that nobody waits for it."""
        if self._remote.may_be_asked and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        with suppress(EngineUnavailable):
            await self._remote.ensure()
            self._reason = ""
