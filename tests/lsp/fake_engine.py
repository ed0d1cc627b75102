"""An engine without a model: speaks the protocol, answers a scripted text, and writes down what it was asked.

Run as a program with `--runtime-dir DIR`. In that folder
`script.json` (see `Script`) is read anew at each request, so that a test can change it at any time,
`events.jsonl` gets a line for each start, request, end and cancellation,
a file named `release` lets requests go on that the script holds, and
with a file named `over` the engine ends at its start.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock
from aiohttp import web

from decoding.protocol import (
    ENGINE_LOCK_FILE,
    EXIT_ALREADY_RUNNING,
    PROTOCOL_VERSION,
    Address,
    CompletionRequest,
    CompletionStats,
    Health,
    prove,
)

OVER_FILE = "over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What the engine does: `hold_after` and `die_after` count characters that were sent before.

    Where the prompt begins `gold`, what follows it there is the answer instead of `text`.
    `raw` is sent instead of any event; `protocol` is the version that it claims to speak.
    The process `mute_pid` does not answer for its health.
    `computes` if the engine's counters grow whenever they are looked at.
    `others` are the answers from the second on, the last of which is followed by empty ones; `log_probs` has one of
    each chunk of an answer, else they are 0.
    """

    text: str = ""
    gold: str = ""
    others: tuple[str, ...] = ()
    log_probs: tuple[float, ...] = ()
    chunk_chars: int = 4
    hold_after: int | None = None
    die_after: int | None = None
    reason: str = "stop"
    status: str = "ready"
    detail: str = ""
    progress: float = 0.0
    model: str = ""
    weights: str = ""
    draft: str = ""
    better: str = ""
    device: str = ""
    languages: tuple[str, ...] = ()
    context_tokens: int = 0
    searches_code: bool = False
    read_tokens_per_s: float = 0.0
    raw: str | None = None
    computes: bool = False
    mute_pid: int = 0
    protocol: int = PROTOCOL_VERSION

    def write(self, directory: Path) -> None:
        partial = directory / "script.partial"
        partial.write_text(json.dumps(asdict(self)), encoding="utf-8")
        partial.replace(directory / "script.json")


def read_events(directory: Path) -> list[dict[str, Any]]:
    """Return what it wrote down, but for a line that it is still writing."""
    path = directory / "events.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


