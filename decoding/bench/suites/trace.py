"""Runs `tabcast bench trace`: plays a recorded editing session through the real language server, as the editor did.

Every edit, request and cancellation is sent at its recorded time divided by the speed; a cancellation only if there is
no answer yet. The wire hides when a change was read, so each is followed by a small request: what is answered after
that one was sent after the change was read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

from decoding.bench.harness.live_server import (
    LiveCounters,
    engine_counters,
    find_engine,
    language_server,
    memory_mb,
    processor_s,
    request_timings,
    runtime_directory,
    wait_for_engine,
)
from decoding.bench.harness.lsp_client import LspClient
from decoding.bench.harness.recorded_session import Cancelled, Edited, Event, Opened, Requested
from decoding.bench.harness.text_units import from_units, position_of, to_units
from decoding.bench.suites import trace_keystrokes
from decoding.bench.suites.trace_judge import Played, PlayedRequest, summarise
from decoding.protocol import Address

# No server supports this request: it is refused as soon as it is read, at next to no cost.
MARK = "tabcast/mark"
LANGUAGE = "python"  # the only language of the shipped model
PATIENCE_S = 15.0


def run(
    command: Sequence[str],
    events: Sequence[Event],
    speed: float,
    rows: list[dict[str, object]],
    on_event: Callable[[], None] = lambda: None,
) -> None:
    """Play the events to the language server of this command; `rows` is filled even if it is interrupted."""
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
    folder = runtime / "workspace"
    folder.mkdir()
    async with language_server(command, runtime) as server:
        await server.initialize(folder)
        health = await wait_for_engine(server)
        engine = find_engine(runtime)
        before = State.read(server, engine)
        live = await LiveCounters.open(engine) if engine else None
        player = Player(server, LANGUAGE, live, folder)
        try:
            await player.play(events, speed, on_event)
        finally:
            if live is not None:
                live.close()
            facts = before.facts(State.read(server, engine), len(player.played.requests))
            facts["settings"] = (
                f"speed {speed:g}; engine: {health['model'] or 'none'} on {health['device'] or 'nothing'}; "
                f"every document opened as {LANGUAGE}, whatever it is"
            )
            rows.extend(summarise(player.played, server.answers, facts, request_timings(server.log())))


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Memory and counters at one moment; a value that can't be told is None or missing."""

    server_mb: float | None
    server_s: float | None
    engine_mb: float | None
    counters: dict[str, float]

    @classmethod
    def read(cls, server: LspClient, engine: Address | None) -> State:
        """Read the state as it is now."""
        return cls(
            server_mb=memory_mb(server.pid),
            server_s=processor_s(server.pid),
            engine_mb=memory_mb(engine.pid) if engine else None,
            counters=engine_counters(engine) if engine else {},
        )

    def facts(self, after: State, num_requests: int) -> dict[str, object]:
        """Return what changed up to `after`, for the report; the front end's processor time includes that of edits."""
        counted = {name: value - self.counters.get(name, 0) for name, value in after.counters.items()}
        asked, steps = counted.get("tabcast_requests_total", 0), counted.get("tabcast_steps_total", 0)
        prefilled = counted.get("tabcast_prefilled_tokens_total", 0)
        used_s = None if self.server_s is None or after.server_s is None else after.server_s - self.server_s
        return {
            "server_cpu_ms_per_request": round(used_s * 1e3 / num_requests, 2) if used_s and num_requests else None,
            "engine_requests": int(asked) if after.counters else None,
            "prefilled_tokens_per_request": round(prefilled / asked, 1) if asked else None,
            "tokens_per_step": round(counted["tabcast_tokens_total"] / steps, 3) if steps else None,
            "server_mb_start": self.server_mb,
            "server_mb_end": after.server_mb,
            "engine_mb_start": self.engine_mb,
            "engine_mb_end": after.engine_mb,
        }


