"""Reading the engine's answers: a completion's server-sent events, and refusals worded for people.

Knows the JSON of the protocol; it must not know connections, processes or tokens.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Final

from decoding.protocol import CompletionStats, ProtocolError

if TYPE_CHECKING:
    from aiohttp import ClientResponse

MAX_ERROR_BYTES: Final = 65536


class EngineUnavailable(Exception):  # noqa: N818 - an expected outcome, worded for people
    """No answer from an engine; the text is one line for people, `code` one word for programs."""

    def __init__(self, message: str, code: str = "absent") -> None:
        super().__init__(message)
        self.code = code


async def deltas(response: ClientResponse) -> AsyncGenerator[str | CompletionStats, None]:
    """The text deltas of the first choice, then its statistics.

    Raises `EngineUnavailable` if the stream ends before the choice does.
    """
    async for event in _events(response):
        if "error" in event:
            raise EngineUnavailable(*_error(event))
        for choice in event.get("choices") or ():
            if choice.get("text"):
                yield str(choice["text"])
            if choice.get("finish_reason"):
                yield CompletionStats.from_json(choice.get("tabcast") or {})
                return
    raise EngineUnavailable("the engine broke off its answer", "lost")


async def refusal(response: ClientResponse) -> EngineUnavailable:
    """The error that an answer other than 200 stands for."""
    try:
        message, code = _error(json.loads(await response.content.read(MAX_ERROR_BYTES)))
    except ValueError:
        message, code = f"the engine answered with HTTP status {response.status}", "refused"
    response.close()
    return EngineUnavailable(message, code)


async def _events(response: ClientResponse) -> AsyncGenerator[dict[str, Any], None]:
    rest = b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            data = line.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                return
            if data and data != line.strip():
                yield _object(json.loads(data))


def _error(body: object) -> tuple[str, str]:
    error = _object(_object(body).get("error"))
    return str(error.get("message") or "the engine gave no reason"), str(error.get("code") or "refused")


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ProtocolError(f"expected an object, got {type(value).__name__}")
    return value
