"""Runs `tabcast bench hybrid`: a large model elsewhere, with a small one on this machine that writes a first text.

First both engines are asked without a front end, one after the other: how many tokens a step of the large model yields
with the small one's text as its proposal and without it, and whether its text is the same. Then an editor types at
places in real files, with a line to the large model on which everything arrives late: the time from the last key to the
first text that is shown, and to the large model's own.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import aiohttp

from decoding.bench.harness.jump_places import JumpFile
from decoding.bench.harness.live_server import WHY, language_server, runtime_directory, wait_for_engine
from decoding.bench.harness.lsp_client import LspClient
from decoding.bench.harness.own_engine import own_engine
from decoding.bench.harness.slow_line import slow_line
from decoding.bench.metrics.accuracy import percentile
from decoding.bench.suites.trace_judge import items_of
from decoding.errors import TabcastError
from decoding.protocol import Address, CompletionOptions, CompletionRequest, CompletionStats

NUM_KEYS = 3
MAX_TOKENS = 48
LOOK_S = 0.01
PATIENCE_S = 60.0
SETTLE_S = 3.0  # what is read ahead when a document is opened has so long
OPTIONS = {"minConfidence": 0, "deadlineMs": int(PATIENCE_S * 1000)}
KEY = "TABCAST_BENCH_KEY"
FIRST = "first text"

Row = dict[str, object]
OnPlace = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """The arguments of `decoding serve` for the model elsewhere, and the one on this machine."""

    elsewhere: Sequence[str]
    here: Sequence[str]


def run(
    front_end: Sequence[str],
    engines: Engines,
    files: Sequence[JumpFile],
    round_trips_ms: Sequence[float],
    on_place: OnPlace = lambda: None,
) -> Iterator[Row]:
    """Yield the rows: two of the large model's steps, then two for each round trip. Raises `TabcastError`."""
    with own_engine(engines.elsewhere) as elsewhere:
        with own_engine(engines.here) as here:
            yield from asyncio.run(_verify(elsewhere, here, files, on_place))
        for round_trip_ms in round_trips_ms:
            for is_hybrid in (False, True):
                typed = asyncio.run(_type(front_end, engines, elsewhere, files, round_trip_ms, is_hybrid, on_place))
                yield typed.row(f"{'hybrid' if is_hybrid else 'alone'}, {round_trip_ms:g} ms")


@dataclass(slots=True)
class _Verified:
    """The sums of one way to ask the large model."""

    texts: list[str] = field(default_factory=list)
    num_tokens: int = 0
    num_steps: int = 0
    decode_ms: list[float] = field(default_factory=list)

    def note(self, text: str, stats: CompletionStats) -> None:
        self.texts.append(text)
        self.num_tokens += stats.tokens
        self.num_steps += stats.steps
        self.decode_ms.append(stats.decode_ms)

    def row(self, method: str) -> Row:
        return {
            "method": method,
            "count": len(self.texts),
            "tokens": self.num_tokens,
            "steps": self.num_steps,
            "tokens_per_step": round(self.num_tokens / max(1, self.num_steps), 2),
            "decode_ms_50": round(median(self.decode_ms), 1),
        }


async def _verify(elsewhere: Address, here: Address, files: Sequence[JumpFile], on_place: OnPlace) -> list[Row]:
    alone, helped, first = _Verified(), _Verified(), _Verified()
    async with aiohttp.ClientSession(trust_env=False) as http:
        for file in files:
            for line, code in file.holes:
                request = _request(file, line, code)
                text, stats = await _ask(http, here, request)
                first.note(text, stats)
                # The prompt is read first, so that neither way finds more of it read than the other.
                await _ask(http, elsewhere, _with(request, max_tokens=1))
                alone.note(*await _ask(http, elsewhere, request))
                await _ask(http, elsewhere, _with(request, max_tokens=1))
                helped.note(*await _ask(http, elsewhere, _with(request, proposal=text)))
                on_place()
    num_other = sum(one != other for one, other in zip(alone.texts, helped.texts, strict=True))
    agreeing = sum(one == other for one, other in zip(alone.texts, first.texts, strict=True))
    return [
        alone.row("elsewhere, alone"),
        {**helped.row("elsewhere, with the proposal"), "other_texts": num_other, "passed": not num_other},
        {**first.row("here"), "same_as_elsewhere": agreeing},
    ]


def _request(file: JumpFile, line: int, code: str) -> CompletionRequest:
    head = file.lines[line] + code[:NUM_KEYS]
    return CompletionRequest(
        prompt="\n".join((*file.lines[:line], head)),
        suffix="\n" + "\n".join(file.lines[line + 1 :]),
        max_tokens=MAX_TOKENS,
        tabcast=CompletionOptions(path=file.path.name, language=file.language, session=file.path.name),
    )


def _with(request: CompletionRequest, *, max_tokens: int = MAX_TOKENS, proposal: str = "") -> CompletionRequest:
    body = request.to_json()
    return CompletionRequest.from_json(
        {**body, "max_tokens": max_tokens, "tabcast": {**body["tabcast"], "proposal": proposal}}
    )


