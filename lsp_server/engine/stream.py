"""Reads the engine's answers: a completion's server-sent events, and refusals worded for people.

Knows the JSON of the protocol; it must not know connections, processes or tokens.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from decoding.protocol import CompletionStats, Confidence, ProtocolError, confidence_from_json

if TYPE_CHECKING:
    from aiohttp import ClientResponse

MAX_ERROR_BYTES: Final = 65536
# One event holds a few tokens, or the statistics of a whole answer.
MAX_EVENT_BYTES: Final = 1_000_000


class EngineUnavailable(Exception):  # noqa: N818 - an expected outcome, worded for people
    """No engine answered. The text is one line for people, and `code` one word for programs."""

    def __init__(self, message: str, code: str = "absent") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Delta:
    """More text of one choice, and the probabilities of tokens that ended in it, if they were asked for."""

    text: str
    choice: int = 0
    confidence: Confidence = ()


Part = Delta | CompletionStats


async def deltas(response: ClientResponse) -> AsyncGenerator[Part, None]:
    """Yield the deltas of all choices, and the statistics of each choice behind its last delta.

    Raises `EngineUnavailable` if the stream ends before a choice does, and `ProtocolError` or another `ValueError` if
    it doesn't follow our protocol.
    """
    num_ended = 0
    async for event in _events(response):
        if "error" in event:
            raise EngineUnavailable(*_error(event))
        for choice in _objects(event.get("choices")):
            more = _object(choice.get("tabcast") or {})
            text, confidence = str(choice.get("text") or ""), confidence_from_json(more.get("confidence"))
            if text or confidence:
                yield Delta(text, int(choice.get("index") or 0), confidence)
            if choice.get("finish_reason"):
                num_ended += 1
                yield CompletionStats.from_json(more)
    if not num_ended:
        raise EngineUnavailable("the engine broke off its answer", "lost")


async def refusal(response: ClientResponse) -> EngineUnavailable:
    """Return the error for an answer whose status is not 200."""
    try:
        message, code = _error(json.loads(await response.content.read(MAX_ERROR_BYTES)))
    except ValueError:
        message, code = f"the engine answered with HTTP status {response.status}", "refused"
    response.close()
    return EngineUnavailable(message, code)


def worded(error: Exception) -> EngineUnavailable:
    """Turn an error of the connection into an `EngineUnavailable` worded for people; raise bugs as they are."""
    from aiohttp import ClientError  # noqa: PLC0415 - the connection imported it in a thread

    if isinstance(error, EngineUnavailable):
        return error
    if isinstance(error, ValueError):
        return EngineUnavailable("the engine's answer can't be understood", "protocol")
    if isinstance(error, ClientError | TimeoutError | OSError):
        return EngineUnavailable(f"the engine went away: {type(error).__name__}", "lost")
    raise error


async def _events(response: ClientResponse) -> AsyncGenerator[dict[str, Any], None]:
    rest = b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_EVENT_BYTES:
            raise ProtocolError("an event of the stream has no end")
        for line in lines:
            data = line.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                return
            if data and data != line.strip():
                yield _object(json.loads(data))


def _error(body: object) -> tuple[str, str]:
    error = _object(_object(body).get("error"))
    return str(error.get("message") or "the engine gave no reason"), str(error.get("code") or "refused")


def _objects(value: object) -> list[dict[str, Any]]:
    if not isinstance(value or [], list):
        raise ProtocolError(f"expected a list, got {type(value).__name__}")
    return [_object(item) for item in value or []]  # type: ignore[attr-defined]


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ProtocolError(f"expected an object, got {type(value).__name__}")
    return value
