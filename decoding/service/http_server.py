"""Serves HTTP for the engine: OpenAI completions for clients that its gate lets in.

This is the io thread; it imports no torch, so that it answers `/health` while the compute thread imports it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, TypeVar

from aiohttp import web

from decoding.protocol import CompletionRequest, ProtocolError, ScoredToken, confidence_to_json, logprobs_to_json
from decoding.service import infill
from decoding.service.bodies import body_of
from decoding.service.gates import Bounds, Gate, Handler, Refused, Visit
from decoding.service.jobs import ChoiceDone, Delta, EngineState, Event, Job, JobDone, Mailbox
from decoding.service.rendered import unrendered

log = logging.getLogger(__name__)

AskedT = TypeVar("AskedT")
VISIT: ContextVar[Visit] = ContextVar("visit")
DEFAULT_BOUNDS = Bounds()
LENGTH_REASONS = ("length", "context", "superseded", "dropped")


class EngineServer:
    """Routes and their rules. `on_stop` is called when a client asks the engine to exit; without it none can."""

    def __init__(
        self,
        gate: Gate,
        mailbox: Mailbox,
        state: EngineState,
        on_stop: Callable[[], None] | None = None,
        bounds: Bounds = DEFAULT_BOUNDS,
    ) -> None:
        self._gate = gate
        self._bounds = bounds
        self._mailbox = mailbox
        self._state = state
        self._on_stop = on_stop
        self._num_open = 0
        self._last_used = time.monotonic()

    @property
    def idle_s(self) -> float:
        """Seconds since the last request that was let in ended."""
        return 0.0 if self._num_open else time.monotonic() - self._last_used

    @property
    def num_open(self) -> int:
        """The number of requests under way."""
        return self._num_open

    def note_use(self) -> None:
        """Restart the count of idle seconds."""
        self._last_used = time.monotonic()

    def application(self) -> web.Application:
        """Return the aiohttp application with all routes."""
        app = web.Application(middlewares=[self._guard], client_max_size=self._bounds.max_bytes)
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/metrics", self._metrics),
                web.get("/v1/models", self._models),
                web.post("/v1/completions", self._completions),
                web.post("/infill", self._infill),
                web.get("/props", self._props),
            ]
        )
        if self._on_stop is not None:
            app.router.add_post("/v1/tabcast/stop", self._stop)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in whom the gate lets in; only the health is told to others."""
        if request.path == "/health":
            return await handler(request)
        try:
            visit = self._gate.admit(request)
            VISIT.set(visit)
        except Refused as refused:
            return _refusal(refused)
        self._num_open += 1
        status = 0
        try:
            response = await handler(request)
            status = response.status
            return response
        except web.HTTPRequestEntityTooLarge:
            status = 413
            return _error(status, "too_large", f"a request has at most {self._bounds.max_bytes} bytes")
        except web.HTTPException as error:  # no such route
            status = error.status
            raise
        finally:
            self._num_open -= 1
            self.note_use()
            self._gate.leave(visit, request, status)

    async def _health(self, request: web.Request) -> web.Response:
        try:
            return web.json_response(self._gate.health(request, self._state.health))
        except Refused as refused:
            return _refusal(refused)

    async def _metrics(self, _request: web.Request) -> web.Response:
        lines = [f"tabcast_{name} {value:g}" for name, value in sorted(self._state.counters().items())]
        lines.append(f"tabcast_ready {int(self._state.health.status == 'ready')}")
        lines += self._gate.metrics()
        return web.Response(text="\n".join(lines) + "\n", content_type="text/plain")

    async def _models(self, _request: web.Request) -> web.Response:
        health = self._state.health
        data = [{"id": health.model, "object": "model", "created": 0, "owned_by": "local"}] if health.model else []
        return web.json_response({"object": "list", "data": data})

    async def _stop(self, _request: web.Request) -> web.Response:
        assert self._on_stop is not None
        asyncio.get_running_loop().call_later(0.05, self._on_stop)
        return web.json_response({"stopping": True})

    async def _asked(self, request: web.Request, read: Callable[[object], AskedT]) -> AskedT | web.Response:
        """Return what a request's body asks for, or the answer that refuses it."""
        health = self._state.health
        if health.status != "ready":
            return _error(503, health.status, health.detail, {"Retry-After": "1"})
        try:
            async with asyncio.timeout(self._bounds.body_s or None):
                return read(await body_of(request))
        except TimeoutError:
            return _error(408, "too_slow", "the request took too long to arrive", {"Connection": "close"})
        except ProtocolError as error:
            return _error(400, "invalid_request", str(error))

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        asked = await self._asked(request, lambda body: unrendered(CompletionRequest.from_json(body)))
        if isinstance(asked, web.Response):
            return asked
        head = {"id": f"cmpl-{secrets.token_hex(12)}", "object": "text_completion", "created": int(time.time())}
        head["model"] = self._state.health.model
        async with aclosing(self._events(asked, VISIT.get())) as events:
            first = await anext(events)
            if isinstance(first, JobDone):
                return _error(first.status, "failed", first.error)
            if asked.stream:
                return await _send_stream(request, head, asked, first, events)
            return await _send_whole(head, asked, first, events)

    async def _infill(self, request: web.Request) -> web.StreamResponse:
        """Answer a client of llama.cpp's server."""
        asked, health = await self._asked(request, infill.read_infill), self._state.health
        if isinstance(asked, web.Response):
            return asked
        if asked.request is None:
            return infill.ready(asked, health)
        try:
            async with aclosing(self._events(asked.request, VISIT.get())) as events:
                return await infill.answer(request, asked, health, events)
        except infill.InfillFailed as failed:
            return _error(failed.event.status, "failed", failed.event.error)

    async def _props(self, _request: web.Request) -> web.Response:
        return web.json_response(infill.props(self._state.health))

    async def _events(self, asked: CompletionRequest, visit: Visit) -> AsyncGenerator[Event, None]:
        """Hand the request to the compute thread; closing this, or a lost connection, cancels it."""
        if visit.refusal is not None:  # since its head was read
            yield visit.refusal
            return
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Event] = asyncio.Queue()

        def deliver(event: Event) -> None:
            try:
                loop.call_soon_threadsafe(arrived.put_nowait, event)
            except RuntimeError:
                log.debug("an event came after the loop was closed")

        def end_early() -> None:
            self._mailbox.cancel(job)
            deliver(JobDone())

        job = visit.job = Job(asked, deliver, visit.owner, visit.charge)
        visit.on_end = end_early
        self._state.count("requests_total")
        self._mailbox.put(job)
        try:
            while True:
                event = await arrived.get()
                event = visit.refusal or event
                visit.note(event)
                yield event
                if isinstance(event, JobDone):
                    return
        finally:
            self._mailbox.cancel(job)


