"""Builds the request to an engine for a cursor, for every caller: an editor, the command line, a benchmark.

It must not know the session, nor who asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from decoding.protocol import CompletionOptions, CompletionRequest
from lsp_server.context.budget import Cut, cut_around
from lsp_server.context.masking import mask_around
from lsp_server.context.paths import locate
from lsp_server.documents.store import Cursor, Snapshot
from lsp_server.filters.surroundings import Mode
from lsp_server.settings import Settings


def text_around(snapshot: Snapshot, cursor: Cursor, settings: Settings) -> Cut:
    """Cut the text around a cursor that goes with a request. Lines that were cut before cost next to nothing."""
    return mask_around(
        cut_around(snapshot, cursor, prefix_chars=settings.prefix_chars, suffix_chars=settings.suffix_chars)
    )


def hides_secrets(snapshot: Snapshot, cursor: Cursor, settings: Settings) -> bool:
    """Return whether something is masked in the text around a cursor."""
    cut = cut_around(snapshot, cursor, prefix_chars=settings.prefix_chars, suffix_chars=settings.suffix_chars)
    return mask_around(cut) != cut


def build_request(
    snapshot: Snapshot,
    cursor: Cursor,
    mode: Mode,
    settings: Settings,
    folder_uris: Iterable[str],
    *,
    options: CompletionOptions | None = None,
    reads_on: bool = False,
) -> CompletionRequest:
    """Build the request for a text at a cursor.

    Args:
        snapshot: the document.
        cursor: a place in it.
        mode: whether a line or a block is wanted.
        settings: the bounds of prefix, suffix and answer.
        folder_uris: the folders that are open; the document's path is given relative to one of them.
        options: what only the caller knows: context, session, draft texts, priority, method.
        reads_on: whether the caller ends the stream itself, so that a line that opens a bracket may go on to its end.
    """
    may_go_on = reads_on and not snapshot.place(cursor).tail.strip()
    ends: Mode = "block" if may_go_on else mode
    cut, location = text_around(snapshot, cursor, settings), locate(snapshot.uri, folder_uris)
    return CompletionRequest(
        prompt=cut.prefix,
        suffix=cut.suffix,
        max_tokens=settings.max_line_tokens if mode == "line" else settings.max_block_tokens,
        stream=True,
        tabcast=replace(
            options or CompletionOptions(),
            path=location.path,
            repo=location.repo,
            language=snapshot.language,
            line_mode=ends,
            confidence=True,
        ),
    )
