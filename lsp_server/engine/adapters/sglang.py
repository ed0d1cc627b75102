"""Implements the adapter for SGLang, which lays out a `suffix` where it was started with `--completion-template`.

Without that option it ignores the suffix and says nothing: then `fim` names the model's tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from decoding.protocol import CompletionRequest
from lsp_server.engine.adapters.openai import suffix_body
from lsp_server.engine.adapters.openai_style import openai_parts
from lsp_server.engine.adapters.server import ServerFacts
from lsp_server.engine.stream import Part


class SGLang:
    """The adapter of SGLang's server."""

    path: Final = "/v1/completions"
    has_choices: Final = True
    is_metered: Final = False
    has_probabilities: Final = True

    def __init__(self, facts: ServerFacts) -> None:
        self._facts = facts

    def body(self, request: CompletionRequest) -> dict[str, Any]:
        """Return the request with a suffix, or with a prompt in the tokens that the user's file names."""
        return suffix_body(request, self._facts)

    def parts(self, request: CompletionRequest, event: dict[str, Any]) -> Iterable[Part]:
        """Return what an event of the OpenAI protocol says."""
        return openai_parts(request, event)
