"""`tabcast bench trace`: plays a recorded editing session through the real language server, as the editor did.

Every edit, request and cancellation is sent at its recorded time divided by the speed; a cancellation only if there is
no answer yet. An answer is stale if it doesn't fit the text that it was asked for, or if it brings a suggestion after
the server has read a later change of that document. The wire hides when a change was read, so each is followed by a
small request: what is answered after that one was sent after the change was read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from decoding.bench import metrics
from decoding.bench.lsp_client import CANCELLED, Answer, LspClient
from decoding.bench.product import (
    WHY,
    engine_counters,
    find_engine,
    language_server,
    memory_mb,
    runtime_directory,
    wait_for_engine,
)
from decoding.bench.recording import Asked, Cancelled, Edited, Event, Opened
from decoding.bench.text_units import from_units, offset_of, position_of, to_units
from decoding.protocol import Address

LANGUAGE = "python"  # what the shipped model knows
PATIENCE_S = 15.0


def run(
    command: Sequence[str],
    events: Sequence[Event],
    speed: float,
    rows: list[dict[str, object]],
    on_event: Callable[[], None] = lambda: None,
) -> None:
    """Play the events to the language server of this command; `rows` is filled also if it is interrupted."""
    with runtime_directory() as runtime:
        asyncio.run(_run(command, runtime, events, speed, rows, on_event))


async def _run(
    command: Sequence[str],
    runtime: Path,
    events: Sequence[Event],
    speed: float,
    rows: list[dict[str, object]],
    on_event: Callable[[], None],
) -> None:
    async with language_server(command, runtime) as server:
        await server.initialize()
        health = await wait_for_engine(server)
        engine = find_engine(runtime)
        before = State.read(server, engine)
        player = Player(server, LANGUAGE)
        try:
            await player.play(events, speed, on_event)
        finally:
            facts = before.facts(State.read(server, engine))
            facts["settings"] = (
                f"speed {speed:g}; engine: {health['model'] or 'none'} on {health['device'] or 'nothing'}; "
                f"every document opened as {LANGUAGE}, whatever it is"
            )
            rows.extend(summarise(player.played, server.answers, facts))


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Memory and counters at one moment; what can't be told is None or missing."""

    server_mb: float | None
    engine_mb: float | None
    counters: dict[str, float]

    @classmethod
    def read(cls, server: LspClient, engine: Address | None) -> State:
        """As it is now."""
        return cls(
            server_mb=memory_mb(server.pid),
            engine_mb=memory_mb(engine.pid) if engine else None,
            counters=engine_counters(engine) if engine else {},
        )

    def facts(self, after: State) -> dict[str, object]:
        """What changed since, for the report; prompts count where the engine was let finish."""
        counted = {name: value - self.counters.get(name, 0) for name, value in after.counters.items()}
        prefilled = counted.get("tabcast_prompt_tokens_total", 0) - counted.get("tabcast_cached_tokens_total", 0)
        finished, steps = counted.get("tabcast_choices_total", 0), counted.get("tabcast_steps_total", 0)
        return {
            "prefilled_tokens_per_request": round(prefilled / finished, 1) if finished else None,
            "finished_by_engine": int(finished) if after.counters else None,
            "tokens_per_step": round(counted["tabcast_tokens_total"] / steps, 3) if steps else None,
            "server_mb_start": self.server_mb,
            "server_mb_end": after.server_mb,
            "engine_mb_start": self.engine_mb,
            "engine_mb_end": after.engine_mb,
        }


@dataclass(slots=True, kw_only=True)
class Request:
    """A completion request as it was sent, and what of its document changed first after it.

    `change_mark` is the id of the request that followed that change, `next_key_s` when it was sent.
    """

    id: int
    units: str
    offset: int
    sent_s: float
    change_mark: int = 0
    next_key_s: float = float("inf")


@dataclass(slots=True)
class Played:
    """What was sent; grows while it is played. `lateness_ms` is how far behind its time each event was sent."""

    requests: list[Request] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    lateness_ms: list[float] = field(default_factory=list)

    def ids(self) -> set[int]:
        """Every request that was sent."""
        return {*self.marks, *(request.id for request in self.requests)}


