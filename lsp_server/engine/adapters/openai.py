"""Implements the adapter for services of the OpenAI completions protocol, which take the text behind as `suffix`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from decoding.protocol import CompletionRequest
from lsp_server.engine.adapters.openai_style import openai_body, openai_parts
from lsp_server.engine.adapters.rendering import fitting, render, stops
from lsp_server.engine.adapters.server import ServerFacts
from lsp_server.engine.stream import Part

MAX_STOPS: Final = 4


class OpenAI:
    """The adapter of a service that may be paid for by the request."""

    path: Final = "/v1/completions"
    is_metered: bool = True
    has_probabilities: Final = True
    heals: Final = False

    def __init__(self, facts: ServerFacts) -> None:
        self._facts = facts

    def body(self, request: CompletionRequest) -> dict[str, Any]:
        """Return the request with a suffix, or with a prompt in the tokens that the user's file names."""
        facts = self._facts
        if facts.fim != "server":
            prompt = render(request, facts.template, facts.context_tokens)
            return openai_body(request, facts, prompt, stops(request, facts.template, MAX_STOPS))
        texts = fitting(request, facts.context_tokens)
        body = openai_body(request, facts, texts.prefix, stops(request, None, MAX_STOPS))
        return {**body, "suffix": texts.suffix} if texts.suffix else body

    def parts(self, request: CompletionRequest, event: dict[str, Any]) -> Iterable[Part]:
        """Return what an event of the OpenAI protocol says."""
        return openai_parts(request, event)
