"""Reads the engine's answers: a completion's server-sent events, and refusals worded for people.

Knows the JSON of the protocol; it must not know connections, processes or tokens.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from decoding.protocol import CompletionStats, Confidence, ProtocolError, confidence_from_json

if TYPE_CHECKING:
    from aiohttp import ClientResponse

MAX_ERROR_BYTES: Final = 65536
# One event holds a few tokens, or the statistics of a whole answer.
MAX_EVENT_BYTES: Final = 1_000_000


class EngineUnavailable(Exception):  # noqa: N818 - an expected outcome, worded for people
    """No engine answered. The text is one line for people, and `code` one word for programs.

    `retry_s` is how long the other side wants to be left alone, 0 where it doesn't say.
    """

    def __init__(self, message: str, code: str = "absent", *, retry_s: float = 0.0) -> None:
        super().__init__(message)
        self.code = code
        self.retry_s = retry_s


@dataclass(frozen=True, slots=True)
class Delta:
    """More text of one choice, and the probabilities of tokens that ended in it, if they were asked for."""

    text: str
    choice: int = 0
    confidence: Confidence = ()


Part = Delta | CompletionStats


Read = Callable[[dict[str, Any]], Iterable[Part]]


async def deltas(response: ClientResponse, read: Read) -> AsyncGenerator[Part, None]:
    """Yield what the events say: deltas of all choices, and the statistics of each choice behind its last delta.

    `read` reads one event. Raises `EngineUnavailable` if the stream ends before a choice does, and `ProtocolError` or
    another `ValueError` if it doesn't follow its protocol.
    """
    num_ended = 0
    async for event in events(response):
        if event.get("error"):
            raise EngineUnavailable(*_error(event))
        for part in read(event):
            num_ended += isinstance(part, CompletionStats)
            yield part
    if not num_ended:
        raise EngineUnavailable("the engine broke off its answer", "lost")


def own_parts(event: dict[str, Any]) -> Iterator[Part]:
    """Yield what an event of our own engine says."""
    for choice in objects(event.get("choices")):
        more = as_object(choice.get("tabcast") or {})
        text, confidence = str(choice.get("text") or ""), confidence_from_json(more.get("confidence"))
        if text or confidence:
            yield Delta(text, int(choice.get("index") or 0), confidence)
        if choice.get("finish_reason"):
            yield CompletionStats.from_json(more)


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


async def events(response: ClientResponse) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the JSON objects of a stream, which stand behind `data:`, or each in a line of its own.

    An `error:` line of older servers counts as an event that has nothing else. Raises `ValueError`.
    """
    rest, is_bare = b"", "ndjson" in response.content_type
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_EVENT_BYTES:
            raise ProtocolError("an event of the stream has no end")
        for line in lines:
            field, colon, data = (b"data", b":", line) if is_bare else line.partition(b":")
            data = data.strip()
            if data == b"[DONE]":
                return
            if data and colon and field in (b"data", b"error"):
                yield as_object(json.loads(data)) if field == b"data" else {"error": as_object(json.loads(data))}
    if is_bare and rest.strip():
        yield as_object(json.loads(rest))


def _error(body: object) -> tuple[str, str]:
    error = as_object(body).get("error")
    if isinstance(error, str):
        return error, "refused"
    error = as_object(error)
    return str(error.get("message") or "the engine gave no reason"), str(error.get("code") or "refused")


def objects(value: object) -> list[dict[str, Any]]:
    """Return a list of JSON objects, none where there is no list. Raises `ProtocolError`."""
    if not isinstance(value or [], list):
        raise ProtocolError(f"expected a list, got {type(value).__name__}")
    return [as_object(item) for item in value or []]  # type: ignore[attr-defined]


def as_object(value: object) -> dict[str, Any]:
    """Return a JSON object. Raises `ProtocolError` if it is none."""
    if not isinstance(value, dict):
        raise ProtocolError(f"expected an object, got {type(value).__name__}")
    return value
