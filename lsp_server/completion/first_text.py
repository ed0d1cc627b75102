"""Shows a first text, which the engine on this machine writes while a server is asked.

It is shown if its engine is sure of it, and goes to a server that verifies proposals. The server's own text takes its
place unless the user has begun to take it. It must not know requests of the editor or how they are answered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Final

from decoding.protocol import CompletionRequest, Health
from lsp_server.completion.cache import CursorContext, Suggestion
from lsp_server.completion.in_flight import Generation, InFlight
from lsp_server.completion.pace import Pace
from lsp_server.completion.settling import Settling
from lsp_server.engine.seam import THIS_MACHINE, WritesFirst
from lsp_server.engine.stream import Delta, EngineUnavailable, Part
from lsp_server.filters.calibration import SHOWS_ALL, Bounds, bounds_of
from lsp_server.filters.confidence import cut_unlikely, is_worth_showing
from lsp_server.filters.surroundings import Mode

# chosen: a text that another may replace a moment later has to be right in so many of all cases.
MIN_CONFIDENCE: Final = 0.5

Complete = Callable[[CompletionRequest], AsyncGenerator[Part, None]]


def can_write_first(hybrid: WritesFirst | None, language: str) -> bool:
    """Return whether the engine on this machine can write a first text in a language."""
    health = None if hybrid is None else hybrid.first
    return health is not None and (not health.languages or language in health.languages)


def start_first(
    hybrid: WritesFirst, in_flight: InFlight, spot: CursorContext, mode: Mode, request: CompletionRequest
) -> Generation:
    """Have the engine on this machine write a first text, which is kept if that is sure of it."""
    health = hybrid.first or Health(status="absent")
    bounds = bounds_of(MIN_CONFIDENCE, health.model)
    asked = replace(request, tabcast=replace(request.tabcast, confidence=True))

    def keep(suggestion: Suggestion, seconds: float) -> None:
        in_flight.pace.note_first(seconds)
        if sure := _sure(suggestion, bounds):
            first.kept = sure
            in_flight.cache.add(sure)

    settling = Settling(spot, mode, bounds)
    first = Generation(spot, mode, hybrid.complete_first(asked), settling, keep, health.held or THIS_MACHINE)
    return first


def _sure(suggestion: Suggestion, bounds: Bounds) -> Suggestion | None:
    """Return the part of a first text that is sure enough to be shown, None if there is none."""
    spot = suggestion.spot
    text = cut_unlikely(suggestion.text, suggestion.spans, 0, bounds, spot.place, spot.language)
    if not suggestion.spans or not is_worth_showing(text):
        return None
    is_whole = text == suggestion.text and suggestion.bounds.shows_all
    return replace(
        suggestion,
        text=text,
        generated=suggestion.generated if is_whole else text,
        is_finished=suggestion.is_finished and is_whole,
        bounds=SHOWS_ALL,
        nothing_at=None,
        is_first=True,
    )


async def with_proposal(
    hybrid: WritesFirst,
    complete: Complete,
    request: CompletionRequest,
    first: Generation,
    pace: Pace,
) -> AsyncGenerator[Part, None]:
    """Stream a server's completion, for which it gets the first text as a proposal if that comes in time.

    Meanwhile the server reads the prompt.
    """
    if hybrid.takes_proposals and (wait_s := pace.wait_s):
        options = replace(request.tabcast, prepare="place", priority="idle")
        reading = asyncio.create_task(_read(hybrid, replace(request, tabcast=options)))
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await first.until_over()
        finally:
            reading.cancel()
        request = replace(request, tabcast=replace(request.tabcast, proposal=first.generated))
    began_s, last_s, num_steps, num_tokens = 0.0, 0.0, 0, 0
    try:
        async with aclosing(complete(request)) as parts:
            async for part in parts:
                if isinstance(part, Delta):
                    last_s = time.perf_counter()
                    num_steps, num_tokens = num_steps + 1, num_tokens + max(1, len(part.confidence))
                    began_s = began_s or last_s
                yield part
    finally:
        pace.note_written(num_tokens, num_steps - 1, last_s - began_s)


async def _read(hybrid: WritesFirst, request: CompletionRequest) -> None:
    with suppress(EngineUnavailable):
        await hybrid.read(request)


async def wait_for_either(generation: Generation, spot: CursorContext) -> bool:
    """Wait until a text is finished, or a first text that can be shown; return False as `Generation.wait` does.

    Raises `EngineUnavailable` if the engine failed.
    """
    first = generation.first
    if first is None or first.is_over or not first.fits(spot):
        return await generation.wait(spot)
    whole, early = asyncio.create_task(generation.wait(spot)), asyncio.create_task(first.wait(spot))
    try:
        await asyncio.wait([whole, early], return_when=asyncio.FIRST_COMPLETED)
        if not whole.done() and early.exception() is None and early.result() and first.kept is not None:
            return True
        return await whole
    finally:
        whole.cancel()
        early.cancel()
        await asyncio.gather(whole, early, return_exceptions=True)
