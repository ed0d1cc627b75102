"""Writes requests and reads streams in the form of the OpenAI completions protocol, as several kinds speak it.

It must not know which kind asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from decoding.protocol import CompletionRequest, CompletionStats, Confidence
from lsp_server.engine.adapters.server import ServerFacts
from lsp_server.engine.stream import Delta, Part, as_object, objects


def openai_body(request: CompletionRequest, facts: ServerFacts, prompt: str, stops: list[str]) -> dict[str, Any]:
    """Return the fields that every server of this protocol takes."""
    body: dict[str, Any] = {
        "model": facts.model,
        "prompt": prompt,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stream": True,
    }
    if stops:
        body["stop"] = stops
    if request.seed is not None:
        body["seed"] = request.seed
    if request.tabcast.confidence:
        body["logprobs"] = 1
    return body


def openai_parts(request: CompletionRequest, event: dict[str, Any]) -> Iterator[Part]:
    """Yield what an event of a request's stream says."""
    for choice in objects(event.get("choices")):
        text, confidence = str(choice.get("text") or ""), _confidence(choice.get("logprobs"))
        if text or confidence:
            yield Delta(text, int(choice.get("index") or 0), confidence)
        if reason := choice.get("finish_reason"):
            yield CompletionStats(reason=end_reason(str(reason), choice.get("stop_reason"), request=request))


def end_reason(told: str, stop_text: object, *, request: CompletionRequest) -> str:
    """Return why an answer ended, in our words.

    Most servers don't say whether a stop text or the model ended an answer: a line is taken for complete either way.
    """
    if told in ("length", "limit", "max_tokens"):
        return "length"
    if stop_text == "\n":
        return "line"
    if stop_text:
        return "stop_text"
    return "line" if request.tabcast.line_mode == "line" else "stop"


def _confidence(value: object) -> Confidence:
    """Read log-probabilities; a token's length is told by the next one's offset where there are offsets."""
    if not value:
        return ()
    body = as_object(value)
    tokens, scores = body.get("tokens") or [], body.get("token_logprobs") or []
    if not isinstance(tokens, list) or not isinstance(scores, list):
        raise ValueError("logprobs have another form")
    offsets = body.get("text_offset")
    sizes = [_size(token) for token in tokens]
    if isinstance(offsets, list) and len(offsets) == len(tokens):
        sizes = [max(0, int(after) - int(before)) for before, after in pairwise(offsets)] + sizes[-1:]
    return tuple((size, float(score)) for size, score in zip(sizes, scores, strict=False) if score is not None)


def _size(token: object) -> int:
    """Return how many characters a token shows; one that ends within a character is given as its bytes."""
    return 0 if str(token).startswith(("bytes:", "token_id:")) else len(str(token))
