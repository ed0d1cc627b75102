"""Defines what a session needs of the client of an engine, whichever engine that is."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final, Protocol, runtime_checkable

from decoding.protocol import CompletionRequest, Health
from lsp_server.engine.model_choice import EngineSpec
from lsp_server.engine.stream import Part

# What people call our own engine where a server is in use, too.
THIS_MACHINE: Final = "the engine on this machine"


class Client(Protocol):
    """One front end's connection to an engine.

    `spec` is that of the engine on this machine, which also answers where another can't. `destination` is the host to
    which text goes, "" where it stays on this machine.
    `name` is the user's name for a server, "" for our own engine.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def spec(self) -> EngineSpec: ...  # noqa: D102
    @property
    def destination(self) -> str: ...  # noqa: D102

    async def attach(self) -> Health | None:
        """Return the state of an engine that can be asked at once, or None."""
        ...

    async def ensure(self) -> Health:
        """Return the state of an engine, started if need be. Raises `EngineUnavailable`."""
        ...

    async def wait_ready(self, timeout_s: float = 120) -> Health:
        """Wait until the engine can be asked. Raises `EngineUnavailable`."""
        ...

    def complete(self, request: CompletionRequest) -> AsyncGenerator[Part, None]:
        """Stream one completion; closing the iterator ends the work for it. Raises `EngineUnavailable`."""
        ...

    async def replace_if_stuck(self) -> bool:
        """Replace an engine that computes nothing; return whether it was stuck. Raises `EngineUnavailable`."""
        ...

    async def stop(self) -> bool:
        """Have an engine of this machine end; return whether one did. Raises `EngineUnavailable`."""
        ...

    async def close(self) -> None:
        """Drop all connections."""
        ...


@runtime_checkable
class WritesFirst(Protocol):
    """A client that can have the engine on this machine write a first text while a server is asked.

    `author` is whose texts `complete` streams, as people call it, and `first` the state of the engine on this machine,
    None while that can't be asked. `takes_proposals` tells that the server verifies what another model proposes.
    """

    @property
    def author(self) -> str: ...  # noqa: D102
    @property
    def first(self) -> Health | None: ...  # noqa: D102
    @property
    def takes_proposals(self) -> bool: ...  # noqa: D102

    def complete_first(self, request: CompletionRequest) -> AsyncGenerator[Part, None]:
        """Stream a first text of the engine on this machine. Raises `EngineUnavailable`."""
        ...

    async def read(self, request: CompletionRequest) -> None:
        """Have the server read a prompt, if it does so. Raises `EngineUnavailable`."""
        ...
