"""What the front end wants, in one form for every kind of engine; an adapter words it for one kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from decoding.protocol import CompletionRequest, ContextFile, LineMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The text at one cursor. `hints` are texts that may be copied; `session` names the document to the engine.

    `is_idle` for work ahead of time, which gives way to any other.
    """

    prefix: str
    suffix: str
    mode: LineMode
    max_tokens: int
    path: str = ""
    language: str = ""
    repo: str = ""
    context: tuple[ContextFile, ...] = ()
    session: str = ""
    hints: tuple[str, ...] = ()
    num_choices: int = 1
    is_idle: bool = False


class Adapter(Protocol):
    """The form that one kind of engine takes."""

    def render(self, wanted: Wanted) -> CompletionRequest:
        """The request to send."""
        ...
