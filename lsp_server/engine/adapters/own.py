"""Implements the adapter for our own engine, which lays out the tokens of the prompt itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from decoding.protocol import CompletionRequest
from lsp_server.engine.stream import Part, own_parts


class OwnEngine:
    """The adapter of `decoding serve`."""

    path: Final = "/v1/completions"
    is_metered: Final = False
    has_probabilities: Final = True
    heals: Final = False

    def body(self, request: CompletionRequest) -> dict[str, Any]:
        """Return the request as JSON in the engine's own form."""
        return replace(request, stream=True).to_json()

    def parts(self, _request: CompletionRequest, event: dict[str, Any]) -> Iterable[Part]:
        """Return the deltas of all choices, and the statistics of each that ends."""
        return own_parts(event)
