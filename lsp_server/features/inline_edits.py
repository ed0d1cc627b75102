"""Serves `textDocument/copilotInlineEdit`: the next edit, in the form of Copilot's language server.

A request is answered exactly once, with a list that may be empty; the command `why` tells the reason. An edit carries
the version of the document that it is for: where the text moves on meanwhile, it moves along or is dropped.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from urllib.parse import unquote

from lsprotocol import types

from lsp_server.completion.edit_by_model import edit_by_model
from lsp_server.completion.kept_out import kept_out_because, turned_off_because
from lsp_server.documents.store import Cursor, Snapshot
from lsp_server.edits.find import find_edits
from lsp_server.edits.next_edits import ACCEPTED_COMMAND, Offer
from lsp_server.edits.proposal import Edit, rebased
from lsp_server.log import without_values
from lsp_server.request_log import Entry
from lsp_server.rpc.protocol import INLINE_EDIT
from lsp_server.session import Session

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of a request: the reason in one or two words, more in `detail`, and the edit that was found, if any."""

    reason: str
    detail: str = ""
    snapshot: Snapshot | None = None
    edit: Edit | None = None


SUPERSEDED: Final = Outcome(reason="superseded")


@dataclass(slots=True, kw_only=True)
class EditRequest:
    """One request, bound to the document as it was when it was read."""

    request_id: int | str
    uri: str
    snapshot: Snapshot | None
    cursor: Cursor
    read_s: float = field(default_factory=time.perf_counter)
    newer: asyncio.Event = field(default_factory=asyncio.Event)


def read(session: Session, request_id: int | str, params: Any) -> EditRequest:
    """Bind a request to the document as it is now, and supersede an older one of its document."""
    uri, place = params["textDocument"]["uri"], params["position"]
    snapshot = session.documents.snapshot(uri)
    cursor = snapshot.cursor(types.Position(place["line"], place["character"])) if snapshot else Cursor(0, 0)
    request = EditRequest(request_id=request_id, uri=uri, snapshot=snapshot, cursor=cursor)
    if older := session.edit_requests.get(uri):
        older.set()
    session.edit_requests[uri] = request.newer
    return request


async def answer(session: Session, request: EditRequest) -> Callable[[], dict[str, Any]]:
    """Return what gives the editor its edit when the answer is sent; none if a newer request was read meanwhile."""
    working = asyncio.create_task(_guarded(session, request))
    replacing = asyncio.create_task(request.newer.wait())
    try:
        await asyncio.wait((working, replacing), return_when=asyncio.FIRST_COMPLETED)
    finally:
        working.cancel()
        replacing.cancel()
        if session.edit_requests.get(request.uri) is request.newer:
            del session.edit_requests[request.uri]
    outcome = SUPERSEDED if request.newer.is_set() or not working.done() else working.result()
    return partial(_edits, session, request, outcome)


def _edits(session: Session, request: EditRequest, outcome: Outcome) -> dict[str, Any]:
    outcome = _at_present(session, outcome)
    _note(session, request, outcome)
    if outcome.edit is None or outcome.snapshot is None:
        return {"edits": []}
    return {"edits": [as_json(session.next_edits.offer(outcome.snapshot, outcome.edit), outcome.snapshot)]}


def cancelled(session: Session, request: EditRequest) -> None:
    """Note that the editor cancelled a request."""
    _note(session, request, Outcome(reason="cancelled"))


def did_show(session: Session, params: Any) -> None:
    """Note that the editor shows an edit."""
    item = params.get("item") if isinstance(params, dict) else None
    command = item.get("command") if isinstance(item, dict) else None
    arguments = command.get("arguments") if isinstance(command, dict) else None
    if isinstance(arguments, list) and arguments:
        session.next_edits.shown(arguments[0])


async def accepted(session: Session, offer_id: Any = None, *_: Any) -> None:
    """Note that the user accepted an edit; the edit's own command runs this."""
    session.next_edits.accepted(offer_id)