class FakeEngine:
    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.address = Address(port=port, token=secrets.token_hex(16), pid=os.getpid())
        self.stopping = asyncio.Event()
        self.num_asked = 0
        self.num_turns = 0

    def script(self) -> Script:
        path = self.directory / "script.json"
        return Script(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else Script()

    def note(self, event: str, **more: Any) -> None:
        with (self.directory / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, "pid": os.getpid(), **more}) + "\n")

    async def health(self, request: web.Request) -> web.Response:
        while (script := self.script()).mute_pid == os.getpid():  # noqa: ASYNC110 - a file tells
            await asyncio.sleep(0.01)
        health = Health(
            status=script.status,  # type: ignore[arg-type]
            detail=script.detail,
            progress=script.progress,
            model=script.model,
            weights=script.weights,
            draft=script.draft,
            better=script.better,
            device=script.device,
            languages=tuple(script.languages),
            context_tokens=script.context_tokens,
            searches_code=script.searches_code,
            read_tokens_per_s=script.read_tokens_per_s,
            pid=os.getpid(),
            protocol=script.protocol,
            proof=prove(self.address.token, request.query.get("nonce", ""), self.address.port),
        )
        return web.json_response(health.to_json())

    async def complete(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.address.token}":
            return error_response(401, "the token is wrong", "token")
        body = CompletionRequest.from_json(await request.json())
        script = self.script()
        self.num_asked += 1
        self.note("request", body=body.to_json())
        if script.status != "ready":
            return error_response(503, script.detail or script.status, script.status)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            await self.stream(response, script, body)
        except (asyncio.CancelledError, ConnectionError):
            self.note("cancelled", prompt=body.prompt)
            raise
        self.note("done", prompt=body.prompt)
        return response

    async def stream(self, response: web.StreamResponse, script: Script, body: CompletionRequest) -> None:
        if script.raw is not None:
            await response.write(script.raw.encode("latin-1"))
            return
        if body.tabcast.prepare:
            stats = CompletionStats(reason="prepared").to_json()
            await send(response, {"index": 0, "text": "", "finish_reason": "stop", "tabcast": stats})
            return
        is_gold = bool(script.gold) and script.gold.startswith(body.prompt)
        text = script.gold[len(body.prompt) :] if is_gold else script.text
        log_probs = iter(script.log_probs)
        first = body.tabcast.choice
        answers = (text, *script.others)[first : first + body.n] or ("",)
        for choice, answer in enumerate(answers):
            for start in range(0, len(answer), script.chunk_chars):
                await self.pause(script, start)
                chunk = answer[start : start + script.chunk_chars]
                told = {"confidence": [[len(chunk), next(log_probs, 0.0)]]} if body.tabcast.confidence else {}
                await send(response, {"index": choice, "text": chunk, "tabcast": told})
            await self.pause(script, len(answer))
            stats = CompletionStats(tokens=len(answer), steps=1, reason=script.reason).to_json()
            await send(response, {"index": choice, "text": "", "finish_reason": "stop", "tabcast": stats})
        await response.write(b"data: [DONE]\n\n")

    async def pause(self, script: Script, num_sent: int) -> None:
        if script.die_after is not None and num_sent >= script.die_after:
            os._exit(9)
        while script.hold_after is not None and num_sent >= script.hold_after:
            if (self.directory / "release").exists():
                return
            await asyncio.sleep(0.005)

    async def metrics(self, _: web.Request) -> web.Response:
        self.num_turns += self.script().computes
        return web.Response(text=f"tabcast_requests_total {self.num_asked}\ntabcast_steps_total {self.num_turns}\n")

    async def stop(self, _: web.Request) -> web.Response:
        self.stopping.set()
        return web.json_response({})


def error_response(status: int, message: str, code: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "engine", "code": code}}, status=status)


async def send(response: web.StreamResponse, choice: dict[str, Any]) -> None:
    await response.write(b"data: " + json.dumps({"choices": [{"finish_reason": None, **choice}]}).encode() + b"\n\n")


async def serve(directory: Path) -> None:
    app = web.Application()
    runner = web.AppRunner(app, handler_cancellation=True)
    engine = FakeEngine(directory, port=0)
    app.add_routes(
        [
            web.get("/health", engine.health),
            web.post("/v1/completions", engine.complete),
            web.post("/v1/tabcast/stop", engine.stop),
            web.get("/metrics", engine.metrics),
        ]
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, shutdown_timeout=0.1)
    await site.start()
    engine.address = Address(port=runner.addresses[0][1], token=engine.address.token, pid=os.getpid())
    engine.note("start", arguments=sys.argv[1:], cwd=str(Path.cwd()), session=os.getsid(0))
    if (directory / OVER_FILE).exists():  # after that line, so that who ends engines sees it or is seen
        return
    engine.address.write(directory)
    await engine.stopping.wait()
    (directory / "engine.json").unlink(missing_ok=True)
    await runner.cleanup()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runtime-dir", type=Path, required=True)
    parser.add_argument("--broken", action="store_true", help="end at once, as with a model that is missing")
    options = parser.parse_args()
    if options.broken:
        sys.stderr.write("tabcast: no model in /nowhere\n")
        return 5
    try:
        with filelock.FileLock(options.runtime_dir / ENGINE_LOCK_FILE, timeout=0):
            asyncio.run(serve(options.runtime_dir))
    except filelock.Timeout:
        return EXIT_ALREADY_RUNNING
    return 0


if __name__ == "__main__":
    sys.exit(main())
