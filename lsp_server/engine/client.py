"""Implements the client of the engine: find the running one or start it, stream from it, cancel, back off.

It must not know LSP, documents or settings. Importing it costs nothing: aiohttp and filelock come later, in a thread.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from decoding.protocol import (
    EXIT_ALREADY_RUNNING,
    START_LOCK_FILE,
    Address,
    CompletionRequest,
    Health,
    folder_trouble,
    make_private,
)
from lsp_server.engine.adapters import Adapter
from lsp_server.engine.adapters.own import OwnEngine
from lsp_server.engine.connection import EngineConnection
from lsp_server.engine.ending import end_engine, is_locked, is_stopped
from lsp_server.engine.model_choice import EngineSpec
from lsp_server.engine.process import StartedEngine, StartPolicy, start_engine
from lsp_server.engine.stream import EngineUnavailable, Part, deltas, worded
from lsp_server.engine.stuck import STUCK_S, StuckProbe

if TYPE_CHECKING:
    from filelock import FileLock

__all__ = ["ENGINE_PROGRAM", "EngineClient", "EngineSpec", "EngineUnavailable"]

logger = logging.getLogger(__name__)

ENGINE_PROGRAM: Final = ("-m", "decoding", "serve")
START_TIMEOUT_S: Final = 30.0
POLL_S: Final = 0.1
SILENT: Final = "the engine does not answer"
# chosen: an engine that is still importing, or on a machine that swaps, answers late; one silent for so long is stuck.
HUNG_S: Final = 20.0
HUNG_READY_S: Final = 8.0  # an engine that was ready before isn't importing any more
FIGURES_TIMEOUT_S: Final = 8.0


class EngineClient:
    """One front end's connection to the engine of one configuration; `on_health` gets every change of its state.

    `program` is what Python runs to start an engine. No `name` and no `destination`: text stays on this machine.
    """

    name = destination = ""

    def __init__(
        self,
        spec: EngineSpec,
        on_health: Callable[[Health], None] | None = None,
        *,
        program: Sequence[str] = ENGINE_PROGRAM,
        clock: Callable[[], float] = time.monotonic,
        hung_s: float | None = None,
        stuck_s: float = STUCK_S,
    ) -> None:
        self.spec = spec
        self._on_health = on_health
        self._program = tuple(program)
        self._adapter: Adapter = OwnEngine()
        self._clock = clock
        self._hung_s = hung_s
        self._stuck_probe = StuckProbe(self.complete, self._figures, stuck_s=stuck_s, clock=clock)
        self._connection = EngineConnection(spec.directory)
        self._policy = StartPolicy()
        self._starting = asyncio.Lock()
        self._child: StartedEngine | None = None
        self._last_told: Health | None = None
        self._last_ready: Address | None = None

    @property
    def silence(self) -> str:
        """A message if there is an engine that did not answer when it was last looked for, else ""."""
        silent = self._connection.silent
        return "" if silent is None else f"{SILENT} (pid {silent.pid}); 'tabcast engine stop' ends it"

    async def attach(self) -> Health | None:
        """Return the state of a running engine that proved itself, or None. It never starts one."""
        health = await self._connection.health()
        if health is not None and health.status == "ready":
            self._last_ready = self._connection.proven
        if health is None and self._child is not None:
            self._child.process.poll()  # reaps the child if it has ended
        self._tell(health or Health(status="absent", detail=SILENT if self._connection.silent else ""))
        return health

    async def ensure(self) -> Health:
        """Return the state of the running engine, or of one started now; it may still be loading.

        An engine that stays silent is replaced. Raises `EngineUnavailable` if none could be started or a start is too
        recent.
        """
        async with self._starting:
            health = await self.attach()
            if health is None and self._connection.silent:
                health = await self._wait_for_words()
            if health is not None:
                return health
            if (wait_s := self._policy.wait_s(self._clock())) > 0:
                raise EngineUnavailable(f"{self._why_it_ended()}; next attempt in {wait_s:.0f} s", "backing off")
            return await self._start()

    async def wait_ready(self, timeout_s: float = 120) -> Health:
        """Wait until the engine that runs has loaded its models.

        Raises `EngineUnavailable` if it fails (with its reason), ends, or takes longer.
        """
        end = self._clock() + timeout_s
        while True:
            health = await self.attach()
            if health is None and self._connection.silent:  # a busy machine is not a missing engine
                health = await self._wait_for_words()
            if health is None:
                raise EngineUnavailable(self._why_it_ended())
            if health.status == "ready":
                return health
            if health.status == "failed":
                raise EngineUnavailable(health.detail or "the engine could not load its models", "failed")
            if self._clock() > end:
                raise EngineUnavailable(f"the engine is still loading after {timeout_s:.0f} s", "loading")
            await asyncio.sleep(POLL_S)

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Part, None]:
        """Stream the text deltas of one completion, then its statistics.

        Closing the iterator (`contextlib.aclosing`) drops the connection, which cancels the work in the engine. Raises
        `EngineUnavailable`.
        """
        try:
            response = await self._connection.post(self._adapter.path, self._adapter.body(request))
            try:
                async with aclosing(deltas(response, partial(self._adapter.parts, request))) as parts:
                    async for part in parts:
                        self._policy.note_answer()
                        yield part
            finally:
                self._connection.end(response)
        except Exception as error:
            raise worded(error) from error

    async def replace_if_stuck(self) -> bool:
        """Replace an engine that answers health checks but computes nothing. Return whether it was stuck.

        Starts are subject to the usual back-off. Raises `EngineUnavailable`.
        """
        stuck = self._connection.proven
        if stuck is None or not await self._stuck_probe.computes_nothing():
            return False
        async with self._starting:
            if (wait_s := self._policy.wait_s(self._clock())) > 0:
                raise EngineUnavailable(f"the engine computes nothing; another in {wait_s:.0f} s", "backing off")
            await self._start(stuck)
        return True

    async def stop(self) -> bool:
        """Ask the engine to exit and wait until it is gone; False where none ran. This resets the back-off."""
        self._policy.note_answer()
        health = await self.attach()
        if health is None and self._connection.silent:
            health = await self._wait_for_words()
        if health is None:
            return await self._stop_silent()
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                self._connection.end(await self._connection.post("/v1/tabcast/stop", {}))
        except Exception as error:
            if (told := worded(error)).code not in ("lost", "absent"):
                raise told from error
        end = self._clock() + START_TIMEOUT_S
        while await self.attach() is not None:
            if self._clock() > end:
                raise EngineUnavailable("the engine does not stop", "hung")
            await asyncio.sleep(POLL_S)
        return True

    async def _stop_silent(self) -> bool:
        """End an engine that answers nothing and so can't be asked to exit. Return False where none runs."""
        silent = self._connection.silent
        if silent is None or not await asyncio.to_thread(is_locked, self.spec.directory):
            return False
        if not await self._end(silent):
            raise EngineUnavailable(f"the engine, pid {silent.pid}, does not stop; end its process", "hung")
        return True

    async def close(self) -> None:
        """Drop all connections; the engine stays for others."""
        await self._connection.close()

    async def _wait_for_words(self) -> Health | None:
        """Ask a silent engine again until it answers, ends, is found stopped, or has been silent for too long."""
        logger.warning("%s", SILENT)
        silent = self._connection.silent
        if not await asyncio.to_thread(is_locked, self.spec.directory):
            return None  # the address is an old one, and another program listens there
        hung_s = HUNG_READY_S if self._last_ready is not None and self._last_ready == silent else HUNG_S
        end = self._clock() + (hung_s if self._hung_s is None else self._hung_s)
        while self._clock() < end and self._connection.silent and not await self._is_stopped(silent):
            await asyncio.sleep(POLL_S)
            if (health := await self.attach()) is not None:
                return health
        return None

    async def _is_stopped(self, address: Address | None) -> bool:
        return address is not None and await asyncio.to_thread(is_stopped, self.spec.directory, address.pid)

    async def _figures(self) -> str:
        """Return the engine's counters, which the thread of health checks serves. Raises `EngineUnavailable`."""
        try:
            async with asyncio.timeout(FIGURES_TIMEOUT_S):
                return await self._connection.figures()
        except Exception as error:
            raise worded(error) from error

    async def _start(self, stuck: Address | None = None) -> Health:
        """Start an engine if none runs; a silent one, or `stuck`, is ended unless somebody has replaced it."""
        silent = self._connection.silent
        try:
            await asyncio.to_thread(make_private, self.spec.directory)
            lock = await self._acquire_start_lock()
        except OSError as error:
            raise EngineUnavailable(folder_trouble(self.spec.directory, error)) from error
        try:
            is_dead = silent == Address.read(self.spec.directory) and await self._is_stopped(silent)
            health = None if is_dead else await self.attach()  # another client may have started it meanwhile
            is_same = self._connection.proven == stuck if health is not None else self._connection.silent == silent
            dead = stuck if health is not None else silent
            if dead is not None and is_same:
                health = None
                await self._end(dead)
            return health if health is not None else await self._start_locked()
        finally:
            lock.release()

    async def _end(self, dead: Address) -> bool:
        is_ended = await asyncio.to_thread(end_engine, self.spec.directory, dead.pid)
        logger.warning("the engine, pid %d, was stuck: %s", dead.pid, "ended" if is_ended else "not ended")
        return is_ended

    async def _acquire_start_lock(self) -> FileLock:
        filelock: Any = await asyncio.to_thread(importlib.import_module, "filelock")
        lock: FileLock = filelock.FileLock(self.spec.directory / START_LOCK_FILE, thread_local=False)
        end = self._clock() + START_TIMEOUT_S
        while self._clock() < end:
            try:
                # Short waits, because a thread that waited for long would hold up the exit of this process.
                await asyncio.to_thread(lock.acquire, timeout=POLL_S)
            except filelock.Timeout:
                continue
            return lock
        raise EngineUnavailable("another program has been starting the engine for too long", "hung")

    async def _start_locked(self) -> Health:
        self._policy.note_start(self._clock())
        end = self._clock() + START_TIMEOUT_S
        child = await self._spawn()
        while self._clock() < end:
            health = await self.attach()
            if health is not None:
                return health
            code = child.process.poll()
            if code == EXIT_ALREADY_RUNNING:  # an engine that is on its way out, or not yet reachable
                await asyncio.sleep(POLL_S)
                child = await self._spawn()
            elif code is not None:
                raise EngineUnavailable(self._why_it_ended(), "failed")
            await asyncio.sleep(POLL_S / 4)
        reason = Address.problem(self.spec.directory) or f"the engine did not answer within {START_TIMEOUT_S:.0f} s"
        raise EngineUnavailable(reason, "hung")

    async def _spawn(self) -> StartedEngine:
        try:
            self._child = await asyncio.to_thread(start_engine, self._program, self.spec.arguments, self.spec.directory)
        except OSError as error:
            raise EngineUnavailable(folder_trouble(self.spec.directory, error), "failed") from error
        logger.info("started an engine, pid %d", self._child.process.pid)
        return self._child

    def _why_it_ended(self) -> str:
        child = self._child
        return "no engine is running" if child is None or child.process.poll() is None else child.why_it_ended()

    def _tell(self, health: Health) -> None:
        told = replace(health, proof="")
        if self._on_health is not None and told != self._last_told:
            self._last_told = told
            self._on_health(told)
