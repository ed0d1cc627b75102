"""An adapter writes requests in the form that one kind of engine takes."""

from __future__ import annotations

from typing import Any, Protocol

from decoding.protocol import CompletionRequest


class Adapter(Protocol):
    """The form that one kind of engine takes."""

    def body(self, request: CompletionRequest) -> dict[str, Any]:
        """The JSON object that asks for a stream of the answer."""
        ...
