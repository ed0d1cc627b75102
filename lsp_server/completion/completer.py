"""Answers one request: decide whether to ask, look in the cache, join a text in flight, or ask the engine.

Results are cached, and the next request that would follow an acceptance is prefetched. It must not know how requests
are read or answered.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Final

from lsprotocol import types

from lsp_server.completion.alternatives import AskedPlace, other_texts
from lsp_server.completion.ask_engine import ShownText, prefetch, start_generation
from lsp_server.completion.build_request import text_around
from lsp_server.completion.cache import Remainder, cursor_context
from lsp_server.completion.eagerness import bound_for, place_of
from lsp_server.completion.edit_here import edit_here
from lsp_server.completion.first_text import wait_for_either
from lsp_server.completion.in_flight import Generation
from lsp_server.completion.items import before_replaced, make_item
from lsp_server.completion.kept_out import kept_out_because, turned_off_because
from lsp_server.completion.pending import CompletionResult, PendingRequest, nothing_left
from lsp_server.completion.replacing import follow
from lsp_server.completion.services import CompletionServices
from lsp_server.completion.trigger import debounce_s, decide, disabled_scope
from lsp_server.documents.store import Cursor, Snapshot
from lsp_server.engine.client import EngineUnavailable
from lsp_server.filters import IMPROBABLE, Surroundings
from lsp_server.filters.calibration import SHOWS_ALL, bounds_of
from lsp_server.filters.confidence import cut_unlikely, is_worth_showing
from lsp_server.filters.deleted import drop_deleted
from lsp_server.filters.surroundings import Mode

MAX_TURNS: Final = 3
FIRST: Final = "first text"
# chosen: the first text is kept back no longer than this by others; those that are not there by then don't come. Asked
# again at the same place, where the first is remembered, they have all of it.
MAX_FIRST_S: Final = 1.0
# chosen: where the first is shown already, others may come for so long.
MAX_OTHERS_S: Final = 5.0
# chosen: a prefetch waits so long, so that the answer itself goes out first.
AHEAD_S: Final = 0.005


async def complete(services: CompletionServices, request: PendingRequest) -> CompletionResult:
    """Return the suggestions for a request, or the reason why there are none."""
    snapshot, settings = request.snapshot, services.settings
    if snapshot is None:
        return CompletionResult(
            reason="not open", detail=services.documents.why_not_served(request.params.text_document.uri)
        )
    is_invoked = request.params.context.trigger_kind == types.InlineCompletionTriggerKind.Invoked
    if turned_off := turned_off_because(services, snapshot, is_invoked=is_invoked):
        return turned_off
    answered = await kept_out_because(services, snapshot.uri) or await edit_here(services, request, snapshot)
    if answered or request.outcome.done():  # the request may have been superseded while it waited
        return answered or request.outcome.result()
    task = CompletionTask(services, request, snapshot, is_invoked=is_invoked)
    entry = "" if is_invoked else disabled_scope(task.spot.place, task.spot.language, settings.disabled_scopes)
    decision = decide(task.spot.place, is_invoked=is_invoked, language=task.spot.language)
    if entry or decision.mode is None:
        detail = f"the setting disabledScopes has {entry}" if entry else decision.reason
        return CompletionResult(reason="disabled" if entry else "not asked", detail=detail)
    outcome = await task.find(decision.mode)
    if outcome.reason == FIRST and task.followed is not None:
        follow(services, snapshot, task.followed, task.shown, task.bounds_ahead)
        return outcome
    if outcome.items and is_invoked:
        outcome = await task.with_alternatives(outcome, decision.mode)
    if outcome.items:
        asyncio.get_running_loop().call_later(
            AHEAD_S, partial(prefetch, services, snapshot, task.shown, task.bounds_ahead)
        )
    return outcome


class CompletionTask:
    """The work on one request until its answer is found."""

    def __init__(
        self, services: CompletionServices, request: PendingRequest, snapshot: Snapshot, *, is_invoked: bool
    ) -> None:
        self._services = services
        self._request = request
        self._snapshot = snapshot
        self._cursor = snapshot.cursor(request.params.position)
        num_above = request.view.num_above if request.view else 0
        self._in_document = Cursor(self._cursor.line - num_above, self._cursor.column)
        self._is_invoked = is_invoked
        self._read_s = time.monotonic()
        self.spot = cursor_context(snapshot, self._cursor)
        self.about = place_of(self.spot.place, snapshot.language)
        self.shown = ShownText(self._cursor, "")
        self.wanted = bound_for(services.settings, services.habits, self.about)
        self.bounds_ahead = bounds_of(self.wanted, services.engine.health.model)
        self.bounds = SHOWS_ALL if is_invoked else self.bounds_ahead
        self.followed: Generation | None = None

    async def find(self, mode: Mode) -> CompletionResult:
        """Look in the cache, then wait for a text in flight that fits, then ask the engine."""
        keystrokes, in_flight = self._services.keystrokes, self._services.in_flight
        in_flight.use_model(self._services.engine.health.model)
        deletion = keystrokes.deletion_just_now(self._snapshot.uri, self._in_document, self._read_s)
        may_ask = self._is_invoked or self._services.settings.after_deletion or deletion is None
        if not may_ask and deletion and deletion.is_by_key:
            return CompletionResult(reason="not asked", detail="something was just deleted")
        reason = "shown"
        for turn in range(MAX_TURNS):
            if known := self._known(mode, reason, is_new=turn == 0):
                return known
            if not may_ask:
                return CompletionResult(reason="not asked", detail="something was just deleted")
            if problem := await self._engine_problem():
                return problem
            generation = in_flight.joinable(self.spot, self.bounds)
            if generation is None:
                await self._prepare()
                await self._pause()
                place = (self._snapshot, self._cursor, mode, self.bounds)
                generation = start_generation(self._services, *place, is_invoked=self._is_invoked)
                reason = "shown"
            else:
                in_flight.count("joined")
                reason = "joined"
            if problem := await self._wait(generation):
                return problem
        return CompletionResult(reason="engine lost", detail="the engine's work was ended again and again")

    def _known(self, mode: Mode, reason: str, *, is_new: bool) -> CompletionResult | None:
        """Return the result for a text that is in the cache, None where there is none or the server's is still to come.

        `is_new` is true until something was waited for.
        """
        in_flight = self._services.in_flight
        if (rest := in_flight.find(self.spot, mode, self.bounds)) is None:
            return None
        if rest.suggestion.is_first and not (is_new and rest.num_typed):
            self.followed = in_flight.joinable(self.spot, self.bounds)
            if self.followed is None:
                return None  # the server's text was given up before it was there
            in_flight.count("first")
            return self._show(rest, FIRST)
        if is_new:
            in_flight.count("local")
            reason = "typed through" if rest.num_typed else "remembered"
        return self._show(rest, reason)

    async def with_alternatives(self, outcome: CompletionResult, mode: Mode) -> CompletionResult:
        """Return the result with other texts for this place behind its first, if the engine has any.

        Where the editor takes results in parts, each goes out at once, and the answer need not wait for the first.
        """
        request, cursor = self._request, self._cursor
        left_s = MAX_OTHERS_S if request.tell else MAX_FIRST_S - request.engine_s
        place = AskedPlace(self._snapshot, cursor, mode, self._replaceable)
        if request.tell:
            request.tell(outcome)
        if left_s <= 0:
            return outcome
        sent_s = time.perf_counter()
        async with aclosing(other_texts(self._services, place, self.shown.text, left_s)) as texts:
            async for text in texts:
                if self._services.documents.revision(self._snapshot.uri) != self._snapshot.revision:
                    return CompletionResult(reason="stale", detail="the document changed meanwhile")
                outcome = replace(outcome, items=(*outcome.items, make_item(text, self._snapshot, cursor)))
                if request.tell:
                    request.tell(outcome)
        request.engine_s += time.perf_counter() - sent_s
        return outcome

    async def _wait(self, generation: Generation) -> CompletionResult | None:
        """Wait until a text is finished. Return None if all went well, else the result that ends the request.

        A text that typing contradicts is cancelled.
        """
        services, sent_s = self._services, time.perf_counter()
        try:
            async with asyncio.timeout(services.settings.deadline_ms / 1000):
                if not await wait_for_either(generation, self.spot):
                    generation.cancel()
        except TimeoutError:
            services.engine.note_deadline()
            suggestion = generation.cut_short()
            if not suggestion.text:  # not cached, so that the next request tries again
                return CompletionResult(reason="late", detail="nothing came from the engine before the deadline")
            services.in_flight.cache.add(suggestion)
        except EngineUnavailable as error:
            if error.code == "superseded":
                return CompletionResult(reason="superseded in the engine", detail=str(error))
            services.engine.note_problem(error)
            services.engine.wake()
            return CompletionResult(reason=f"engine {error.code}", detail=str(error))
        finally:
            self._request.engine_s += time.perf_counter() - sent_s
        return None

    def _show(self, rest: Remainder, reason: str) -> CompletionResult:
        """Return the result for a text if it still fits the document and is worth showing."""
        services, snapshot, stats = self._services, self._snapshot, rest.suggestion.stats
        text = self._probable(rest) if rest.text else ""
        if not text:
            return nothing_left(IMPROBABLE if rest.text else rest.dropped_by, stats, self.wanted)
        if detail := self._unwanted(text):
            return CompletionResult(reason="filtered", detail=detail, engine=stats)
        if not (text := self._replaceable(text)).strip():
            return CompletionResult(
                reason="filtered", detail="the editor can't replace the closers behind the cursor", engine=stats
            )
        if services.documents.revision(snapshot.uri) != snapshot.revision:
            return CompletionResult(reason="stale", detail="the document changed meanwhile", engine=stats)
        services.in_flight.cache.note_shown(rest, text)
        self.shown = ShownText(self._cursor, text)
        detail = f"by {rest.suggestion.author}" if rest.suggestion.author else ""
        items = (make_item(text, snapshot, self._cursor),)
        return CompletionResult(reason=reason, detail=detail, items=items, engine=stats, about=self.about)

    def _unwanted(self, text: str) -> str:
        """Return why a text should stay away: the user deleted or dismissed it here a moment ago; "" if not."""
        services, uri, place = self._services, self._snapshot.uri, self.spot.place
        for deleted in services.keystrokes.deleted_at(uri, self._in_document, self._read_s):
            if not drop_deleted(text, Surroundings(place=place, mode="line", deleted=deleted)):
                return "the filter 'deleted' left nothing"
        is_dismissed = services.shown_items.was_rejected(uri, self._in_document.line, place.head + text)
        return "it was dismissed here a moment ago" if is_dismissed and not self._is_invoked else ""

    def _replaceable(self, text: str) -> str:
        """Return the part of a text that an editor can insert if it can't replace closers behind the cursor."""
        return text if self._services.replaces_behind_cursor else before_replaced(text, self.spot.place)

    def _probable(self, rest: Remainder) -> str:
        """Return the part of a text that is probable enough.

        A text that was shown shrinks as it is typed, but never vanishes.
        """
        spot, spans = self.spot, rest.suggestion.spans
        text = cut_unlikely(rest.text, spans, rest.num_typed, self.bounds, spot.place, spot.language)
        shown = rest.text[: max(0, rest.num_shown - rest.num_typed)]
        text = max(text, shown, key=len)
        is_enough = bool(shown.strip()) or self.bounds.shows_all or is_worth_showing(text)
        return text if text.strip() and is_enough else ""

    async def _engine_problem(self) -> CompletionResult | None:
        """Return the reason why the engine can't be asked, or None. One that still loads is waited for."""
        engine, snapshot = self._services.engine, self._snapshot
        if engine.health.status != "ready":
            waits_s = time.perf_counter()
            await engine.until_ready()
            self._request.engine_s += time.perf_counter() - waits_s
            if self._services.documents.revision(snapshot.uri) != snapshot.revision:
                return CompletionResult(reason="stale", detail="the document changed while the engine was loading")
        health, language = engine.health, snapshot.language
        if health.status != "ready":
            return CompletionResult(reason=f"engine {health.status}", detail=engine.problem or health.detail)
        if health.languages and language not in health.languages:
            known = ", ".join(health.languages)
            return CompletionResult(reason="language", detail=f"the model knows {known} and not {language}")
        return None

    async def _prepare(self) -> None:
        """Gather context. Other slow work at a new place is done while the gathering thread runs."""
        context, tokens = self._services.context, self._services.engine.health.context_tokens
        preparing = asyncio.ensure_future(
            context.prepare(self._snapshot, self._cursor.line, self._services.settings.context, tokens)
        )
        await asyncio.sleep(0)
        if not preparing.done():
            text_around(self._snapshot, self._cursor, self._services.settings)
        await preparing

    async def _pause(self) -> None:
        """Debounce: wait for another key where one is likely to come."""
        if self._is_invoked:
            return
        keystrokes, uri = self._services.keystrokes, self._snapshot.uri
        pause_s = debounce_s(
            self.spot.place,
            gap_s=keystrokes.gap_s(uri),
            since_change_s=keystrokes.since_change_s(uri, self._read_s),
            answer_s=self._services.in_flight.answer_s,
        )
        if pause_s:
            self._request.paused_s += pause_s  # the planned time: a sleep that takes longer counts as latency
            await asyncio.sleep(pause_s)
