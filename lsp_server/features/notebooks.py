"""Handles notebooks. Their cells are documents, opened, changed and closed like others."""

from __future__ import annotations

from lsprotocol import types

from lsp_server.features import lifecycle
from lsp_server.session import Session


def did_open(session: Session, params: types.DidOpenNotebookDocumentParams) -> None:
    """Add a notebook and its cells."""
    session.notebooks.open(params.notebook_document)
    for document in params.cell_text_documents:
        lifecycle.did_open(session, types.DidOpenTextDocumentParams(text_document=document))


def did_change(session: Session, params: types.DidChangeNotebookDocumentParams) -> None:
    """Apply cells that come, go, move or change."""
    cells = params.change.cells
    if cells is None:
        return
    if structure := cells.structure:
        session.notebooks.change(params.notebook_document.uri, structure.array)
        for opened in structure.did_open or ():
            lifecycle.did_open(session, types.DidOpenTextDocumentParams(text_document=opened))
        for closed in structure.did_close or ():
            lifecycle.did_close(session, types.DidCloseTextDocumentParams(text_document=closed))
    for text in cells.text_content or ():
        change = types.DidChangeTextDocumentParams(text_document=text.document, content_changes=text.changes)
        lifecycle.did_change(session, change)


def did_close(session: Session, params: types.DidCloseNotebookDocumentParams) -> None:
    """Forget a notebook and its cells."""
    session.notebooks.close(params.notebook_document.uri)
    for document in params.cell_text_documents:
        lifecycle.did_close(session, types.DidCloseTextDocumentParams(text_document=document))