async def _send_stream(
    request: web.Request, head: dict[str, Any], asked: CompletionRequest, first: Event, events: AsyncIterator[Event]
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    try:
        await response.prepare(request)
        await _write_events(response, head, asked, first, events)
    except ConnectionError:
        log.debug("a client went away before its answer's end")
    return response


async def _write_events(
    response: web.StreamResponse,
    head: dict[str, Any],
    asked: CompletionRequest,
    first: Event,
    events: AsyncIterator[Event],
) -> None:
    event = first
    offsets = [0] * asked.n
    while not isinstance(event, JobDone):
        if isinstance(event, Delta):
            choice = _delta(event.choice, event.text, event.tokens, asked, offsets[event.choice])
            offsets[event.choice] += sum(len(token.text) for token in event.tokens)
        else:
            choice = _done(event)
        await response.write(f"data: {json.dumps({**head, 'choices': [choice]})}\n\n".encode())
        event = await anext(events)
    if event.error:
        body = {"error": {"message": event.error, "type": "engine_error", "code": "failed"}}
        await response.write(f"data: {json.dumps(body)}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()


async def _send_whole(
    head: dict[str, Any], asked: CompletionRequest, first: Event, events: AsyncIterator[Event]
) -> web.Response:
    texts = [""] * asked.n
    tokens: list[tuple[ScoredToken, ...]] = [()] * asked.n
    choices: dict[int, dict[str, Any]] = {}
    event = first
    while not isinstance(event, JobDone):
        if isinstance(event, Delta):
            texts[event.choice] += event.text
            tokens[event.choice] += event.tokens
        else:
            choices[event.choice] = _done(event)
        event = await anext(events)
    if event.error:
        return _error(event.status, "failed", event.error)
    for index, choice in choices.items():
        whole = _delta(index, texts[index], tokens[index], asked, 0)
        choice.update(text=texts[index], logprobs=whole["logprobs"])
        choice["tabcast"] |= whole.get("tabcast", {})
    done = [choices[index]["tabcast"] for index in sorted(choices)]
    prompt, completion = done[0]["prompt_tokens"] if done else 0, sum(stats["tokens"] for stats in done)
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return web.json_response({**head, "choices": [choices[index] for index in sorted(choices)], "usage": usage})


def _delta(
    index: int, text: str, tokens: Sequence[ScoredToken], asked: CompletionRequest, offset: int
) -> dict[str, Any]:
    """Format a choice, or a piece of one that begins at a character offset; scores only where they were asked for."""
    logprobs = None if asked.logprobs is None else logprobs_to_json(tokens, offset)
    choice: dict[str, Any] = {"index": index, "text": text, "finish_reason": None, "logprobs": logprobs}
    if asked.tabcast.confidence:
        choice["tabcast"] = {"confidence": confidence_to_json(tokens)}
    return choice


def _done(event: ChoiceDone) -> dict[str, Any]:
    reason = "length" if event.stats.reason in LENGTH_REASONS else "stop"
    stats = event.stats.to_json()
    return {"index": event.choice, "text": "", "finish_reason": reason, "logprobs": None, "tabcast": stats}


def _refusal(refused: Refused) -> web.Response:
    return _error(refused.status, refused.code, str(refused), {"Connection": "close", **refused.headers})


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    kind = "invalid_request_error" if status < 500 else "engine_error"
    body = {"error": {"message": message, "type": kind, "code": code}}
    return web.json_response(body, status=status, headers=headers)
