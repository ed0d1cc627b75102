"""Follows a server's text while a first one is shown, and has the editor ask again if another has come.

It must not know requests of the editor or how they are answered.
"""

from __future__ import annotations

import asyncio

from lsp_server.completion.ask_engine import ShownText, prefetch
from lsp_server.completion.cache import cursor_context
from lsp_server.completion.in_flight import Generation
from lsp_server.completion.services import CompletionServices
from lsp_server.documents.store import Snapshot
from lsp_server.engine.stream import EngineUnavailable
from lsp_server.filters.calibration import Bounds


def follow(
    services: CompletionServices, snapshot: Snapshot, generation: Generation, shown: ShownText, bounds: Bounds
) -> None:
    """Wait in the background for the text behind a first one, which keeps it from being given up."""
    if not generation.is_followed:
        generation.is_followed = True
        services.in_background(_follow(services, snapshot, generation, shown, bounds))


async def _follow(
    services: CompletionServices, snapshot: Snapshot, generation: Generation, shown: ShownText, bounds: Bounds
) -> None:
    spot = cursor_context(snapshot, shown.cursor)
    try:
        async with asyncio.timeout(services.settings.deadline_ms / 1000):
            await generation.wait(spot)
    except (TimeoutError, EngineUnavailable):
        return
    if services.documents.revision(snapshot.uri) != snapshot.revision:
        return  # the user has begun to take the first text, or writes another
    rest = services.in_flight.find(spot, generation.mode, bounds)
    if rest is None:
        return
    if rest.text == shown.text:
        prefetch(services, snapshot, shown, bounds)
    else:
        services.ask_again(snapshot.uri)
