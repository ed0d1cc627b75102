"""Implements the adapter for Mistral's route for filling in the middle, which answers in pieces of a message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from decoding.protocol import CompletionRequest, CompletionStats
from lsp_server.engine.adapters.openai_style import end_reason
from lsp_server.engine.adapters.rendering import fitting, stops
from lsp_server.engine.adapters.server import ServerFacts
from lsp_server.engine.stream import Delta, Part, as_object, objects

MAX_STOPS: Final = 4


class Mistral:
    """The adapter of Mistral's service, which gives no log-probabilities."""

    path: Final = "/v1/fim/completions"
    is_metered: Final = True
    has_probabilities: Final = False
    heals: Final = False

    def __init__(self, facts: ServerFacts) -> None:
        self._facts = facts

    def body(self, request: CompletionRequest) -> dict[str, Any]:
        """Return the request with the text on both sides of the cursor."""
        texts = fitting(request, self._facts.context_tokens)
        body: dict[str, Any] = {
            "model": self._facts.model,
            "prompt": texts.prefix,
            "suffix": texts.suffix,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stream": True,
        }
        if ends := stops(request, None, MAX_STOPS):
            body["stop"] = ends
        if request.seed is not None:
            body["random_seed"] = request.seed
        return body

    def parts(self, request: CompletionRequest, event: dict[str, Any]) -> Iterator[Part]:
        """Yield what an event says; a piece is a text, or a list of chunks that have texts."""
        for choice in objects(event.get("choices")):
            content = as_object(choice.get("delta") or {}).get("content")
            chunks = objects(content) if isinstance(content, list) else []
            text = content if isinstance(content, str) else "".join(str(chunk.get("text") or "") for chunk in chunks)
            if text:
                yield Delta(text)
            if reason := choice.get("finish_reason"):
                usage = as_object(event.get("usage") or {})
                yield CompletionStats(
                    tokens=int(usage.get("completion_tokens") or 0),
                    prompt_tokens=int(usage.get("prompt_tokens") or 0),
                    reason=end_reason(str(reason), None, request=request),
                )
