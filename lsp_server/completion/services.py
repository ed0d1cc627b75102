"""Lists the services of the session that answering a completion request may use, and never replaces."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from lsp_server.completion.acceptance import ShownItems
from lsp_server.completion.habits import Habits
from lsp_server.completion.in_flight import InFlight
from lsp_server.completion.snooze import Snooze
from lsp_server.completion.steady_context import SteadyContext
from lsp_server.context.gather import ContextGatherer
from lsp_server.documents.keystrokes import Keystrokes
from lsp_server.documents.store import DocumentStore
from lsp_server.edits.next_edits import NextEdits
from lsp_server.engine.supervisor import EngineSupervisor
from lsp_server.settings import Settings


class CompletionServices(Protocol):
    """The services of one editor window; `lsp_server.session.Session` has them all.

    `name` tells this window's documents from those of others that use the same engine.
    `replaces_behind_cursor` tells whether the editor can replace text behind the cursor when it inserts an item.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def settings(self) -> Settings: ...  # noqa: D102
    @property
    def documents(self) -> DocumentStore: ...  # noqa: D102
    @property
    def engine(self) -> EngineSupervisor: ...  # noqa: D102
    @property
    def in_flight(self) -> InFlight: ...  # noqa: D102
    @property
    def keystrokes(self) -> Keystrokes: ...  # noqa: D102
    @property
    def context(self) -> ContextGatherer: ...  # noqa: D102
    @property
    def steady_context(self) -> SteadyContext: ...  # noqa: D102
    @property
    def folder_uris(self) -> Callable[[], list[str]]: ...  # noqa: D102
    @property
    def habits(self) -> Habits: ...  # noqa: D102
    @property
    def shown_items(self) -> ShownItems: ...  # noqa: D102
    @property
    def next_edits(self) -> NextEdits: ...  # noqa: D102
    @property
    def snooze(self) -> Snooze: ...  # noqa: D102
    @property
    def replaces_behind_cursor(self) -> bool: ...  # noqa: D102
    @property
    def in_background(self) -> Callable[[Coroutine[Any, Any, None]], object]: ...  # noqa: D102

    def ask_again(self, uri: str) -> None:
        """Have the editor ask again for a document, if it can: another text has come for where the cursor is."""
