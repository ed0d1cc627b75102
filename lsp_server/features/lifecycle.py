"""What the editor tells: it is ready, documents opened, changed and closed, settings, the end.

Notifications are plain functions, so that they are done before the next message is looked at.
"""

from __future__ import annotations

import asyncio
import importlib

from lsprotocol import types

from lsp_server.session import Session
from lsp_server.settings import settings_from


def initialized(session: Session, _: types.InitializedParams) -> None:
    """Begin to look for an engine, and import in a thread what the first request needs."""
    session.engine.wake()
    asyncio.get_running_loop().run_in_executor(None, importlib.import_module, "lsp_server.features.inline_completion")


def did_open(session: Session, params: types.DidOpenTextDocumentParams) -> None:
    """Take the document."""
    session.documents.open(params.text_document)


def did_change(session: Session, params: types.DidChangeTextDocumentParams) -> None:
    """Apply the changes."""
    session.documents.change(params)


def did_close(session: Session, params: types.DidCloseTextDocumentParams) -> None:
    """Forget the document."""
    session.forget(params.text_document.uri)


def did_change_configuration(session: Session, params: types.DidChangeConfigurationParams) -> None:
    """Take new settings; clients that let settings be pulled send none, which changes nothing."""
    if params.settings is None:
        return
    session.settings = settings_from(params.settings)


async def shutdown(session: Session, _: None) -> None:
    """Let go of the engine."""
    await session.engine.close()
