"""Defines the seam through which requests are written in the form that one kind of engine takes."""

from __future__ import annotations

from typing import Any, Protocol

from decoding.protocol import CompletionRequest


class Adapter(Protocol):
    """Writes requests in the form that one kind of engine takes."""

    def body(self, request: CompletionRequest) -> dict[str, Any]:
        """Return the JSON object that asks for a stream of the answer."""
        ...
