"""A server that speaks the dialect of one kind of engine, with the faults that a test asks for.

The shapes of answers are those that the real servers give.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

OWNERS = {"vllm": "vllm", "sglang": "sglang", "llama.cpp": "llamacpp", "openai": "someone", "mistral": "mistralai"}
ROUTES = {
    "vllm": "/v1/completions",
    "sglang": "/v1/completions",
    "openai": "/v1/completions",
    "llama.cpp": "/completion",
    "ollama": "/api/generate",
    "mistral": "/v1/fim/completions",
}


@dataclass(slots=True, kw_only=True)
class StandIn:
    """What the server answers, and what it was asked.

    `fault` is a status (401), or "cut" (the connection ends within the stream), "error" (the stream tells an error),
    "nonsense" (its events aren't JSON), "plain" (no stream at all), "endless", "empty" (events without text, and no
    end), "slow" (nothing comes before `go`), or "redirect". `words` are what it says with a status.
    """

    kind: str
    pieces: tuple[str, ...] = ("print(", "1)")
    model: str = "qwen2.5-coder-7b"
    key: str = ""
    fault: int | str = ""
    words: str = "SECRET"
    retry_after: str = ""
    context_tokens: int = 8192
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    num_cut: int = 0

    def _models(self) -> dict[str, Any]:
        entry = {"id": self.model, "object": "model", "owned_by": OWNERS.get(self.kind, "library")}
        if self.kind in ("vllm", "sglang"):
            entry |= {"max_model_len": self.context_tokens, "root": self.model}
        if self.kind == "mistral":
            entry |= {"max_context_length": self.context_tokens}
        return {"object": "list", "data": [entry]}

    async def look(self, request: web.Request) -> web.Response:
        """Answer the routes that tell what the server is."""
        self.paths.append(request.path)
        if (refused := self._refused(request)) is not None:
            return refused
        answers: dict[str, Any] = {"/v1/models": self._models()}
        if self.kind == "llama.cpp":
            settings = {"n_ctx": self.context_tokens}
            answers["/props"] = {"default_generation_settings": settings, "model_path": f"/models/{self.model}.gguf"}
            answers["/health"] = {"status": "ok"}
        if self.kind == "ollama":
            answers["/api/version"] = {"version": "0.13.0"}
            answers["/api/ps"] = {"models": [{"name": self.model, "context_length": self.context_tokens}]}
        if request.path not in answers:
            raise web.HTTPNotFound
        return web.json_response(answers[request.path])

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Stream the pieces."""
        self.paths.append(request.path)
        if (refused := self._refused(request)) is not None:
            return refused
        self.bodies.append(await request.json())
        if isinstance(self.fault, int):
            headers = {"Retry-After": self.retry_after} if self.retry_after else {}
            return web.json_response({"error": {"message": self.words}}, status=self.fault, headers=headers)
        if self.fault == "redirect":
            raise web.HTTPTemporaryRedirect("http://127.0.0.1:9/v1/completions")
        if self.fault == "plain":
            return web.json_response({"choices": [{"text": "x"}]})
        kind = "application/x-ndjson" if self.kind == "ollama" else "text/event-stream"
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        try:
            await self._stream(request, response)
        except (ConnectionError, asyncio.CancelledError):
            self.num_cut += 1
            raise
        return response

    async def _stream(self, request: web.Request, response: web.StreamResponse) -> None:
        if self.fault == "slow":
            while not self.go.is_set():  # a write is how a server learns that its client has gone
                await response.write(b"\n" if self.kind == "ollama" else b": wait\n\n")
                await asyncio.sleep(0.01)
        if self.fault == "nonsense":
            await response.write(b"{]\n" if self.kind == "ollama" else b"data: {]\n\n")
        for piece in (*self._begun(), *self.pieces):
            await self._write(response, self._event(piece))
        if self.fault == "error":
            await self._write(response, {"error": {"message": "SECRET", "code": 500}})
            return
        if self.fault == "cut":
            assert request.transport is not None
            request.transport.close()
            return
        while self.fault in ("endless", "empty"):
            await self._write(response, self._event("x" * 50 if self.fault == "endless" else ""))
            await asyncio.sleep(0)
        await self._write(response, self._event("", is_last=True))
        if self.kind not in ("ollama", "llama.cpp"):
            await response.write(b"data: [DONE]\n\n")

    async def _write(self, response: web.StreamResponse, event: dict[str, Any]) -> None:
        line = json.dumps(event)
        await response.write(f"{line}\n".encode() if self.kind == "ollama" else f"data: {line}\n\n".encode())

    def _event(self, text: str, *, is_last: bool = False) -> dict[str, Any]:
        if self.kind == "llama.cpp":
            scored = [{"id": 1, "token": text, "bytes": [], "logprob": -0.5, "top_logprobs": []}] if text else []
            event = {"index": 0, "content": text, "stop": is_last, "completion_probabilities": scored}
            return {**event, "stop_type": "word", "stopping_word": "\n", "tokens_predicted": 2} if is_last else event
        if self.kind == "ollama":
            scored = [{"token": text, "logprob": -0.5, "bytes": []}]
            event = {"model": self.model, "response": text, "done": is_last}
            return {**event, "done_reason": "stop", "eval_count": 2} if is_last else {**event, "logprobs": scored}
        reason = "stop" if is_last else None
        if self.kind == "mistral":
            delta = {"content": text, "role": "assistant"}
            return {"id": "1", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        logprobs = {"tokens": [text], "token_logprobs": [-0.5], "top_logprobs": None, "text_offset": [0]}
        choice = {"index": 0, "text": text, "logprobs": logprobs if text else None, "finish_reason": reason}
        return {"id": "cmpl-1", "object": "text_completion", "choices": [choice]}

    def _begun(self) -> list[str]:
        """What llama.cpp's grammar has the answer begin with, as two tokens."""
        found = re.match(r'root ::= "((?:[^"\\]|\\.)*)" ', str(self.bodies[-1].get("grammar", "")))
        text = json.loads(f'"{found[1]}"') if found else ""
        return [text[:1], text[1:]] if text else []

    def _refused(self, request: web.Request) -> web.Response | None:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        return None


@asynccontextmanager
async def serving(stand_in: StandIn, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[StandIn]:
    """Listen on a free port of this machine."""
    app = web.Application()
    app.router.add_post(ROUTES[stand_in.kind], stand_in.complete)
    app.router.add_post("/infill", stand_in.complete)
    app.router.add_get("/{path:.*}", stand_in.look)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    stand_in.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{port}"
    try:
        yield stand_in
    finally:
        stand_in.go.set()
        await runner.cleanup()
