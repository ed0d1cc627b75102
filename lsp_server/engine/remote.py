"""Implements the client of a server that the user's file names: it is asked, streamed from, and never started.

It must not know LSP, documents or settings.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from decoding.protocol import CompletionRequest, CompletionStats, Health
from lsp_server.engine.adapters import Adapter
from lsp_server.engine.adapters.healing import behind_half_word, half_word
from lsp_server.engine.adapters.kinds import adapter_for
from lsp_server.engine.adapters.server import CHOICES_TEMPERATURE, ServerFacts
from lsp_server.engine.backing_off import BackingOff
from lsp_server.engine.engines_file import RemoteSpec
from lsp_server.engine.finding_out import find_out
from lsp_server.engine.model_choice import EngineSpec
from lsp_server.engine.remote_connection import RemoteConnection
from lsp_server.engine.remote_trouble import worded_for
from lsp_server.engine.stream import Delta, EngineUnavailable, Part, deltas

if TYPE_CHECKING:
    from aiohttp import ClientResponse

POLL_S: Final = 0.5
# chosen: a server that has said nothing for so long, twice in a row, counts as gone.
SILENT_S: Final = 4.0
MAX_SILENCES: Final = 2
# chosen: no token of a model has more characters on the average of an answer; more than that is no answer of ours.
MAX_CHARS_PER_TOKEN: Final = 32
SPARE_EVENTS: Final = 1000


class RemoteEngine:
    """One front end's connection to the server of one table `[engines.NAME]`; `on_health` gets every change of state.

    `local` is what the engine on this machine would be.
    """

    def __init__(
        self,
        engine: RemoteSpec,
        local: EngineSpec,
        on_health: Callable[[Health], None] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine = engine
        self.name = engine.name
        self.spec = local
        self.facts: ServerFacts | None = None
        self.adapter: Adapter | None = None
        self._on_health = on_health
        self._clock = clock
        self._connection = RemoteConnection(engine)
        self._finding = asyncio.Lock()
        self._backing_off = BackingOff(clock)
        self._health: Health | None = None
        self._num_silences = 0

    @property
    def destination(self) -> str:
        """The host to which text goes, "" for a server on this machine."""
        return "" if self.engine.is_loopback else self.engine.host

    @property
    def may_be_asked(self) -> bool:
        """Return whether the server isn't left alone after a failure."""
        return self._backing_off.is_over

    async def attach(self) -> Health | None:
        """Return the state of the server if it is known to answer."""
        return self._health if self.may_be_asked else None

    async def ensure(self) -> Health:
        """Return the state of the server, which is looked for unless it is known. Raises `EngineUnavailable`."""
        self._backing_off.check()
        async with self._finding:
            if self._health is not None and self._health.status == "ready":
                return self._health
            try:
                self.facts, self._health = await find_out(self._connection, self.engine)
            except EngineUnavailable as error:
                self._fail(error)
                raise
            self.adapter = adapter_for(self.facts)
            self._tell(self._health)
            return self._health

    async def wait_ready(self, timeout_s: float = 120) -> Health:
        """Wait until the server has loaded its model. Raises `EngineUnavailable`."""
        end = self._clock() + timeout_s
        while (health := await self.ensure()).status == "loading":
            if self._clock() > end:
                raise EngineUnavailable(f"engine {self.engine.name}: it is still loading", "loading")
            await asyncio.sleep(POLL_S)
        if health.status != "ready":
            raise EngineUnavailable(f"engine {self.engine.name}: {health.detail or 'it failed'}", "failed")
        return health

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Part, None]:
        """Stream the text deltas of one completion, then its statistics.

        Closing the iterator closes the connection, so that the server ends its work. Raises `EngineUnavailable`.
        """
        self._backing_off.check()
        if self.adapter is None:
            await self.ensure()
        adapter = self.adapter
        if adapter is None or not _is_wanted(request, adapter, self.facts):
            raise EngineUnavailable("this kind of engine is not asked for that", "superseded")
        began_s, num_parts, is_finished = self._clock(), 0, False
        try:
            if request.tabcast.choice and not _is_ours(self.facts):
                request = replace(request, temperature=CHOICES_TEMPERATURE)
            response = await self._connection.post(adapter.path, adapter.body(request))
            try:
                _check_stream(response)
                async with aclosing(_answer(response, request, adapter)) as parts:
                    async for part in parts:
                        num_parts, is_finished = num_parts + 1, isinstance(part, CompletionStats)
                        self._backing_off.answered()
                        yield part
            finally:
                self._connection.end(response, is_finished=is_finished)
        except (GeneratorExit, asyncio.CancelledError):
            self._note_silence(began_s, num_parts)
            raise
        except Exception as error:
            if isinstance(error, EngineUnavailable) and error.code == "superseded":
                raise
            told = self._own_words(error)
            self._fail(told)
            raise told from None

    async def replace_if_stuck(self) -> bool:
        """Return False: another's server is never replaced."""
        return False

    async def stop(self) -> bool:
        """Forget what is known of the server, so that it is looked for anew; it is never stopped."""
        self._backing_off.answered()
        self._health = self.adapter = None
        await self._connection.close()
        return False

    async def close(self) -> None:
        """Drop all connections."""
        await self._connection.close()

    def _own_words(self, error: Exception) -> EngineUnavailable:
        """Word an error; one that the server wrote into its stream may hold what was sent."""
        told = worded_for(self.engine, error)
        if str(told).startswith("engine "):
            return told
        return EngineUnavailable(f"engine {self.engine.name}: it broke off its answer", "lost")

    def _note_silence(self, began_s: float, num_parts: int) -> None:
        if num_parts or self._clock() - began_s < SILENT_S:
            self._num_silences = 0 if num_parts else self._num_silences
            return
        self._num_silences += 1
        if self._num_silences >= MAX_SILENCES:
            self._num_silences = 0
            self._fail(EngineUnavailable(f"engine {self.engine.name}: it doesn't answer in time", "absent"))

    def _fail(self, error: EngineUnavailable) -> None:
        self._backing_off.failed(error)
        self._health = None
        is_gone = error.code in ("lost", "absent")
        self._tell(Health(status="absent" if is_gone else "failed", detail=str(error)))

    def _tell(self, health: Health) -> None:
        if self._on_health is not None:
            self._on_health(replace(health, proof=""))


