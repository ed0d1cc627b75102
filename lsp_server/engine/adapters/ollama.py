"""Implements the adapter for Ollama: `/api/generate` with a raw prompt that we lay out.

Where we don't know the model's tokens, its own template lays out prompt and suffix, if it can.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from decoding.protocol import CompletionRequest, CompletionStats, Confidence
from lsp_server.engine.adapters.openai_style import end_reason
from lsp_server.engine.adapters.rendering import fitting, render, stops
from lsp_server.engine.adapters.server import ServerFacts
from lsp_server.engine.stream import Delta, Part, objects

MAX_STOPS: Final = 16
NS_PER_MS: Final = 1e6


class Ollama:
    """The adapter of `ollama serve`. Older releases give no log-probabilities and ignore that they are asked for."""

    path: Final = "/api/generate"
    is_metered: Final = False
    has_probabilities: Final = True
    heals: Final = False

    def __init__(self, facts: ServerFacts) -> None:
        self._facts = facts

    def body(self, request: CompletionRequest) -> dict[str, Any]:
        """Return the request; the window's length goes with it only if the user's file names it.

        A request for another length makes the server load the model anew.
        """
        facts = self._facts
        options: dict[str, Any] = {
            "num_predict": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stop": stops(request, facts.template, MAX_STOPS),
        }
        if facts.told_context:
            options["num_ctx"] = facts.told_context
        if request.seed is not None:
            options["seed"] = request.seed
        body = {"model": facts.model, "stream": True, "options": options, "logprobs": request.tabcast.confidence}
        if facts.fim == "server":
            texts = fitting(request, facts.context_tokens)
            return {**body, "prompt": texts.prefix, "suffix": texts.suffix}
        return {**body, "raw": True, "prompt": render(request, facts.template, facts.context_tokens)}

    def parts(self, request: CompletionRequest, event: dict[str, Any]) -> Iterator[Part]:
        """Yield what a line says."""
        text, confidence = str(event.get("response") or ""), _confidence(event.get("logprobs"))
        if text or confidence:
            yield Delta(text, confidence=confidence)
        if event.get("done") is True:
            yield CompletionStats(
                tokens=int(event.get("eval_count") or 0),
                prompt_tokens=int(event.get("prompt_eval_count") or 0),
                prefill_ms=float(event.get("prompt_eval_duration") or 0) / NS_PER_MS,
                decode_ms=float(event.get("eval_duration") or 0) / NS_PER_MS,
                reason=end_reason(str(event.get("done_reason") or ""), None, request=request),
            )


def _confidence(value: object) -> Confidence:
    tokens = [token for token in objects(value) if token.get("logprob") is not None]
    return tuple((len(str(token.get("token", ""))), float(token["logprob"])) for token in tokens)
