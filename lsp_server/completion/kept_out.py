"""Tells whether a document gets suggestions at all: what the user turned off, and what rules keep out."""

from __future__ import annotations

import asyncio

from lsp_server.completion.pending import CompletionResult
from lsp_server.completion.services import CompletionServices
from lsp_server.documents.read_only import is_read_only
from lsp_server.documents.store import Snapshot


def turned_off_because(
    services: CompletionServices, snapshot: Snapshot, *, is_invoked: bool
) -> CompletionResult | None:
    """Return the reason if the user doesn't want suggestions in this language or at this time, else None."""
    settings, minutes = services.settings, services.snooze.minutes_left
    if not settings.enabled or snapshot.language in settings.disabled_languages:
        return CompletionResult(reason="disabled", detail="the settings turn suggestions off here")
    if not settings.automatic and not is_invoked:
        return CompletionResult(reason="disabled", detail="the settings turn suggestions off that were not asked for")
    if minutes and not is_invoked:
        left = f"{minutes} more minutes" if minutes > 1 else "another minute"
        return CompletionResult(reason="snoozed", detail=f"suggestions are snoozed for {left}")
    return None


async def kept_out_because(services: CompletionServices, uri: str) -> CompletionResult | None:
    """Return the reason why a document never gets suggestions, or None if it does."""
    if is_read_only(uri):
        return CompletionResult(reason="not asked", detail="the document can't be written")
    try:
        async with asyncio.timeout(services.settings.deadline_ms / 1000):
            pattern = await services.context.ignored_by(uri)
    except TimeoutError:  # a workspace may have endless ignore rules
        return CompletionResult(reason="late", detail="it takes long to tell whether a rule ignores this document")
    return (
        CompletionResult(reason="ignored", detail=f"the pattern {pattern} keeps this document out") if pattern else None
    )