def _is_wanted(request: CompletionRequest, adapter: Adapter, facts: ServerFacts | None) -> bool:
    """Return whether a server is asked for this: only ours reads ahead, and who is paid for writes nothing ahead."""
    if request.tabcast.prepare and not _is_ours(facts):
        return False
    return not (adapter.is_metered and request.tabcast.priority == "idle")


def _is_ours(facts: ServerFacts | None) -> bool:
    return facts is not None and facts.kind == "tabcast"


def _check_stream(response: ClientResponse) -> None:
    """Raise `ValueError` if a server answers with something else than a stream."""
    if response.content_type not in ("text/event-stream", "application/x-ndjson", "application/ndjson"):
        raise ValueError("the answer is no stream")


def _answer(response: ClientResponse, request: CompletionRequest, adapter: Adapter) -> AsyncGenerator[Part, None]:
    """Return the parts of an answer, without what the server had to write again."""
    parts = _bounded(response, request, adapter)
    half = half_word(request) if adapter.heals else ""
    return behind_half_word(parts, half) if half else parts


async def _bounded(
    response: ClientResponse, request: CompletionRequest, adapter: Adapter
) -> AsyncGenerator[Part, None]:
    """Yield the parts of an answer, and break off one that is longer than what was asked for.

    Events count, and not only the parts in them: a stream of events without text would never end either.
    """
    most, num_chars, num_events = request.max_tokens, 0, 0

    def read(event: dict[str, Any]) -> Iterable[Part]:
        nonlocal num_events
        num_events += 1
        if num_events > most + SPARE_EVENTS:
            raise ValueError("the answer never ends")
        return adapter.parts(request, event)

    async with aclosing(deltas(response, read)) as parts:
        async for part in parts:
            num_chars += len(part.text) if isinstance(part, Delta) else 0
            if num_chars > most * MAX_CHARS_PER_TOKEN:
                raise ValueError("the answer never ends")
            yield part
