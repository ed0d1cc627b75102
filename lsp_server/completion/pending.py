"""Defines a request of the editor while its answer is looked for, and its result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lsprotocol import types

from decoding.protocol import CompletionStats
from lsp_server.completion.habits import Place
from lsp_server.documents.store import Snapshot
from lsp_server.documents.views import View
from lsp_server.filters import IMPROBABLE, NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionResult:
    """The end of a request: `reason` in one or two words, more in `detail`, and the `items` that are shown, if any.

    `engine` holds the engine's statistics if the engine was asked and finished, and `about` tells the kind of place.
    """

    reason: str
    detail: str = ""
    items: tuple[types.InlineCompletionItem, ...] = ()
    engine: CompletionStats | None = None
    about: Place | None = None


BELOW: Final = "the model isn't sure enough of its first statement"
CLOSED: Final = CompletionResult(reason="not open", detail="the editor closed this document")


@dataclass(slots=True, kw_only=True)
class PendingRequest:
    """One request, bound to the moment when it was read. `outcome` is set once, by its own work or by a newer request.

    `params.position` is a place in `snapshot`, which `view` makes of the editor's document. `engine_s` is the time from
    sending the engine's request to the last byte that was waited for. `paused_s` is the time spent on debouncing.
    `tell` sends what there is so far to an editor that takes results in parts; it has got `num_told` items, the first
    at `told_s`.
    """

    request_id: int | str
    params: types.InlineCompletionParams
    snapshot: Snapshot | None
    read_s: float
    outcome: asyncio.Future[CompletionResult]
    method: str = types.TEXT_DOCUMENT_INLINE_COMPLETION
    view: View | None = None
    engine_s: float = 0.0
    paused_s: float = 0.0
    tell: Callable[[CompletionResult], None] | None = None
    num_told: int = 0
    told_s: float | None = None


def nothing_left(dropped_by: str, stats: CompletionStats | None, bound: float) -> CompletionResult:
    """Return the result for a text of which nothing is left; `bound` is how sure it had to be."""
    if dropped_by == IMPROBABLE:
        return CompletionResult(reason="below confidence", detail=f"{BELOW}: {bound:.2f} is wanted here", engine=stats)
    is_dropped = dropped_by != NOTHING
    detail = f"the filter '{dropped_by}' left nothing" if is_dropped else "the model wrote nothing here"
    return CompletionResult(reason="filtered", detail=detail, engine=stats)
