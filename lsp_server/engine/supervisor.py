"""Keeps an engine running: starts one in the background when it is missing, and knows its last state.

Losing the engine is normal, so nothing here raises except for a model that nobody offers. It must not know documents or
the wire.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Final

from decoding.protocol import CompletionRequest, CompletionStats, Health
from lsp_server.engine.model_choice import EngineSpec
from lsp_server.engine.quiet import Quiet
from lsp_server.engine.seam import Client, WritesFirst
from lsp_server.engine.stream import EngineUnavailable, Part
from lsp_server.log import without_values

logger = logging.getLogger(__name__)

MAX_UNANSWERED: Final = 3
UNANSWERED: Final = "the engine answered none of the last requests in time"
# chosen: as long as MAX_UNANSWERED deadlines; after so much quiet it is checked whether the engine computes at all.
SUSPECT_S: Final = 15.0

# Makes a client for the model of this name, or for the configured one if it is ""; the callback gets every new state.
ClientFactory = Callable[[Callable[[Health], None], str], Client]


class EngineSupervisor:
    """The engine as a session sees it: its `health`, the `problem` if there is none, and `wake` to start it.

    `model` is the name that was selected, "" for the configured one; `on_change` is called when one of them changes.
    """

    def __init__(self, make_client: ClientFactory) -> None:
        self.health = Health(status="absent")
        self.problem = ""
        self.model = ""
        self.on_change: Callable[[], None] = lambda: None
        self._make_client = make_client
        self._client: Client | None = None
        self._waking: asyncio.Task[None] | None = None
        self._num_unanswered = 0
        self._quiet = Quiet(self._look)
        self._is_closed = False

    @property
    def is_waking(self) -> bool:
        """Return whether an engine is being looked for or started."""
        return self._waking is not None and not self._waking.done()

    @property
    def spec(self) -> EngineSpec | None:
        """Return the wanted engine, or None until it was first looked for."""
        return None if self._client is None else self._client.spec

    @property
    def destination(self) -> str:
        """Return the host to which text goes, "" where it stays on this machine."""
        return "" if self._client is None else self._client.destination

    @property
    def name(self) -> str:
        """Return the user's name for the server in use, "" for our own engine."""
        return "" if self._client is None else self._client.name

    @property
    def hybrid(self) -> WritesFirst | None:
        """Return the client that has a first text written on this machine while a server is asked, or None."""
        return self._client if isinstance(self._client, WritesFirst) and not self._is_closed else None

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Part, None]:
        """Stream a completion. Call this when `health` is ready. Raises `EngineUnavailable`."""
        if self._client is None or self._is_closed:
            raise EngineUnavailable("no engine is running")
        with self._quiet.asked():
            async with aclosing(self._client.complete(request)) as parts:
                async for part in parts:
                    self._num_unanswered = 0
                    self._quiet.heard()
                    if self.problem:  # a problem from before this answer is over now
                        self._note(self.health, "")
                    yield part

    async def read_ahead(self, request: CompletionRequest) -> bool:
        """Have the engine read a prompt while it is idle; return whether it did.

        Nobody waits for that, so however long it takes the engine isn't suspected.
        """
        if self._client is None or self._is_closed:
            return False
        with suppress(EngineUnavailable):
            async with aclosing(self._client.complete(request)) as parts:
                async for part in parts:
                    if isinstance(part, CompletionStats):
                        return part.reason == "prepared"
        return False

    def note_deadline(self) -> None:
        """Note that a request reached its deadline, and find out whether the engine is slow, stuck or gone."""
        self._num_unanswered += 1
        if self._num_unanswered >= MAX_UNANSWERED:
            self._note(self.health, UNANSWERED)
        self._look()

    def wake(self) -> None:
        """Attach to an engine or start one, and wait in the background until it is ready."""
        if not self._is_closed and not self.is_waking:
            self._waking = asyncio.create_task(self._wake())

    async def until_ready(self) -> None:
        """Wait until the engine is ready, or until nothing is under way that would make it so."""
        waking = None
        while self.health.status != "ready" and not self._is_closed and (waking is None or waking is not self._waking):
            self.wake()
            waking = self._waking
            if waking is not None:
                await asyncio.wait([waking])  # a request that is cancelled must not cancel what others wait for

    async def restart(self) -> None:
        """Stop the running engine and start another, or the one that the user's file names by now."""
        await self._end_waking()
        try:
            await (await self._get_client()).stop()
        except EngineUnavailable as error:
            logger.warning("%s", error)
        old, self._client = self._client, None
        if old is not None:
            await old.close()
        self.wake()

    async def select(self, model: str) -> None:
        """Switch to another model that the user's configuration offers. The engine of the last model stays for others.

        Raises `ValueError` if no model has this name.
        """
        client = await asyncio.to_thread(self._make_client, self._hear_of(model), model)
        await self._end_waking()
        old, self._client, self.model, self._num_unanswered = self._client, client, model, 0
        self._note(Health(status="absent"), problem="")
        if old is not None:
            await old.close()
        self.wake()

    async def close(self) -> None:
        """Disconnect from the engine, which stays for others."""
        self._is_closed = True
        self._quiet.close()
        await self._end_waking()
        if self._client is not None:
            await self._client.close()

    def note_problem(self, error: EngineUnavailable) -> None:
        """Note that a call failed. The next state is unknown until the engine is woken."""
        if str(error) != self.problem and error.code != "backing off":
            logger.warning("%s", error)
        is_gone = error.code in ("lost", "absent")
        self._note(Health(status="absent", detail=str(error)) if is_gone else self.health, problem=str(error))

    def _look(self) -> None:
        """Check in the background whether the engine is well, unless a check is under way."""
        if self._client is not None and not self._is_closed and not self.is_waking:
            self._waking = asyncio.create_task(self._check(self._client))

    async def _check(self, client: Client) -> None:
        """Wake the engine if it does not even answer a health check; replace it if that is all it answers."""
        is_suspect = self._num_unanswered >= MAX_UNANSWERED or self._quiet.quiet_s >= SUSPECT_S
        if await client.attach() is None:
            await self._wake()
        elif is_suspect and self.health.status == "ready":
            self._note(self.health, UNANSWERED)
            try:
                if await client.replace_if_stuck():
                    self._note(await client.wait_ready(), problem="")
            except EngineUnavailable as error:
                self.note_problem(error)
            self._num_unanswered = 0  # so that a slow engine is not checked again at once
            self._quiet.forget()

    async def _wake(self) -> None:
        try:
            client = await self._get_client()
            await client.ensure()
            self._note(await client.wait_ready(), problem="")
        except EngineUnavailable as error:
            self.note_problem(error)
        except Exception as error:
            logger.error("the engine can't be started: %s", without_values(error))
            self._note(self.health, problem=f"{type(error).__name__}: {error}")

    async def _get_client(self) -> Client:
        if self._client is None:  # in a thread, since it reads the user's configuration
            self._client = await asyncio.to_thread(self._make_client, self._hear_of(self.model), self.model)
        return self._client

    async def _end_waking(self) -> None:
        if self._waking is not None and not self._waking.done():
            self._waking.cancel()
            await asyncio.wait([self._waking])

    def _hear_of(self, model: str) -> Callable[[Health], None]:
        """Make the callback for a client. It ignores reports after another model was selected."""
        return lambda health: self._note(health, self.problem) if model == self.model else None

    def _note(self, health: Health, problem: str) -> None:
        is_new = (health, problem) != (self.health, self.problem)
        self.health, self.problem = health, problem
        if is_new:
            self.on_change()
