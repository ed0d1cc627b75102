"""Keeps a document's context the same as long as reading another would take the engine long.

Context stands at the prompt's beginning, so that with other context everything behind it has to be read anew. A model
that reads fast gets the newest at once; for a slow one, new context counts once it was read ahead, while nobody typed.
It must not know where context comes from.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from decoding.protocol import ContextFile
from lsp_server.context.ranking import CHARS_PER_TOKEN
from lsp_server.engine.supervisor import EngineSupervisor
from lsp_server.settings import Settings

Files = tuple[ContextFile, ...]

# chosen: for a slow model the context of a document changes only so often.
STEADY_S: Final = 60.0


class Reader(Protocol):
    """Who asks the engine, as far as its speed depends on it."""

    @property
    def settings(self) -> Settings: ...  # noqa: D102
    @property
    def engine(self) -> EngineSupervisor: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class _Held:
    files: Files
    since_s: float


class SteadyContext:
    """The context that goes with the requests of each document."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: dict[str, _Held] = {}

    def files(self, uri: str, fresh: Files, reader: Reader) -> Files:
        """Return the context for a document's next request; `fresh` is what is best now."""
        held = self._held.get(uri)
        if held is not None and not is_read_quickly(fresh, reader):
            return held.files
        self.hold(uri, fresh)
        return fresh

    def to_read(self, uri: str, fresh: Files) -> Files:
        """Return the context that is worth reading ahead: the held one, or `fresh` if that was held for long."""
        held = self._held.get(uri)
        is_old = held is None or self._clock() - held.since_s > STEADY_S
        return fresh if held is None or is_old else held.files

    def hold(self, uri: str, files: Files) -> None:
        """Let requests of a document have this context from now on; none may only mean that it isn't gathered yet."""
        held = self._held.get(uri)
        if not files:
            self._held.pop(uri, None)
        elif held is None or held.files != files:
            self._held[uri] = _Held(files, self._clock())

    def forget(self, uri: str | None = None) -> None:
        """Forget the context of a document that was closed, or all, because other files may be read from now on."""
        if uri is None:
            self._held.clear()
        else:
            self._held.pop(uri, None)


def is_read_quickly(files: Files, reader: Reader) -> bool:
    """Return whether the engine reads a whole prompt with this context as soon as a suggestion should come."""
    settings, speed = reader.settings, reader.engine.health.read_tokens_per_s
    if speed <= 0 or settings.latency_ms == 0:
        return True
    num_chars = settings.prefix_chars + settings.suffix_chars + sum(len(file.text) for file in files)
    return num_chars / CHARS_PER_TOKEN / speed * 1000 <= settings.latency_ms
