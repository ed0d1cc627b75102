"""Implements the adapter for our own engine, which lays out the tokens of the prompt itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from decoding.protocol import CompletionRequest


class OwnEngine:
    """The adapter of `decoding serve`."""

    def body(self, request: CompletionRequest) -> dict[str, Any]:
        """Return the request as JSON in the engine's own form."""
        return replace(request, stream=True).to_json()
