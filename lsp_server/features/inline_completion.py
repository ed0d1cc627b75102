"""`textDocument/inlineCompletion`: snapshot, trigger, type-through, engine, filters, staleness check, one item.

`read` runs while the request is being read and takes the snapshot; `answer` is the coroutine that answers it.
A request is answered with null only if a newer one of its document came; nothing to suggest is an empty list.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from dataclasses import replace

from lsprotocol import types

from decoding.protocol import CompletionRequest, CompletionStats
from lsp_server.adapters import Wanted
from lsp_server.context.budget import cut_around
from lsp_server.context.paths import locate
from lsp_server.documents import Cursor, Place, Snapshot
from lsp_server.engine_client import EngineUnavailable
from lsp_server.filters import filter_text
from lsp_server.filters.end import find_end
from lsp_server.filters.suffix import cut_suffix, num_replaced
from lsp_server.log import without_values
from lsp_server.session import Asked, Outcome, Session
from lsp_server.suggestions import Suggestion, rest_of
from lsp_server.trigger import Mode, decide

logger = logging.getLogger(__name__)

SUPERSEDED = Outcome(reason="superseded")


def read(session: Session, request_id: int | str, params: types.InlineCompletionParams) -> Asked:
    """Bind a request to the document as it is now, and end an older request of the same document."""
    uri = params.text_document.uri
    if (older := session.asked.get(uri)) and not older.outcome.done():
        older.outcome.set_result(SUPERSEDED)
    asked = Asked(
        request_id=request_id,
        params=params,
        snapshot=session.documents.snapshot(uri),
        read_s=time.perf_counter(),
        outcome=asyncio.get_running_loop().create_future(),
    )
    session.asked[uri] = asked
    return asked


async def answer(session: Session, asked: Asked) -> types.InlineCompletionList | None:
    """The list for the editor, with one item or none; None if a newer request was read."""
    work = None if asked.outcome.done() else asyncio.create_task(_work(session, asked))
    try:
        outcome = await asked.outcome
    except asyncio.CancelledError:
        _note(session, asked, Outcome(reason="cancelled"))
        raise
    finally:
        if work is not None:
            work.cancel()
    _note(session, asked, outcome)
    if outcome is SUPERSEDED:
        return None
    return types.InlineCompletionList(items=[] if outcome.item is None else [outcome.item])


def _note(session: Session, asked: Asked, outcome: Outcome) -> None:
    ms = (time.perf_counter() - asked.read_s) * 1000
    session.last_outcome = replace(outcome, ms=ms)
    logger.info("request %s: %s in %.0f ms", asked.request_id, outcome.reason, ms)


async def _work(session: Session, asked: Asked) -> None:
    try:
        outcome = await _find(session, asked)
    except Exception as error:
        logger.error("request %s failed: %s", asked.request_id, without_values(error))
        outcome = Outcome(reason="internal error", detail=type(error).__name__)
    if not asked.outcome.done():
        asked.outcome.set_result(outcome)


async def _find(session: Session, asked: Asked) -> Outcome:
    snapshot, settings = asked.snapshot, session.settings
    if snapshot is None:
        return Outcome(reason="not open", detail="the editor did not open this document")
    if not settings.enabled or snapshot.language in settings.disabled_languages:
        return Outcome(reason="disabled", detail="the settings turn suggestions off here")
    cursor = snapshot.cursor(asked.params.position)
    place = snapshot.place(cursor)
    is_invoked = asked.params.context.trigger_kind == types.InlineCompletionTriggerKind.Invoked
    decision = decide(place, is_invoked=is_invoked)
    if decision.mode is None:
        return Outcome(reason="not asked", detail=decision.reason)
    last = session.suggested.get(snapshot.uri)
    if last and (rest := cut_suffix(rest_of(last, snapshot, cursor) or "", place, last.mode)).strip():
        return Outcome(reason="typed through", item=make_item(rest, snapshot, cursor))
    return await _ask(session, snapshot, cursor, decision.mode)


async def _ask(session: Session, snapshot: Snapshot, cursor: Cursor, mode: Mode) -> Outcome:
    health = session.engine.health
    if health.status != "ready":
        session.engine.wake()
        return Outcome(reason=f"engine {health.status}", detail=session.engine.problem or health.detail)
    if health.languages and snapshot.language not in health.languages:
        known = ", ".join(health.languages)
        return Outcome(reason="language", detail=f"the model knows {known} and not {snapshot.language}")
    place = snapshot.place(cursor)
    try:
        text = await _stream(session, _request(session, snapshot, cursor, mode), place, mode)
    except EngineUnavailable as error:
        session.engine.note_problem(error)
        session.engine.wake()
        return Outcome(reason=f"engine {error.code}", detail=str(error))
    text, dropped_by = filter_text(text, place, mode)
    if not text:
        return Outcome(reason="filtered", detail=f"the filter '{dropped_by}' left nothing")
    session.suggested[snapshot.uri] = Suggestion(snapshot=snapshot, cursor=cursor, text=text, mode=mode)
    if session.documents.revision(snapshot.uri) != snapshot.revision:
        return Outcome(reason="stale", detail="the document changed meanwhile")
    return Outcome(reason="shown", item=make_item(text, snapshot, cursor))


async def _stream(session: Session, request: CompletionRequest, place: Place, mode: Mode) -> str:
    """The engine's text until its block is complete; if tokens or time ran out before, its whole lines."""
    text = ""
    try:
        async with asyncio.timeout(session.settings.deadline_ms / 1000):
            async with aclosing(session.engine.complete(request)) as parts:
                async for part in parts:
                    if isinstance(part, CompletionStats):
                        return _whole_lines(text) if part.reason == "length" and mode == "block" else text
                    text += part
                    if find_end(text, place, mode) is not None:
                        break
    except TimeoutError:
        return _whole_lines(text)
    return text


def _whole_lines(text: str) -> str:
    return text[: text.rfind("\n") + 1]


def _request(session: Session, snapshot: Snapshot, cursor: Cursor, mode: Mode) -> CompletionRequest:
    settings = session.settings
    cut = cut_around(snapshot, cursor, prefix_chars=settings.prefix_chars, suffix_chars=settings.suffix_chars)
    location = locate(snapshot.uri, session.folder_uris())
    last = session.suggested.get(snapshot.uri)
    return session.adapter.render(
        Wanted(
            prefix=cut.prefix,
            suffix=cut.suffix,
            mode=mode,
            max_tokens=settings.max_line_tokens if mode == "line" else settings.max_block_tokens,
            path=location.path,
            repo=location.repo,
            language=snapshot.language,
            session=f"{session.name}:{snapshot.uri}",
            hints=() if last is None else (last.text,),
        )
    )


def make_item(text: str, snapshot: Snapshot, cursor: Cursor) -> types.InlineCompletionItem:
    """An item with the range that all editors render rightly.

    At the end of a line it begins with the line, which survives Backspace in VS Code, or behind the line's last
    character outside the basic plane, since VS Code shows no item that reaches back over one. In mid-line it begins
    at the cursor, since Neovim would hide what follows. It ends behind the cursor only over closers that the text
    brings too.
    """
    place = snapshot.place(cursor)
    start, end = cursor, Cursor(cursor.line, cursor.column + num_replaced(text, place.tail))
    if not place.tail.strip():
        column = max((i for i, character in enumerate(place.head, 1) if character > "\uffff"), default=0)
        start, text = Cursor(cursor.line, column), place.head[column:] + text
    return types.InlineCompletionItem(
        insert_text=text, range=types.Range(start=snapshot.position(start), end=snapshot.position(end))
    )
