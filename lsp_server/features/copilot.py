"""Handles optional notifications of Copilot's language server: what was shown, accepted in part, and focused.

They are no part of the standard; clients that send them tell us more than others can. Parameters are JSON.
"""

from __future__ import annotations

from typing import Any

from lsp_server.completion.acceptance import ShownItem
from lsp_server.session import Session


def did_show(session: Session, params: Any) -> None:
    """Note that the editor has displayed an item, and not only received it."""
    if offer := _offer(session, params):
        session.shown_items.displayed(offer.id)


def did_accept_part(session: Session, params: Any) -> None:
    """Note that the user accepted so many UTF-16 units of an item, from its first character on."""
    length = params.get("acceptedLength") if isinstance(params, dict) else None
    offer = _offer(session, params)
    if offer is None or not isinstance(length, int) or length < 0:
        return
    text = str(params["item"].get("insertText", ""))
    part = text.encode("utf-16-le", "surrogatepass")[: 2 * length].decode("utf-16-le", "ignore")
    end = len(offer.text) - len(text) + len(part)
    if taken := session.shown_items.accepted(offer.id, end):
        session.watch(taken)


def did_focus(session: Session, params: Any) -> None:
    """Note that the user looks at a document, so that it is the one visited last."""
    if not session.reads_copilot_status:
        session.reads_copilot_status = True
        session.tell_observers()
    document = params.get("textDocument") if isinstance(params, dict) else None
    uri = document.get("uri") if isinstance(document, dict) else None
    if isinstance(uri, str) and session.documents.lines(uri) is not None:
        session.context.opened(uri)
        session.reading_ahead.opened(uri)


def _offer(session: Session, params: Any) -> ShownItem | None:
    """Return the offer of an item, which the argument of its command identifies."""
    item = params.get("item") if isinstance(params, dict) else None
    command = item.get("command") if isinstance(item, dict) else None
    arguments = command.get("arguments") if isinstance(command, dict) else None
    return session.shown_items.find(arguments[0]) if isinstance(arguments, list) and arguments else None
