"""Answers in the form of llama.cpp's server, which its extensions for editors speak: `/infill` and `/props`.

It must not know sockets of others or the queue: it reads a request's body, and formats the events of an answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from decoding.protocol import (
    MAX_CHOICES,
    MAX_NEW_TOKENS,
    CompletionOptions,
    CompletionRequest,
    CompletionStats,
    ContextFile,
    Health,
    ProtocolError,
)
from decoding.protocol.fields import Fields
from decoding.service.jobs import ChoiceDone, Event, JobDone

# chosen: llama.cpp writes without an end where nobody says how much; nobody reads more than this in an editor.
DEFAULT_TOKENS: Final = 128
MAX_LIMIT_MS: Final = 600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Infill:
    """A request in llama.cpp's form: what is asked, None where the server is only to get ready, and its answer's form.

    Behind `limit_ms` an answer ends as soon as it has a line. `fields` names those that are wanted, () all.
    """

    request: CompletionRequest | None
    limit_ms: int = 0
    fields: tuple[str, ...] = ()


def read_infill(value: object) -> Infill:
    """Read the body of `POST /infill`. Raises `ProtocolError` naming the field of another form.

    What only says how llama.cpp computes (`samplers`, `id_slot`, `cache_prompt`, `n_indent`, `t_max_prompt_ms`) is
    ignored. Without a temperature the answer is the likeliest one, as everywhere in this engine.
    """
    body = Fields(value, "the request")
    extra = body.value.get("input_extra") or []
    if not isinstance(extra, list):
        raise ProtocolError("the request.input_extra: expected a list")
    files = [Fields(file, f"input_extra[{i}]") for i, file in enumerate(extra)]
    wanted = body.integer("n_predict", default=DEFAULT_TOKENS, low=-2, high=2**31)
    fields = body.texts("response_fields")
    prompt = body.text("input_prefix") + body.text("prompt")
    suffix = body.text("input_suffix")
    if wanted == 0 or not (prompt or suffix):
        return Infill(request=None, fields=fields)
    request = CompletionRequest(
        prompt=prompt,
        suffix=suffix,
        max_tokens=min(wanted, MAX_NEW_TOKENS) if wanted > 0 else DEFAULT_TOKENS,
        temperature=min(2.0, body.number("temperature")),
        top_k=max(0, body.integer("top_k", low=-(2**31))),
        top_p=min(1.0, body.number("top_p", default=1.0)),
        seed=_seed(body),
        n=min(MAX_CHOICES, max(1, body.integer("n_cmpl", default=1))),
        stop=tuple(text for text in body.texts("stop") if text),
        stream=body.flag("stream"),
        tabcast=CompletionOptions(
            context=tuple(ContextFile(path=file.text("filename"), text=file.text("text")) for file in files)
        ),
    )
    return Infill(request=request, limit_ms=body.integer("t_max_predict_ms", high=2**31) % MAX_LIMIT_MS, fields=fields)


def _seed(body: Fields) -> int | None:
    """Return the seed; llama.cpp draws one for -1."""
    seed = body.optional_integer("seed", low=-1, high=2**63)
    return None if seed == -1 else seed


def props(health: Health) -> dict[str, Any]:
    """Return what clients of llama.cpp ask of a server: its model and its window."""
    return {
        "default_generation_settings": {"n_ctx": health.context_tokens},
        "total_slots": 1,
        "model_alias": health.model,
        "model_path": health.model,
    }


class _Answer:
    """One choice as it grows."""

    def __init__(self) -> None:
        self.text = ""
        self.stats: CompletionStats | None = None

    def to_json(self, asked: Infill, health: Health) -> dict[str, Any]:
        """Return the answer in llama.cpp's form, with the fields that are wanted: those within others by their path."""
        stats = self.stats or CompletionStats(reason="stop_text")
        whole = {
            "index": 0,
            "content": self.text,
            "stop": True,
            "model": health.model,
            "tokens_predicted": stats.tokens,
            "tokens_evaluated": stats.prompt_tokens,
            "tokens_cached": stats.cached_tokens,
            "truncated": False,
            "stop_type": _STOP_TYPES.get(stats.reason, "limit"),
            "stopping_word": "",
            "generation_settings": {},
            "timings": _timings(stats),
        }
        if not asked.fields:
            return whole
        wanted = {field: _at(whole, field) for field in asked.fields}
        return {field: value for field, value in wanted.items() if value is not None}


_STOP_TYPES: Final = {"stop": "eos", "stop_text": "word", "line": "word"}


def _timings(stats: CompletionStats) -> dict[str, float]:
    timings: dict[str, float] = {"cache_n": stats.cached_tokens}
    for name, num_tokens, ms in (
        ("prompt", stats.prompt_tokens - stats.cached_tokens, stats.prefill_ms),
        ("predicted", stats.tokens, stats.decode_ms),
    ):
        timings |= {
            f"{name}_n": num_tokens,
            f"{name}_ms": round(ms, 3),
            f"{name}_per_token_ms": round(ms / num_tokens, 3) if num_tokens else 0.0,
            f"{name}_per_second": round(num_tokens / ms * 1e3, 3) if ms else 0.0,
        }
    return timings


def _at(value: Any, path: str) -> Any:
    for part in path.split("/"):
        value = value.get(part) if isinstance(value, dict) else None
    return value


class _Stream:
    """An answer that goes out piece by piece; nothing is sent before the first."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})

    async def write(self, event: dict[str, Any]) -> None:
        if not self.response.prepared:
            await self.response.prepare(self._request)
        await self.response.write(f"data: {json.dumps(event)}\n\n".encode())


async def answer(
    request: web.Request, asked: Infill, health: Health, events: AsyncIterator[Event]
) -> web.StreamResponse:
    """Answer with what the events say, at once or piece by piece. Raises `InfillFailed` before anything was sent."""
    assert asked.request is not None
    answers = [_Answer() for _ in range(asked.request.n)]
    stream = _Stream(request) if asked.request.stream else None
    await _collect(asked, answers, stream, events)
    found = [answer.to_json(asked, health) for answer in answers]
    if stream is None:
        return web.json_response(found[0] if len(found) == 1 else found)
    for index, last in enumerate(found):
        await stream.write({**last, "index": index, "content": ""})
    await stream.response.write_eof()
    return stream.response


async def _collect(asked: Infill, answers: list[_Answer], stream: _Stream | None, events: AsyncIterator[Event]) -> None:
    """Let the answers grow to their end, or until their time is over."""
    began_s = time.monotonic()
    async for event in events:
        if isinstance(event, JobDone):
            if event.error and (stream is None or not stream.response.prepared):
                raise InfillFailed(event)
            return
        if isinstance(event, ChoiceDone):
            answers[event.choice].stats = event.stats
            continue
        answers[event.choice].text += event.text
        if stream is not None:
            await stream.write({"index": event.choice, "content": event.text, "stop": False})
        if _is_late(asked, answers, began_s):
            return


def ready(asked: Infill, health: Health) -> web.Response:
    """Answer to who only wants the server to get ready."""
    return web.json_response(_Answer().to_json(asked, health))


class InfillFailed(Exception):  # noqa: N818 - an outcome that its caller formats
    """The engine could not answer."""

    def __init__(self, event: JobDone) -> None:
        super().__init__(event.error)
        self.event = event


def _is_late(asked: Infill, answers: list[_Answer], began_s: float) -> bool:
    """Return whether the time for writing is over and there is a whole line."""
    is_over = 0 < asked.limit_ms < (time.monotonic() - began_s) * 1e3
    return is_over and len(answers) == 1 and "\n" in answers[0].text.lstrip("\n")
