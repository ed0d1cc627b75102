"""Handles the editor's notifications: it is ready, documents opened, changed and closed, settings, the end.

Notifications are plain functions, so that they are done before the next message is looked at.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import time
from collections.abc import Sequence
from contextlib import suppress

from lsprotocol import types

from lsp_server.context.ignore import RULE_FILES
from lsp_server.documents.keystrokes import may_delete
from lsp_server.features import configuration, watching
from lsp_server.session import Session


def initialized(session: Session, _: types.InitializedParams) -> None:
    """Start to look for an engine, take the settings, and import in a thread what the first request needs."""
    session.engine.wake()
    session.context.begin()
    configuration.begin(session)
    session.in_background(asyncio.to_thread(session.habits.load))
    watching.begin(session)
    asyncio.get_running_loop().run_in_executor(None, import_the_rest)


def import_the_rest() -> None:
    """Import what the first request needs, and exempt it from garbage collection, which would hold up typing."""
    for module in ("lsp_server.features.inline_completion", "lsp_server.engine.connection", "pathspec"):
        importlib.import_module(module)
    with suppress(ImportError):  # without it suggestions are judged by brackets
        importlib.import_module("tree_sitter")
    gc.freeze()


def did_open(session: Session, params: types.DidOpenTextDocumentParams) -> None:
    """Add the document, and tell all who follow documents."""
    session.documents.open(params.text_document)
    session.context.opened(params.text_document.uri)
    session.reading_ahead.opened(params.text_document.uri)


def did_change(session: Session, params: types.DidChangeTextDocumentParams) -> None:
    """Apply the changes, and see whether they are an accepted suggestion."""
    uri = params.text_document.uri
    session.keystrokes.note(session.documents.snapshot(uri) if may_delete(params) else None, params, time.monotonic())
    before = list(session.documents.lines(uri) or ())
    session.documents.change(params)
    session.context.changed(params)
    session.reading_ahead.changed(params)
    lines = session.documents.lines(uri)
    if lines is not None and before and (revision := session.documents.revision(uri)) is not None:
        session.next_edits.changed(params, before, lines, revision)
    if lines is not None and (taken := session.shown_items.changed(uri, lines)):
        session.watch(taken)


def change_not_understood(session: Session, uri: str) -> None:
    """Stop serving a document after a change in an unknown form: our copy may differ from the editor's."""
    session.documents.invalidate(uri)


def did_save(session: Session, params: types.DidSaveTextDocumentParams) -> None:
    """Read a saved file again for other documents' context; it may hold ignore rules, too."""
    _changed_on_disk(session, [params.text_document.uri])
    session.reading_ahead.saved(params.text_document.uri)


def did_change_watched_files(session: Session, params: types.DidChangeWatchedFilesParams) -> None:
    """Read files again that other programs have changed; they may hold ignore rules, too."""
    _changed_on_disk(session, [change.uri for change in params.changes])


def _changed_on_disk(session: Session, uris: Sequence[str]) -> None:
    session.context.changed_on_disk(uris)
    if any(uri.rpartition("/")[2] in RULE_FILES for uri in uris):
        session.steady_context.forget()  # it may hold what is ignored from now on


def did_close(session: Session, params: types.DidCloseTextDocumentParams) -> None:
    """Forget all that is known of the document."""
    session.forget(params.text_document.uri)


def did_change_configuration(session: Session, params: types.DidChangeConfigurationParams) -> None:
    """Use the new settings, or ask the editor for them."""
    configuration.changed(session, params.settings)


async def shutdown(session: Session, _: None) -> None:
    """Disconnect from the engine and end the background work."""
    await session.close()
