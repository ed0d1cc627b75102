"""Sends requests to the engine: for the text at a cursor, and prefetches for the place where the cursor would be next.

It must not know requests of the editor or how they are answered.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from decoding.protocol import CompletionOptions, CompletionRequest
from lsp_server.completion.build_request import build_request
from lsp_server.completion.cache import Suggestion, accepted, cursor_context
from lsp_server.completion.first_text import can_write_first, start_first, with_proposal
from lsp_server.completion.in_flight import Generation
from lsp_server.completion.services import CompletionServices
from lsp_server.completion.settling import Settling
from lsp_server.completion.trigger import decide, disabled_scope
from lsp_server.context.budget import least_around
from lsp_server.documents.store import Cursor, Snapshot
from lsp_server.filters.calibration import Bounds
from lsp_server.filters.closers import num_replaced
from lsp_server.filters.surroundings import Mode

# chosen: who asks by hand waits so long for a suggestion that has seen more of the text.
INVOKED_LATENCY_MS: Final = 1500


class ShownText(NamedTuple):
    """A text that is shown at a cursor."""

    cursor: Cursor
    text: str


def start_generation(
    services: CompletionServices,
    snapshot: Snapshot,
    cursor: Cursor,
    mode: Mode,
    bounds: Bounds,
    *,
    is_invoked: bool = False,
) -> Generation:
    """Start to generate a text at a cursor, in place of what is in flight for the document."""
    spot, hints = cursor_context(snapshot, cursor), services.in_flight.hints(snapshot.uri)
    request = request_for(services, snapshot, cursor, mode, hints, is_invoked=is_invoked)
    engine, in_flight, settling = services.engine, services.in_flight, Settling(spot, mode, bounds)
    if (hybrid := engine.hybrid) is None:
        return in_flight.start(spot, mode, engine.complete(request), settling)
    if not can_write_first(hybrid, snapshot.language):
        return in_flight.start(spot, mode, engine.complete(request), settling, hybrid.author)
    first = start_first(hybrid, in_flight, spot, mode, request)
    parts = with_proposal(hybrid, engine.complete, request, first, in_flight.pace)
    generation = in_flight.start(spot, mode, parts, settling, hybrid.author)
    generation.first = first
    return generation


def start_alternative(
    services: CompletionServices, snapshot: Snapshot, cursor: Cursor, mode: Mode, choice: int
) -> Generation:
    """Start to generate another text at a cursor than the first, which typing on doesn't join; `kept` has it then."""
    spot = cursor_context(snapshot, cursor)
    request = request_for(services, snapshot, cursor, mode, choice=choice, is_invoked=True)

    def keep(suggestion: Suggestion, _seconds: float) -> None:
        generation.kept = suggestion

    generation = Generation(spot, mode, services.engine.complete(request), Settling(spot, mode), keep)
    return generation


def prefetch(services: CompletionServices, snapshot: Snapshot, shown: ShownText, bounds: Bounds) -> None:
    """Ask at idle priority for what would be asked next if this suggestion were accepted.

    The text goes on behind the end of its line to the end of the next statement or block, so that it serves behind
    Enter too.
    """
    if services.documents.revision(snapshot.uri) != snapshot.revision or services.engine.health.status != "ready":
        return
    replaced = num_replaced(shown.text, snapshot.place(shown.cursor))
    snapshot, cursor = accepted(snapshot, shown.cursor, shown.text, replaced)
    spot = cursor_context(snapshot, cursor)
    mode = decide(spot.place, is_invoked=False, language=spot.language).mode
    is_disabled = disabled_scope(spot.place, spot.language, services.settings.disabled_scopes)
    if mode is None or is_disabled or spot.place.tail.strip() or services.in_flight.is_prefetched(spot, mode):
        return
    request = request_for(services, snapshot, cursor, "block", is_idle=True)
    settling = Settling(spot, mode, bounds, reads_on=True)
    hybrid = services.engine.hybrid
    author = "" if hybrid is None else hybrid.author
    services.in_flight.start_prefetch(spot, mode, services.engine.complete(request), settling, author)


def session_name(services: CompletionServices, uri: str) -> str:
    """Return the name of a document for the engine, which other windows don't share."""
    return f"{services.name}:{uri}"


def request_for(
    services: CompletionServices,
    snapshot: Snapshot,
    cursor: Cursor,
    mode: Mode,
    hints: tuple[str, ...] = (),
    *,
    choice: int = 0,
    is_idle: bool = False,
    is_invoked: bool = False,
) -> CompletionRequest:
    """Build the engine's request for an editor, with the context, session and hints that only this window knows."""
    least, latency_ms = least_around(snapshot, cursor), services.settings.latency_ms
    options = CompletionOptions(
        context=services.steady_context.files(snapshot.uri, services.context.files(snapshot.uri), services),
        session=session_name(services, snapshot.uri),
        draft_texts=hints,
        priority="idle" if is_idle else "normal",
        choice=choice,
        latency_ms=max(latency_ms, INVOKED_LATENCY_MS) if is_invoked and latency_ms else latency_ms,
        least_prefix=least.prefix_chars,
        least_suffix=least.suffix_chars,
        nearest_prefix=least.nearest_chars,
        headers=least.headers,
    )
    return build_request(
        snapshot,
        cursor,
        mode,
        services.settings,
        services.folder_uris(),
        options=options,
        reads_on=True,
    )
