"""Serves `textDocument/inlineCompletion`: how a request is read, superseded, cancelled and answered.

`read` runs while the request is being read and takes the snapshot; `answer` is the coroutine that answers it, with a
function that makes the answer at the moment when it is sent. A request is answered with null only if a newer one of its
document came; nothing to suggest is an empty list.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial

from attrs import evolve
from lsprotocol import types

from lsp_server.completion.completer import complete
from lsp_server.completion.pending import CompletionResult, PendingRequest
from lsp_server.features.status import status_of
from lsp_server.log import without_values
from lsp_server.session import Session

logger = logging.getLogger(__name__)

SUPERSEDED = CompletionResult(reason="superseded")
INVOKED = types.InlineCompletionTriggerKind.Invoked


def read(
    session: Session,
    request_id: int | str,
    params: types.InlineCompletionParams,
    method: str = types.TEXT_DOCUMENT_INLINE_COMPLETION,
) -> PendingRequest:
    """Bind a request to the document as it is now, and supersede an older request of its document and method."""
    uri = params.text_document.uri
    if (older := session.pending.get((uri, method))) and not older.outcome.done():
        older.outcome.set_result(SUPERSEDED)
    view = session.view(uri, params.position, params.context.selected_completion_info)
    request = PendingRequest(
        request_id=request_id,
        params=params if view is None else evolve(params, position=view.position),
        snapshot=None if view is None else view.snapshot,
        view=view,
        method=method,
        read_s=time.perf_counter(),
        outcome=asyncio.get_running_loop().create_future(),
    )
    token = session.server.protocol.partial_tokens.pop(request_id, None)
    if token is not None:
        request.tell = partial(_tell, session, request, token)
    if view is not None:  # a document that isn't open is never closed, which is when its requests are forgotten
        session.pending[uri, method] = request
        session.reading_ahead.asked(uri, params.position.line)
    return request


async def answer(session: Session, request: PendingRequest) -> Callable[[], types.InlineCompletionList | None]:
    """Return what makes the list for the editor; it makes None if a newer request was read."""
    outcome = await find(session, request)
    return partial(_list, session, request, outcome)


def _list(session: Session, request: PendingRequest, outcome: CompletionResult) -> types.InlineCompletionList | None:
    items = items_now(session, request, outcome)
    return None if items is None else types.InlineCompletionList(items=items[request.num_told :])


def _tell(session: Session, request: PendingRequest, token: int | str, outcome: CompletionResult) -> None:
    """Send the items that the editor doesn't have yet, as a part of the result."""
    if request.outcome.done():
        return
    items = session.show_items(request, outcome)[request.num_told :]
    request.num_told += len(items)
    request.told_s = request.told_s or time.perf_counter()
    session.server.protocol.notify(types.PROGRESS, types.ProgressParams(token=token, value=items))


async def find(session: Session, request: PendingRequest) -> CompletionResult:
    """Look for an answer until there is one, or until a newer request is read."""
    work = None if request.outcome.done() else asyncio.create_task(_work(session, request))
    try:
        return await request.outcome
    finally:
        if work is not None:
            work.cancel()


def items_now(
    session: Session, request: PendingRequest, outcome: CompletionResult
) -> list[types.InlineCompletionItem] | None:
    """Return the items for the document as it is when they are sent, and log it; None if a newer request was read."""
    if (
        outcome.items
        and request.snapshot
        and session.documents.revision(request.snapshot.uri) != request.snapshot.revision
    ):
        # A change was read after the result was found.
        outcome = CompletionResult(reason="stale", detail="the document changed meanwhile", engine=outcome.engine)
    _note(session, request, outcome)
    if outcome is SUPERSEDED:
        return None
    return session.show_items(request, outcome)


def cancelled(session: Session, request: PendingRequest) -> None:
    """Note that the editor cancelled a request, perhaps before any work on it."""
    _note(session, request, CompletionResult(reason="cancelled"))


def _note(session: Session, request: PendingRequest, outcome: CompletionResult) -> None:
    ms = ((request.told_s or time.perf_counter()) - request.read_s) * 1000
    session.note(request, outcome, ms)
    # `tabcast bench trace` reads this line.
    logger.info(
        "request %s: %s in %.2f ms, engine %.2f ms, pause %.2f ms",
        request.request_id,
        outcome.reason,
        ms,
        request.engine_s * 1000,
        request.paused_s * 1000,
    )


def _tell_of_loading(session: Session, request: PendingRequest) -> None:
    """Tell a user who asks by hand that the suggestion has to wait until the engine has loaded its models."""
    status = status_of(session)
    if status["state"] == "loading" and request.params.context.trigger_kind == INVOKED:
        text = f"Tabcast: {status['message']}; the suggestion comes as soon as that is done"
        session.server.window_show_message(types.ShowMessageParams(type=types.MessageType.Info, message=text))


async def _work(session: Session, request: PendingRequest) -> None:
    if request.outcome.done():  # it was superseded or cancelled before this task's turn
        return
    _tell_of_loading(session, request)
    try:
        outcome = await complete(session, request)
    except Exception as error:
        logger.error("request %s failed: %s", request.request_id, without_values(error))
        outcome = CompletionResult(reason="internal error", detail=type(error).__name__)
    if not request.outcome.done():
        request.outcome.set_result(outcome)
