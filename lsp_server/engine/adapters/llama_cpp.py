"""Implements the adapter for llama.cpp's server: `/completion` with a prompt that we lay out.

Where we don't know the model's tokens, `/infill` has the server lay it out by what the GGUF file says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from decoding.protocol import CompletionRequest, CompletionStats, Confidence
from lsp_server.engine.adapters.healing import half_word, without_half_word
from lsp_server.engine.adapters.openai_style import end_reason
from lsp_server.engine.adapters.rendering import fitting, render, stops
from lsp_server.engine.adapters.server import ServerFacts
from lsp_server.engine.stream import Delta, Part, as_object, objects

MAX_STOPS: Final = 16


class LlamaCpp:
    """The adapter of `llama-server`."""

    is_metered: Final = False
    has_probabilities: Final = True
    heals: Final = True

    def __init__(self, facts: ServerFacts) -> None:
        self._facts = facts
        self.path: Final = "/infill" if facts.fim == "server" else "/completion"

    def body(self, request: CompletionRequest) -> dict[str, Any]:
        """Return the request with its prompt, or with the parts that the server makes one of."""
        facts, half = self._facts, half_word(request)
        request = without_half_word(request)
        body: dict[str, Any] = {
            "n_predict": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stop": stops(request, facts.template, MAX_STOPS),
            "stream": True,
            "cache_prompt": True,
        }
        if request.top_k:
            body["top_k"] = request.top_k
        if request.seed is not None:
            body["seed"] = request.seed
        if request.tabcast.confidence:
            body["n_probs"] = 1
        if half:
            body["grammar"] = f"root ::= {json.dumps(half, ensure_ascii=False)} [^\\x00]*"
        if facts.fim != "server":
            return {**body, "prompt": render(request, facts.template, facts.context_tokens)}
        texts = fitting(request, facts.context_tokens)
        extra = [{"filename": file.path, "text": file.text} for file in texts.files]
        return {**body, "input_prefix": texts.prefix, "input_suffix": texts.suffix, "input_extra": extra, "prompt": ""}

    def parts(self, request: CompletionRequest, event: dict[str, Any]) -> Iterator[Part]:
        """Yield what an event says."""
        text, confidence = str(event.get("content") or ""), _confidence(event.get("completion_probabilities"))
        if text or confidence:
            yield Delta(text, confidence=confidence)
        if event.get("stop") is True:
            yield _stats(request, event)


def _confidence(value: object) -> Confidence:
    found = []
    for token in objects(value):
        size = len(str(token.get("token", "")))
        if (logprob := token.get("logprob")) is not None:
            found.append((size, float(logprob)))
    return tuple(found)


def _stats(request: CompletionRequest, event: dict[str, Any]) -> CompletionStats:
    timings = as_object(event.get("timings") or {})
    told = str(event.get("stop_type") or ("limit" if event.get("stopped_limit") else ""))
    reason = "stop" if told == "eos" else end_reason(told, event.get("stopping_word"), request=request)
    return CompletionStats(
        tokens=int(event.get("tokens_predicted") or 0),
        prompt_tokens=int(event.get("tokens_evaluated") or 0),
        cached_tokens=int(timings.get("cache_n") or 0),
        prefill_ms=float(timings.get("prompt_ms") or 0.0),
        decode_ms=float(timings.get("predicted_ms") or 0.0),
        reason=reason,
    )
