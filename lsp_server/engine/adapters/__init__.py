"""Defines the seam through which requests are written in the form that one kind of engine takes, and answers read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from decoding.protocol import CompletionRequest
from lsp_server.engine.stream import Part


class Adapter(Protocol):
    """Writes requests in the form that one kind of engine takes, and reads the events of its streams.

    One adapter serves many streams at once and keeps nothing of them. `path` begins with /v1/ where the route belongs
    to the OpenAI protocol. `is_metered`: each request is paid for, so that none is sent ahead. `has_probabilities`: its
    answers have log-probabilities. `heals`: it takes a half word off the prompt, with which the
    server has to begin its answer (`healing.py`).
    """

    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def is_metered(self) -> bool: ...  # noqa: D102
    @property
    def has_probabilities(self) -> bool: ...  # noqa: D102
    @property
    def heals(self) -> bool: ...  # noqa: D102

    def body(self, request: CompletionRequest) -> dict[str, Any]:
        """Return the JSON object that asks for a stream of the answer."""
        ...

    def parts(self, request: CompletionRequest, event: dict[str, Any]) -> Iterable[Part]:
        """Return what an event of a request's stream says. Raises `ValueError` if it is of another form."""
        ...
