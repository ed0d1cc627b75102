"""Runs `tabcast bench jump`: opens real files, goes to places in them, and types three keys at each.

The cursor rests for the think time before the first key, as a hand does that comes from reading. Times are from that
key to the first token that the engine computes, and to the first suggestion that the editor gets. Everything is shown,
however improbable, and no deadline ends the wait, so that each place has a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from decoding.bench.harness.jump_places import JumpFile
from decoding.bench.harness.live_server import (
    LiveCounters,
    find_engine,
    language_server,
    runtime_directory,
    wait_for_engine,
)
from decoding.bench.harness.lsp_client import LspClient
from decoding.bench.harness.time_limit import TimeLimit
from decoding.bench.metrics.accuracy import percentile
from decoding.bench.suites.trace_judge import items_of
from decoding.errors import TabcastError

NUM_KEYS = 3
KEY_GAP_S = 0.15
LOOK_S = 0.01  # so often the engine's counters are read
PATIENCE_S = 60.0
OPTIONS = {"minConfidence": 0, "deadlineMs": int(PATIENCE_S * 1000)}
# What can be left out, and the front end's settings for that; the cursor's rest is told or not.
RESTING = "resting"
PARTS: dict[str, dict[str, object]] = {
    "reading": {"readAhead": "never"},
    RESTING: {},
    "cutting": {"latencyMs": 0},
}
TOKENS, PREFILLED = "tabcast_tokens_total", "tabcast_prefilled_tokens_total"


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """What one place took, in milliseconds from its first key; None where nothing came.

    `num_read` counts the prompt tokens that were computed from the first key to the suggestion, `num_idle` those from
    the cursor's arrival to that key.
    """

    is_first: bool
    first_token_ms: float | None
    shown_ms: float | None
    num_read: int
    num_idle: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a hand is, in seconds: from the jump to the first key, and at a place once a suggestion is shown."""

    think_s: float
    stay_s: float


def run(
    command: Sequence[str],
    sizes: Sequence[tuple[str, Sequence[JumpFile]]],
    paces: Sequence[Pace],
    on_place: Callable[[], None] = lambda: None,
    *,
    left_out: Sequence[str] = ("",),
    limit: TimeLimit | None = None,
) -> Iterator[dict[str, object]]:
    """Yield a row for each size, by its name, each pace and each of `PARTS` left out, "" for none.

    Each has an engine of its own.
    """
    limit = limit or TimeLimit(None, 1)
    for (name, files), pace, part in product(sizes, paces, left_out):
        jumps: list[Jump] = []
        limit.begin_part()
        try:
            with runtime_directory() as runtime:
                asyncio.run(_run(command, runtime, files, pace, jumps, on_place, part=part, limit=limit))
        finally:  # also what was measured before an interruption
            if jumps:
                title = f"{name}, {pace.think_s:g} s" + (f", without {part}" if part else "")
                yield {**summarise(title, jumps), "settings": _settings(files, pace)}


def summarise(method: str, jumps: Sequence[Jump]) -> dict[str, object]:
    """Return a row: medians and 95th percentiles over the places; a place without a suggestion counts as endless."""
    tokens, shown = (
        [float("inf") if ms is None else ms for ms in times]
        for times in ([jump.first_token_ms for jump in jumps], [jump.shown_ms for jump in jumps])
    )
    return {
        "method": method,
        "count": len(jumps),
        "shown": sum(jump.shown_ms is not None for jump in jumps),
        **{f"first_token_ms_{p}": _known(percentile(tokens, p / 100)) for p in (50, 95)},
        **{f"first_shown_ms_{p}": _known(percentile(shown, p / 100)) for p in (50, 95)},
        "prefilled_50": percentile([jump.num_read for jump in jumps], 0.5),
        "prefilled_95": percentile([jump.num_read for jump in jumps], 0.95),
        "prefilled_ahead_50": percentile([jump.num_idle for jump in jumps], 0.5),
        "shown_ms_by_place": [_known(ms) for ms in shown],
    }


def _known(ms: float) -> float | None:
    return None if ms == float("inf") else round(ms, 1)


def _settings(files: Sequence[JumpFile], pace: Pace) -> str:
    counts = {language: sum(len(f.holes) for f in files if f.language == language) for language in _languages(files)}
    places = ", ".join(f"{count} of {language}" for language, count in counts.items())
    return (
        f"places: {places}; {NUM_KEYS} keys {KEY_GAP_S * 1e3:g} ms apart, "
        f"{pace.think_s:g} s before them and {pace.stay_s:g} s after the suggestion"
    )


def _languages(files: Sequence[JumpFile]) -> list[str]:
    return list(dict.fromkeys(file.language for file in files))


