"""Handles `tabcast/didRest`: an editor tells where its cursor has come to rest, so that the place is read ahead.

The parameters are those of a position in a document. Editors that don't send it lose nothing but time.
"""

from __future__ import annotations

from typing import Any

from lsprotocol import types

from lsp_server.session import Session


def did_rest(session: Session, params: Any) -> None:
    """Read ahead what a request at this place would need, in place of the last one."""
    if (found := _place(params)) is None:
        return
    uri, position = found
    if (view := session.view(uri, position)) is not None:
        session.reading_ahead.rested(uri, view.snapshot, view.snapshot.cursor(view.position))


def _place(params: Any) -> tuple[str, types.Position] | None:
    document, position = (params.get("textDocument"), params.get("position")) if isinstance(params, dict) else (0, 0)
    uri = document.get("uri") if isinstance(document, dict) else None
    line, character = (position.get("line"), position.get("character")) if isinstance(position, dict) else (0, None)
    if isinstance(uri, str) and isinstance(line, int) and isinstance(character, int) and min(line, character) >= 0:
        return uri, types.Position(line, character)
    return None