async def rejected(session: Session, offer_id: Any = None, *_: Any) -> None:
    """Note that the user dismissed an edit: it stays away, and for a moment so does any other."""
    session.next_edits.rejected(offer_id)


def as_json(offer: Offer, snapshot: Snapshot) -> dict[str, Any]:
    """Return an offer in the form of Copilot's language server, in the editor's units."""
    start, end = snapshot.position(offer.edit.start), snapshot.position(offer.edit.end)
    return {
        "text": offer.edit.new,
        "range": {
            "start": {"line": start.line, "character": start.character},
            "end": {"line": end.line, "character": end.character},
        },
        "textDocument": {"uri": snapshot.uri, "version": snapshot.version},
        "command": {"title": "Accept the edit", "command": ACCEPTED_COMMAND, "arguments": [offer.id]},
    }


async def _guarded(session: Session, request: EditRequest) -> Outcome:
    try:
        return await _find(session, request)
    except Exception as error:
        logger.error("looking for the next edit failed: %s", without_values(error))
        return Outcome(reason="internal error", detail=type(error).__name__)


async def _find(session: Session, request: EditRequest) -> Outcome:
    snapshot, edits = request.snapshot, session.next_edits
    if snapshot is None:
        return Outcome(reason="not open", detail=session.documents.why_not_served(request.uri))
    if off := await _kept_silent(session, snapshot):
        return off
    await asyncio.sleep(edits.wait_s(snapshot, request.cursor))
    if session.documents.revision(snapshot.uri) != snapshot.revision:
        return Outcome(reason="stale", detail="the document changed meanwhile")
    question, detail = edits.question(snapshot, request.cursor), "nothing follows from the change"
    found = await asyncio.to_thread(find_edits, question)
    if not found and session.settings.generate_next_edits:
        written = await edit_by_model(session, snapshot, question)
        found, detail = [written.edit] if written.edit else [], written.detail
    edit = edits.choose(snapshot, found)
    if edit is None:
        detail = "what is due was dismissed, passed over, or leads back" if found else detail
        return Outcome(reason="nothing due", detail=detail)
    return Outcome(reason="edit", detail=edit.why, snapshot=snapshot, edit=edit)


async def _kept_silent(session: Session, snapshot: Snapshot) -> Outcome | None:
    """Return the reason why nothing is looked for, or None."""
    if not session.settings.next_edits:
        return Outcome(reason="disabled", detail="the setting nextEdits turns them off")
    if silent := session.next_edits.why_silent(snapshot.uri):
        return Outcome(reason="not asked", detail=silent)
    kept = turned_off_because(session, snapshot, is_invoked=False) or await kept_out_because(session, snapshot.uri)
    return Outcome(reason=kept.reason, detail=kept.detail) if kept else None


def _at_present(session: Session, outcome: Outcome) -> Outcome:
    """Return an outcome for the text as it is now: an edit moves along with later changes, or is dropped."""
    if outcome.edit is None or outcome.snapshot is None:
        return outcome
    uri, revision = outcome.snapshot.uri, outcome.snapshot.revision
    if session.documents.revision(uri) == revision:
        return outcome
    now, changes = session.documents.snapshot(uri), session.next_edits.history.changes_since(uri, revision)
    if now is not None and changes is not None and (edit := rebased(outcome.edit, changes, now.lines)):
        return Outcome(reason=outcome.reason, detail=outcome.detail, snapshot=now, edit=edit)
    return Outcome(reason="stale", detail="the document changed meanwhile")


def _note(session: Session, request: EditRequest, outcome: Outcome) -> None:
    session.request_log.record(
        Entry(
            request_id=request.request_id,
            method=INLINE_EDIT,
            document=unquote(request.uri.rpartition("/")[2]),
            reason=outcome.reason,
            detail=outcome.detail,
            ms=(time.perf_counter() - request.read_s) * 1000,
            at_s=session.request_log.now_s(),
        )
    )