async def _run(
    command: Sequence[str],
    runtime: Path,
    files: Sequence[JumpFile],
    pace: Pace,
    jumps: list[Jump],
    on_place: Callable[[], None],
    *,
    part: str,
    limit: TimeLimit,
) -> None:
    folder = runtime / "workspace"
    folder.mkdir()
    async with language_server(command, runtime) as server:
        await server.initialize(folder, {**OPTIONS, **PARTS.get(part, {})})
        await wait_for_engine(server)
        engine = find_engine(runtime)
        if engine is None:
            raise TabcastError("the engine ended")
        counters = await LiveCounters.open(engine)
        try:
            for file in files:
                visit = _Visit(server, counters, folder, file, rests=part != RESTING)
                for number in range(len(file.holes)):
                    jumps.append(await visit.jump(number, pace))
                    on_place()
                    if limit.is_over:
                        return
        finally:
            counters.close()


class _Visit:
    """One file in the editor; opened when it is made."""

    def __init__(self, server: LspClient, counters: LiveCounters, folder: Path, file: JumpFile, *, rests: bool) -> None:
        """`rests` tells whether the server is told where the cursor rests."""
        self._server, self._counters, self._file, self._rests = server, counters, file, rests
        path = folder / file.path.name
        text = "\n".join(file.lines)
        path.write_text(text, encoding="utf-8")
        self._uri, self._version = path.as_uri(), 1
        item = {"uri": self._uri, "languageId": file.language, "version": 1, "text": text}
        server.notify("textDocument/didOpen", {"textDocument": item})

    async def jump(self, number: int, pace: Pace) -> Jump:
        """Go to a hole, type its first keys, wait for a suggestion, and fill the rest in."""
        line, code = self._file.holes[number]
        column = len(self._file.lines[line])
        arrived = await self._counters.ask()
        if self._rests:
            self._rest(line, column)
        await asyncio.sleep(pace.think_s)
        before = await self._counters.ask()
        first_key_s = time.perf_counter()
        watching = asyncio.create_task(self._first_token_s(before))
        shown_s = await self._type(line, column, code)
        after = await self._counters.ask()
        if shown_s is None:
            watching.cancel()
        token_s = None if shown_s is None else await watching
        self._insert(line, column + NUM_KEYS, code[NUM_KEYS:])
        await asyncio.sleep(pace.stay_s)
        return Jump(
            is_first=number == 0,
            first_token_ms=None if token_s is None else (token_s - first_key_s) * 1e3,
            shown_ms=None if shown_s is None else (shown_s - first_key_s) * 1e3,
            num_read=_more(PREFILLED, before, after),
            num_idle=_more(PREFILLED, arrived, before),
        )

    def _rest(self, line: int, column: int) -> None:
        """Tell the server what an editor tells it of a cursor that rests."""
        place = {"textDocument": {"uri": self._uri}, "position": {"line": line, "character": column}}
        self._server.notify("tabcast/didRest", place)

    async def _type(self, line: int, column: int, code: str) -> float | None:
        """Type keys until a suggestion is shown; return when it came, None if it never did."""
        request, end_s = 0, time.perf_counter() + PATIENCE_S
        for key in range(NUM_KEYS):
            if request:
                self._server.notify("$/cancelRequest", {"id": request})
            self._insert(line, column + key, code[key])
            params = {
                "textDocument": {"uri": self._uri},
                "position": {"line": line, "character": column + key + 1},
                "context": {"triggerKind": 2},
            }
            request = self._server.request("textDocument/inlineCompletion", params)
            wait_s = KEY_GAP_S if key < NUM_KEYS - 1 else end_s - time.perf_counter()
            await self._server.settle([request], wait_s)
            answers = self._server.answers.get(request, [])
            if answers and items_of(answers[0]):
                if key < NUM_KEYS - 1:
                    self._insert(line, column + key + 1, code[key + 1 : NUM_KEYS])
                return answers[0].at_s
            if answers and key < NUM_KEYS - 1:
                await asyncio.sleep(max(0.0, wait_s))
        return None

    def _insert(self, line: int, column: int, text: str) -> None:
        self._version += 1
        place = {"line": line, "character": column}
        change = {"range": {"start": place, "end": place}, "text": text}
        identity = {"uri": self._uri, "version": self._version}
        self._server.notify("textDocument/didChange", {"textDocument": identity, "contentChanges": [change]})

    async def _first_token_s(self, before: dict[str, float]) -> float:
        while not _more(TOKENS, before, await self._counters.ask()):  # noqa: ASYNC110 - another process counts
            await asyncio.sleep(LOOK_S)
        return time.perf_counter()


def _more(name: str, before: dict[str, float], after: dict[str, float]) -> int:
    return int(after.get(name, 0) - before.get(name, 0))