class Player:
    """An editor that does what the recording says; `language` is what documents are opened as."""

    def __init__(self, server: LspClient, language: str) -> None:
        self.played = Played()
        self._server = server
        self._language = language
        self._documents: dict[int, _Document] = {}
        self._pending: dict[int, list[Request]] = {}  # by document, those with no change after them
        self._ids: dict[int, int] = {}  # recorded request number to ours

    async def play(self, events: Sequence[Event], speed: float, on_event: Callable[[], None] = lambda: None) -> None:
        """Play all events and wait for what is unanswered; cancelled, it still waits for that."""
        began = time.perf_counter()
        try:
            for event in events:
                due = began + event.at_ms / 1e3 / speed
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                self.played.lateness_ms.append((time.perf_counter() - due) * 1e3)
                self._do(event)
                on_event()
        finally:
            await self._server.settle(self.played.ids(), PATIENCE_S)

    def _do(self, event: Event) -> None:
        if isinstance(event, Opened):
            self._open(event)
        elif isinstance(event, Edited):
            self._edit(event)
        elif isinstance(event, Asked):
            self._ask(event)
        elif isinstance(event, Cancelled):
            self._cancel(event)

    def _open(self, event: Opened) -> None:
        document = self._documents.get(event.document)
        if document is None:
            document = _Document(uri=f"file:///recording/{quote(event.path)}", units=to_units(event.text))
            self._documents[event.document] = document
            item = {"uri": document.uri, "languageId": self._language, "version": document.version, "text": event.text}
            self._server.notify("textDocument/didOpen", {"textDocument": item})
        else:  # its text was set anew, as by a change on disk
            document.units = to_units(event.text)
            self._changed(event.document, [{"text": event.text}])

    def _edit(self, event: Edited) -> None:
        document = self._documents[event.document]
        changes = []
        for start, end, text in event.edits:  # from the last to the first, so that offsets stay right
            place = {"start": position_of(document.units, start), "end": position_of(document.units, end)}
            changes.append({"range": place, "text": from_units(text)})
        document.units = event.apply(document.units)
        self._changed(event.document, changes)

    def _changed(self, number: int, changes: list[dict[str, Any]]) -> None:
        document = self._documents[number]
        document.version += 1
        identity = {"uri": document.uri, "version": document.version}
        self._server.notify("textDocument/didChange", {"textDocument": identity, "contentChanges": changes})
        mark = self._server.request("workspace/executeCommand", WHY)
        self.played.marks.append(mark)
        for request in self._pending.pop(number, []):
            request.change_mark, request.next_key_s = mark, time.perf_counter()

    def _ask(self, event: Asked) -> None:
        document = self._documents[event.document]
        params = {
            "textDocument": {"uri": document.uri},
            "position": position_of(document.units, event.offset),
            "context": {"triggerKind": 1 if event.by_hand else 2},
        }
        sent_s = time.perf_counter()
        number = self._server.request("textDocument/inlineCompletion", params)
        request = Request(id=number, units=document.units, offset=event.offset, sent_s=sent_s)
        self._ids[event.request] = number
        self.played.requests.append(request)
        self._pending.setdefault(event.document, []).append(request)

    def _cancel(self, event: Cancelled) -> None:
        sent = self._ids.get(event.request)
        if sent is not None and sent not in self._server.answers:
            self._server.notify("$/cancelRequest", {"id": sent})


@dataclass(slots=True, kw_only=True)
class _Document:
    uri: str
    units: str
    version: int = 1


def items_of(answer: Answer) -> list[dict[str, Any]]:
    """The suggestions of an answer, of any form that the protocol allows."""
    result = answer.result
    return (result.get("items") or []) if isinstance(result, dict) else (result or [])


def is_stale(request: Request, answers: dict[Any, list[Answer]]) -> bool:
    """Whether an answer doesn't fit its text, or came after the server had read a change of it."""
    for answer in answers.get(request.id, []):
        items = items_of(answer)
        marks = answers.get(request.change_mark, []) if request.change_mark else []
        if items and any(mark.order < answer.order for mark in marks):
            return True
        if not all(_fits(item, request) for item in items):
            return True
    return False


def _fits(item: dict[str, Any], request: Request) -> bool:
    """Whether an editor could show it: it goes on with what stands before the cursor, and keeps what is behind."""
    text = item["insertText"]
    text = to_units(text if isinstance(text, str) else text["value"])
    place = item.get("range")
    if place is None:
        return bool(text)
    start, end = offset_of(request.units, place["start"]), offset_of(request.units, place["end"])
    if start is None or end is None or not start <= request.offset <= end:
        return False
    typed, replaced = request.units[start : request.offset], request.units[request.offset : end]
    rest = iter(text[len(typed) :])
    return text.startswith(typed) and len(text) > len(typed) and all(unit in rest for unit in replaced)


def summarise(played: Played, answers: dict[Any, list[Answer]], facts: dict[str, object]) -> list[dict[str, object]]:
    """A row for all requests, with the facts, and one for those that brought a suggestion."""
    firsts = [(request, answers[request.id][0]) for request in played.requests if request.id in answers]
    found = [(request, answer) for request, answer in firsts if answer.result is not None]
    shown = [(request, answer) for request, answer in found if items_of(answer)]
    total = len(played.requests)
    counts = {
        "stale": sum(is_stale(request, answers) for request in played.requests),
        "not_answered_once": sum(len(answers.get(number, [])) != 1 for number in played.ids()),
        "superseded": sum(answer.result is None and not answer.error for _, answer in firsts),
        "cancelled": sum(answer.error == CANCELLED for _, answer in firsts),
        "failed": sum(answer.error not in (0, CANCELLED) for _, answer in firsts),
        "late_p99_ms": round(metrics.percentile(played.lateness_ms, 0.99), 1),
    }
    return [
        {"method": "all requests", "count": total, **_latency(found, total), **counts, **facts},
        {"method": "with a suggestion", "count": len(shown), **_latency(shown, len(shown))},
    ]


def _latency(pairs: Sequence[tuple[Request, Answer]], total: int) -> dict[str, object]:
    times = [(answer.at_s - request.sent_s) * 1e3 for request, answer in pairs]
    in_time = sum(answer.at_s < request.next_key_s for request, answer in pairs)
    return {
        "answered": len(pairs),
        "before_next_key_percent": round(100 * in_time / total, 1) if total else None,
        **{
            f"p{share}_ms": round(metrics.percentile(times, share / 100), 1) if times else None
            for share in (50, 90, 95, 99)
        },
    }
