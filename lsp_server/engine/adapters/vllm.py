"""Implements the adapter for vLLM, which continues a prompt that we lay out; it refuses `suffix`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from decoding.protocol import CompletionRequest
from lsp_server.engine.adapters.openai_style import openai_body, openai_parts
from lsp_server.engine.adapters.rendering import render, stops
from lsp_server.engine.adapters.server import ServerFacts
from lsp_server.engine.stream import Part

MAX_STOPS: Final = 4


class VLLM:
    """The adapter of `vllm serve`."""

    path: Final = "/v1/completions"
    is_metered: Final = False
    has_probabilities: Final = True
    heals: Final = False

    def __init__(self, facts: ServerFacts) -> None:
        self._facts = facts

    def body(self, request: CompletionRequest) -> dict[str, Any]:
        """Return the request with a prompt in the model's own tokens."""
        facts = self._facts
        prompt = render(request, facts.template, facts.context_tokens)
        return openai_body(request, facts, prompt, stops(request, facts.template, MAX_STOPS))

    def parts(self, request: CompletionRequest, event: dict[str, Any]) -> Iterable[Part]:
        """Return what an event of the OpenAI protocol says."""
        return openai_parts(request, event)
