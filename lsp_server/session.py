"""The only mutable state of the front end: settings, open documents, the engine, what was suggested and asked."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from lsprotocol import types

from lsp_server.adapters import Adapter
from lsp_server.adapters.own import OwnEngine
from lsp_server.documents import DocumentStore, Snapshot
from lsp_server.engine_keeper import EngineKeeper
from lsp_server.settings import Settings
from lsp_server.suggestions import Suggestion


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a request ended: one or two words for `reason`, more in `detail`; `item` is what is shown, if anything."""

    reason: str
    detail: str = ""
    item: types.InlineCompletionItem | None = None
    ms: float = 0.0


@dataclass(slots=True, kw_only=True)
class Asked:
    """One request, bound to the moment it was read. `outcome` is set once, by its work or by a newer request."""

    request_id: int | str
    params: types.InlineCompletionParams
    snapshot: Snapshot | None
    read_s: float
    outcome: asyncio.Future[Outcome]


@dataclass(slots=True, kw_only=True)
class Session:
    """One editor window. `suggested` and `asked` are by URI: the last finished suggestion and the newest request."""

    settings: Settings
    documents: DocumentStore
    engine: EngineKeeper
    folder_uris: Callable[[], list[str]]
    adapter: Adapter = field(default_factory=OwnEngine)
    suggested: dict[str, Suggestion] = field(default_factory=dict)
    asked: dict[str, Asked] = field(default_factory=dict)
    last_outcome: Outcome | None = None
    name: str = field(default_factory=lambda: secrets.token_hex(4))

    def forget(self, uri: str) -> None:
        """Drop what is known of a closed document."""
        self.documents.close(uri)
        self.suggested.pop(uri, None)
        self.asked.pop(uri, None)