async def _ask(
    http: aiohttp.ClientSession, address: Address, request: CompletionRequest
) -> tuple[str, CompletionStats]:
    headers = {"Authorization": f"Bearer {address.token}"}
    async with http.post(f"{address.url}/v1/completions", json=request.to_json(), headers=headers) as response:
        answer = await response.json()
    if "choices" not in answer:
        raise TabcastError(f"the engine refused a request: {answer}")
    choice = answer["choices"][0]
    return choice["text"], CompletionStats.from_json(choice["tabcast"])


@dataclass(slots=True)
class _Typed:
    """What an editor saw: at each place the times to the first text and to the large model's, infinite for none."""

    first_ms: list[float] = field(default_factory=list)
    own_ms: list[float] = field(default_factory=list)
    num_first: int = 0
    num_replaced: int = 0

    def row(self, method: str) -> Row:
        return {
            "method": method,
            "count": len(self.first_ms),
            "shown": sum(ms != float("inf") for ms in self.first_ms),
            "first_texts": self.num_first,
            "replaced": self.num_replaced,
            **{f"first_shown_ms_{p}": _known(percentile(self.first_ms, p / 100)) for p in (50, 95)},
            **{f"own_shown_ms_{p}": _known(percentile(self.own_ms, p / 100)) for p in (50, 95)},
        }


def _known(ms: float) -> float | None:
    return None if ms == float("inf") else round(ms, 1)


async def _type(
    front_end: Sequence[str],
    engines: Engines,
    elsewhere: Address,
    files: Sequence[JumpFile],
    round_trip_ms: float,
    is_hybrid: bool,
    on_place: OnPlace,
) -> _Typed:
    typed = _Typed()
    with runtime_directory() as runtime:
        async with slow_line(elsewhere.port, round_trip_ms / 2000) as port:
            config = runtime / "config.toml"
            config.write_text(_config(engines, port, is_hybrid=is_hybrid), encoding="utf-8")
            os.environ |= {"TABCAST_CONFIG": str(config), KEY: elsewhere.token}
            folder = runtime / "workspace"
            folder.mkdir()
            async with language_server([*front_end, "lsp"], runtime) as server:
                await server.initialize(folder, OPTIONS)
                await wait_for_engine(server)
                if is_hybrid:
                    await _wait_for_both(server)
                for file in files:
                    for line, code in file.holes:
                        await _Place(server, folder, file, line).measure(code, typed)
                        on_place()
    return typed


def _config(engines: Engines, port: int, *, is_hybrid: bool) -> str:
    names = [name.removeprefix("--") for name in engines.here[::2]]
    here = "".join(f"{name} = {json.dumps(value)}\n" for name, value in zip(names, engines.here[1::2], strict=True))
    return (
        f'[engine]\n{here}[engines]\nuse = "team"\n[engines.team]\nkind = "tabcast"\nurl = "http://127.0.0.1:{port}"\n'
        f'api_key_env = "{KEY}"\nhybrid = {"true" if is_hybrid else "false"}\n'
    )


async def _wait_for_both(server: LspClient) -> None:
    end = time.monotonic() + PATIENCE_S * 5
    while "first texts by" not in (engine := await wait_for_engine(server))["weights"]:
        if time.monotonic() > end:
            raise TabcastError(f"no engine on this machine: {engine['detail']}")
        await asyncio.sleep(LOOK_S)


class _Place:
    """One place in a document that is opened for it alone."""

    def __init__(self, server: LspClient, folder: Path, file: JumpFile, line: int) -> None:
        self._server, self._line, self._column, self._version = server, line, len(file.lines[line]), 1
        self._uri = (folder / f"{line}-{file.path.name}").as_uri()
        text = "\n".join(file.lines)
        item = {"uri": self._uri, "languageId": file.language, "version": 1, "text": text}
        server.notify("textDocument/didOpen", {"textDocument": item})
        place = {"textDocument": {"uri": self._uri}, "position": {"line": line, "character": self._column}}
        server.notify("tabcast/didRest", place)

    async def measure(self, code: str, typed: _Typed) -> None:
        """Type the first keys at once, and note when texts are shown."""
        await asyncio.sleep(SETTLE_S)
        began_s = time.perf_counter()
        self._insert(code[:NUM_KEYS])
        shown, at_s, reason = await self._ask()
        typed.first_ms.append((at_s - began_s) * 1e3 if shown else float("inf"))
        own = shown
        typed.num_first += reason == FIRST
        while reason == FIRST:
            await asyncio.sleep(LOOK_S)
            own, at_s, reason = await self._ask()
        typed.num_replaced += own != shown
        typed.own_ms.append((at_s - began_s) * 1e3 if own else float("inf"))
        self._server.notify("textDocument/didClose", {"textDocument": {"uri": self._uri}})

    async def _ask(self) -> tuple[str, float, str]:
        params = {
            "textDocument": {"uri": self._uri},
            "position": {"line": self._line, "character": self._column},
            "context": {"triggerKind": 2},
        }
        answer = await self._server.ask("textDocument/inlineCompletion", params)
        items = items_of(answer)
        why = (await self._server.ask("workspace/executeCommand", WHY)).result
        return (items[0]["insertText"] if items else ""), answer.at_s, why["reason"]

    def _insert(self, text: str) -> None:
        self._version += 1
        place = {"line": self._line, "character": self._column}
        change = {"range": {"start": place, "end": place}, "text": text}
        identity = {"uri": self._uri, "version": self._version}
        self._server.notify("textDocument/didChange", {"textDocument": identity, "contentChanges": [change]})
        self._column += len(text)