class Player:
    """An editor that does what the recording says; `language` is the one that documents are opened with.

    With a `folder` the documents are files there, too, as they are when they are opened first. With the engine's
    `counters` it notes what each request cost: what was computed between it and the next event.
    """

    def __init__(
        self, server: LspClient, language: str, counters: LiveCounters | None = None, folder: Path | None = None
    ) -> None:
        self.played = Played()
        self._folder = folder
        self._server = server
        self._language = language
        self._counters = counters
        self._counts: list[tuple[PlayedRequest | None, asyncio.Future[dict[str, float]]]] = []
        self._uncounted: PlayedRequest | None = None
        self._documents: dict[int, _Document] = {}
        self._pending: dict[int, list[PlayedRequest]] = {}  # by document, requests that no change has followed yet
        self._ids: dict[int, int] = {}  # our request id by the recorded number

    async def play(self, events: Sequence[Event], speed: float, on_event: Callable[[], None] = lambda: None) -> None:
        """Play all events and wait for unanswered requests, even when cancelled."""
        began = time.perf_counter()
        try:
            for event in events:
                due = began + event.at_ms / 1e3 / speed
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                self._count()
                self.played.lateness_ms.append((time.perf_counter() - due) * 1e3)
                self._do(event)
                on_event()
        finally:
            await self._server.settle(self.played.ids(), PATIENCE_S)
            await self._settle_counts()

    def _count(self) -> None:
        """Ask what the engine has computed by now, which counts for the last request."""
        if self._counters is not None and (self._uncounted is not None or not self._counts):
            self._counts.append((self._uncounted, self._counters.ask()))
            self._uncounted = None

    async def _settle_counts(self) -> None:
        self._count()
        counted = [(request, await found) for request, found in self._counts]
        for (_, before), (request, after) in pairwise(counted):
            num_asked, num_prefilled = (
                int(after.get(name, 0) - before.get(name, 0))
                for name in ("tabcast_requests_total", "tabcast_prefilled_tokens_total")
            )
            if request is not None and num_asked > 0:
                request.num_prefilled = num_prefilled

    def _do(self, event: Event) -> None:
        if isinstance(event, Opened):
            self._open(event)
        elif isinstance(event, Edited):
            self._edit(event)
        elif isinstance(event, Requested):
            self._ask(event)
        elif isinstance(event, Cancelled):
            self._cancel(event)

    def _open(self, event: Opened) -> None:
        document = self._documents.get(event.document)
        if document is None:
            document = _Document(uri=self._place(event), units=to_units(event.text))
            self._documents[event.document] = document
            item = {"uri": document.uri, "languageId": self._language, "version": document.version, "text": event.text}
            self._server.notify("textDocument/didOpen", {"textDocument": item})
        else:  # the text was replaced, for example after a change on disk
            document.units = to_units(event.text)
            self._changed(event.document, [{"text": event.text}])

    def _place(self, event: Opened) -> str:
        """Return the URI of a document; a path that leads out of the folder gets no file."""
        file = (self._folder / event.path).resolve() if self._folder else None
        if self._folder is None or file is None or self._folder.resolve() not in file.parents:
            return f"file:///recording/{quote(event.path)}"
        with suppress(OSError):  # two documents of a recording may need one path as file and as folder
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(event.text, encoding="utf-8", errors="replace")
        return file.as_uri()

    def _edit(self, event: Edited) -> None:
        document = self._documents[event.document]
        changes = []
        for start, end, text in event.edits:  # from the last to the first, so that offsets stay valid
            place = {"start": position_of(document.units, start), "end": position_of(document.units, end)}
            changes.append({"range": place, "text": from_units(text)})
        document.units = event.apply(document.units)
        self._changed(event.document, changes)

    def _changed(self, number: int, changes: list[dict[str, Any]]) -> None:
        document = self._documents[number]
        document.version += 1
        identity = {"uri": document.uri, "version": document.version}
        self._server.notify("textDocument/didChange", {"textDocument": identity, "contentChanges": changes})
        mark = self._server.request(MARK, None)
        self.played.marks.append(mark)
        for request in self._pending.pop(number, []):
            request.change_mark, request.next_key_s = mark, time.perf_counter()

    def _ask(self, event: Requested) -> None:
        document = self._documents[event.document]
        params = {
            "textDocument": {"uri": document.uri},
            "position": position_of(document.units, event.offset),
            "context": {"triggerKind": 1 if event.by_hand else 2},
        }
        sent_s = time.perf_counter()
        number = self._server.request("textDocument/inlineCompletion", params)
        kind = trace_keystrokes.kind_of(document.asked, (document.units, event.offset))
        document.asked = (document.units, event.offset)
        request = PlayedRequest(id=number, units=document.units, offset=event.offset, sent_s=sent_s, kind=kind)
        self._ids[event.request] = number
        self._uncounted = request
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
    asked: tuple[str, int] | None = None  # the text and the cursor of the last request
