"""Implements the commands that an editor can run, all named `tabcast.server.*`. Arguments may be anything.

The answers are JSON and hold no text of documents, except the piece that a user just accepted.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from lsprotocol import types

from lsp_server.completion.acceptance import ShownItem
from lsp_server.completion.snooze import DEFAULT_MINUTES
from lsp_server.documents.store import Cursor, Snapshot
from lsp_server.engine.model_choice import offered_models
from lsp_server.features.status import status_of
from lsp_server.readable import stats_report, why_report
from lsp_server.session import Session


async def why(session: Session, options: Any = None, *_: Any) -> dict[str, Any]:
    """Report what became of the last requests, the newest first, and the state of the engine.

    The newest one's reason stands at the top, too. With `{"show": true}` it is shown to the user as a message, for
    editors that show nothing of a command's result.
    """
    requests = session.request_log.requests()
    last = requests[0] if requests else {"reason": "nothing asked yet", "detail": "", "ms": 0.0, "text": "nothing yet"}
    status, health = status_of(session), session.engine.health
    if isinstance(options, dict) and options.get("show") is True:
        lines = [f"Tabcast is {status['state']}: {status['message'] or status['model']}".rstrip(": ")]
        lines += [status["better"]] if status["better"] else []
        lines += [f"{told['document']}: {told['text']}" for told in requests[:5]]
        message = types.ShowMessageParams(type=types.MessageType.Info, message="\n".join(lines))
        session.server.window_show_message(message)
    return {
        "reason": last["reason"],
        "detail": last["detail"],
        "ms": last["ms"],
        "requests": requests,
        "report": why_report(status, requests),
        "status": status,
        "engine": {
            "status": health.status,
            "detail": session.engine.problem or health.detail,
            "progress": health.progress,
            "model": health.model,
            "weights": health.weights,
            "draft": health.draft,
            "device": health.device,
            "languages": list(health.languages),
        },
    }


async def stats(session: Session, *_: Any) -> dict[str, Any]:
    """Report how much was suggested and accepted in this window, and how fast it came. It stays on this machine."""
    counts = session.in_flight.sources
    sources = {source: counts[source] for source in ("local", "joined", "sent", "ahead")}
    if session.engine.hybrid is not None:
        sources["first"] = counts["first"]
    index = session.workspace_index.figures()
    figures = {**session.shown_items.figures(), **session.request_log.figures(), "answered": sources, "index": index}
    return {
        **figures,
        "habits": session.habits.figures(),
        "nextEdits": session.next_edits.figures(),
        "report": stats_report(figures),
    }


async def toggle(session: Session, is_enabled: Any = None, *_: Any) -> dict[str, Any]:
    """Toggle suggestions in this window, or turn them on or off as the argument says."""
    session.toggle(is_enabled if isinstance(is_enabled, bool) else not session.settings.enabled)
    return {"enabled": session.settings.enabled}


async def snooze(session: Session, minutes: Any = None, *_: Any) -> dict[str, Any]:
    """Keep suggestions away from this window for so many minutes, five by default; 0 ends that."""
    is_number = isinstance(minutes, int | float) and not isinstance(minutes, bool) and minutes >= 0
    session.snooze.begin(float(minutes) if is_number else DEFAULT_MINUTES)
    return {"minutes": session.snooze.minutes_left}


async def restart_engine(session: Session, *_: Any) -> None:
    """Stop the running engine, for all windows that share it, and start another."""
    await session.engine.restart()


async def select_model(session: Session, name: Any = None, *_: Any) -> dict[str, Any]:
    """Switch this window to another model of the user's own configuration. Without a name, list the models."""
    problem = ""
    if name is not None:
        try:
            await session.engine.select(str(name))
        except ValueError as error:
            problem = str(error)
    models = await asyncio.to_thread(offered_models)
    return {"models": models, "selected": session.engine.model, "problem": problem}


async def accept_word(session: Session, *_: Any) -> dict[str, Any]:
    """Write the next word of the suggestion into the document; the rest of it stays."""
    return await _accept(session, "word")


async def accept_line(session: Session, *_: Any) -> dict[str, Any]:
    """Write the next line of the suggestion into the document; the rest of it stays."""
    return await _accept(session, "line")


async def accepted(session: Session, offer_id: Any = None, *_: Any) -> None:
    """Note that the user accepted an item; the item's own command runs this. Some editors run it for one word, too."""
    if (offer := session.shown_items.find(offer_id)) is None:
        return
    snapshot = session.documents.snapshot(offer.uri)
    is_part = offer.num_come > 0 and snapshot is not None and offer.still_fits(snapshot.lines)
    if taken := session.shown_items.accepted(offer.id, offer.num_standing if is_part else None):
        session.watch(taken)


async def rejected(session: Session, offer_id: Any = None, *_: Any) -> None:
    """Note that the user dismissed an item; the same text stays away from its place for a while."""
    session.shown_items.rejected(offer_id)


async def forget_habits(session: Session, *_: Any) -> dict[str, Any]:
    """Forget what was learnt from accepted suggestions and those passed over, for all windows."""
    try:
        return {"forgotten": await asyncio.to_thread(session.habits.forget), "problem": ""}
    except OSError as error:
        return {"forgotten": 0, "problem": f"{error.filename} can't be removed: {error.strerror}; remove it by hand"}


async def _accept(session: Session, unit: Literal["word", "line"]) -> dict[str, Any]:
    offer = session.shown_items.latest
    snapshot = None if offer is None else session.documents.snapshot(offer.uri)
    if offer is None or snapshot is None or not (piece := offer.piece(unit)) or not offer.still_fits(snapshot.lines):
        return {"applied": False, "text": "", "reason": "nothing is shown that could be accepted"}
    offer.is_applying = True
    edit = _workspace_edit(session, snapshot, _text_edit(offer, snapshot, piece))
    try:
        answer = await session.server.workspace_apply_edit_async(
            types.ApplyWorkspaceEditParams(edit=edit, label=f"Accept {unit}")
        )
    except BaseException:
        offer.is_applying = False
        raise
    if not answer.applied:
        offer.is_applying = False
        return {"applied": False, "text": "", "reason": answer.failure_reason or "the editor refused the edit"}
    return {"applied": True, "text": piece, "reason": ""}


def _text_edit(offer: ShownItem, snapshot: Snapshot, piece: str) -> types.TextEdit:
    """Insert the piece behind the offer's text. The last piece replaces closers that the offer brings itself."""
    start = offer.end()
    is_last = offer.num_standing + len(piece) == len(offer.text)
    end = Cursor(start.line, start.column + (offer.num_replaced if is_last else 0))
    span = types.Range(start=snapshot.position(start), end=snapshot.position(end))
    return types.TextEdit(range=span, new_text=piece)


def _workspace_edit(session: Session, snapshot: Snapshot, edit: types.TextEdit) -> types.WorkspaceEdit:
    """Wrap an edit with the document's version, where the editor can check it."""
    workspace = session.server.client_capabilities.workspace
    if workspace and workspace.workspace_edit and workspace.workspace_edit.document_changes:
        document = types.OptionalVersionedTextDocumentIdentifier(uri=snapshot.uri, version=snapshot.version)
        return types.WorkspaceEdit(document_changes=[types.TextDocumentEdit(text_document=document, edits=[edit])])
    return types.WorkspaceEdit(changes={snapshot.uri: [edit]})
