"""Finds out whether an engine that answers health checks computes anything at all.

The thread that answers `/health` is not the one that computes: the second may hang while the first goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from decoding.protocol import CompletionRequest
from lsp_server.engine.stream import EngineUnavailable, Part

# chosen: an engine that computes nothing for so long is stuck. One step or chunk of a model that is much too large for
# its machine may take half a minute.
STUCK_S: Final = 60.0
STUCK_POLL_S: Final = 0.5
_PROBE: Final = CompletionRequest(prompt="a", max_tokens=1)
# The counters that the computing thread itself advances, at each turn.
_WORK: Final = ("tabcast_prefilled_tokens_total", "tabcast_steps_total", "tabcast_choices_total")


class StuckProbe:
    """Asks for one token. Any answer, or any work for others meanwhile, shows that the engine computes.

    `complete` asks, and `figures` reads the engine's counters.
    """

    def __init__(
        self,
        complete: Callable[[CompletionRequest], AsyncGenerator[Part, None]],
        figures: Callable[[], Awaitable[str]],
        *,
        stuck_s: float = STUCK_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._complete = complete
        self._figures = figures
        self._stuck_s = stuck_s
        self._clock = clock

    async def computes_nothing(self) -> bool:
        """Return whether the engine computed nothing for `stuck_s`. Raises `EngineUnavailable`."""
        asking = asyncio.create_task(self._ask_for_a_token())
        try:
            before = await self._work_done()
            end = self._clock() + self._stuck_s
            while self._clock() < end:
                done, _ = await asyncio.wait([asking], timeout=STUCK_POLL_S)
                if done or await self._work_done() != before:
                    return False
            return True
        finally:
            asking.cancel()

    async def _ask_for_a_token(self) -> None:
        try:
            async with aclosing(self._complete(_PROBE)) as parts:
                await anext(parts, None)
        except EngineUnavailable:
            return

    async def _work_done(self) -> list[str]:
        """Return the engine's counters of its computing."""
        return [line for line in (await self._figures()).splitlines() if line.startswith(_WORK)]
