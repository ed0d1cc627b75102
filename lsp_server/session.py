"""Holds the only mutable state of the front end: settings, open documents, the engine, what was suggested and asked."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from lsprotocol import types
from pygls.uris import to_fs_path

from lsp_server.completion.acceptance import ShownItem, ShownItems
from lsp_server.completion.habits import Habits
from lsp_server.completion.in_flight import InFlight
from lsp_server.completion.pending import CLOSED, CompletionResult, PendingRequest
from lsp_server.completion.reading_ahead import ReadingAhead
from lsp_server.completion.snooze import Snooze
from lsp_server.completion.steady_context import SteadyContext
from lsp_server.context.gather import ContextGatherer
from lsp_server.documents.keystrokes import Keystrokes
from lsp_server.documents.notebooks import Notebooks
from lsp_server.documents.store import DocumentStore
from lsp_server.documents.views import View, view_of
from lsp_server.edits.next_edits import NextEdits
from lsp_server.engine.supervisor import EngineSupervisor
from lsp_server.log import without_values
from lsp_server.model_setup import ModelSetup
from lsp_server.request_log import Entry, RequestLog
from lsp_server.rpc.client_quirks import announces
from lsp_server.rpc.protocol import REFRESH, WireServer
from lsp_server.settings import Settings
from lsp_server.workspace_index import IndexJob, WorkspaceIndexing, is_worth_it

logger = logging.getLogger(__name__)

KEPT_AFTER_S: Final = 30.0
SAVED_AFTER_S: Final = 5.0


@dataclass(slots=True, kw_only=True)
class Session:
    """The state of one editor window.

    `pending` holds the newest request by URI and method, `edit_requests` what tells the newest request for a next edit
    that a newer one came. `options` are the settings that `initialize` brought.
    `toggled` is the user's own choice since `enabled` was set, or None. `replaces_behind_cursor` is true if the editor
    replaces text behind the cursor when an item's range covers it. `reads_copilot_status` is true once the editor has
    shown itself as a client of Copilot's language server. `observers` are called whenever the engine's state
    changes, or suggestions are turned on or off.
    """

    server: WireServer
    options: object
    settings: Settings
    documents: DocumentStore
    engine: EngineSupervisor
    folder_uris: Callable[[], list[str]]
    observers: list[Callable[[Session], None]] = field(default_factory=list)
    in_flight: InFlight = field(default_factory=InFlight)
    keystrokes: Keystrokes = field(default_factory=Keystrokes)
    pending: dict[tuple[str, str], PendingRequest] = field(default_factory=dict)
    notebooks: Notebooks = field(default_factory=Notebooks)
    request_log: RequestLog = field(default_factory=RequestLog)
    model_setup: ModelSetup = field(default_factory=ModelSetup)
    habits: Habits = field(default_factory=Habits)
    steady_context: SteadyContext = field(default_factory=SteadyContext)
    edit_requests: dict[str, asyncio.Event] = field(default_factory=dict)
    shown_items: ShownItems = field(init=False)
    next_edits: NextEdits = field(init=False)
    reading_ahead: ReadingAhead = field(init=False)
    context: ContextGatherer = field(init=False)
    workspace_index: WorkspaceIndexing = field(init=False)
    snooze: Snooze = field(init=False)
    name: str = field(default_factory=lambda: secrets.token_hex(4))
    replaces_behind_cursor: bool = True
    reads_copilot_status: bool = False
    toggled: bool | None = None
    told_problems: set[str] = field(default_factory=set)
    num_pulls: int = 0
    _was_enabled: bool | None = None
    _background: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.shown_items = ShownItems(self.name, self._learn)
        self.next_edits = NextEdits(self.name)
        self.snooze = Snooze(self.tell_observers)
        self.context = ContextGatherer(self.documents, self.folder_uris)
        self.workspace_index = WorkspaceIndexing(self._to_index, self._last_request_s)
        self.reading_ahead = ReadingAhead(self, self.in_background)
        self.engine.on_change = self.tell_observers

    def view(
        self, uri: str, position: types.Position, selected: types.SelectedCompletionInfo | None = None
    ) -> View | None:
        """Return the document as it is to be completed at a position, or None if the document is not served."""
        snapshot = self.documents.snapshot(uri)
        above = self.notebooks.above(uri, self.documents)
        return None if snapshot is None else view_of(snapshot, position, selected, above)

    def note(self, request: PendingRequest, outcome: CompletionResult, ms: float) -> None:
        """Log how a request ended, for the commands `why` and `stats`."""
        self.request_log.record(
            Entry(
                request_id=request.request_id,
                method=request.method,
                document=unquote(request.params.text_document.uri.rpartition("/")[2]),
                reason=outcome.reason,
                detail=outcome.detail,
                ms=ms,
                at_s=self.request_log.now_s(),
                engine=outcome.engine,
            )
        )

    def show_items(self, request: PendingRequest, outcome: CompletionResult) -> list[types.InlineCompletionItem]:
        """Return the items as the editor gets them, and remember them to learn which one is accepted."""
        if request.view is None:
            return []
        items = [request.view.in_original(item) for item in outcome.items]
        return self.shown_items.show(request.view.original, items, outcome.about)

    def _learn(self, offer: ShownItem, is_accepted: bool) -> None:
        """Learn from a decision of the user, and save that soon, together with what comes meanwhile."""
        if self.settings.eagerness != "auto" or offer.about is None:
            return
        is_first = not self.habits.has_unsaved
        self.habits.note(offer.about, is_accepted=is_accepted)
        if is_first:
            self.in_background(self._save_habits())

    async def _save_habits(self) -> None:
        await asyncio.sleep(SAVED_AFTER_S)
        await asyncio.to_thread(self.habits.save)

    def watch(self, taken: ShownItem) -> None:
        """Check after a while how much of an accepted text is still in the document."""
        asyncio.get_running_loop().call_later(KEPT_AFTER_S, self._look_at_kept, taken)

    def _look_at_kept(self, taken: ShownItem) -> None:
        if (lines := self.documents.lines(taken.uri)) is not None:
            self.shown_items.look_at_kept(taken, lines)

    def configure(self, settings: Settings) -> None:
        """Use new settings. What the user toggled stays until `enabled` itself changes."""
        if settings.enabled != self._was_enabled:
            self._was_enabled, self.toggled = settings.enabled, None
        self.steady_context.forget()
        self.settings = settings if self.toggled is None else replace(settings, enabled=self.toggled)
        self.tell_observers()

    def toggle(self, is_enabled: bool) -> None:
        """Turn suggestions on or off for this window, whatever the settings say."""
        self.toggled = is_enabled
        self.snooze.close()
        self.settings = replace(self.settings, enabled=is_enabled)
        self.tell_observers()

    def tell_observers(self) -> None:
        """Tell the observers that the engine's state may have changed, or that suggestions were turned on or off."""
        for observer in self.observers:
            observer(self)
        self.workspace_index.follow()
        self.reading_ahead.follow()

    def ask_again(self, uri: str) -> None:
        """Have an editor that can do so ask again for a document, in place of what it shows."""
        if announces(self.server.client_capabilities, "tabcastRefresh"):
            self.server.protocol.notify(REFRESH, {"uri": uri})

    def in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run work that no request waits for, such as a question to the editor. If it fails, that is only logged."""
        task = asyncio.create_task(_guarded(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def close(self) -> None:
        """Stop all background work and disconnect from the engine."""
        self.in_flight.forget()
        self.snooze.close()
        self.reading_ahead.close()
        self.context.close()
        if self.habits.has_unsaved:
            with suppress(OSError):
                await asyncio.to_thread(self.habits.save)
        await self.model_setup.close()
        await self.workspace_index.close()
        await self.engine.close()

    def _to_index(self) -> IndexJob | None:
        """Return the workspace's folders to index, or None if the user doesn't want it or the engine uses no index."""
        health = self.engine.health
        if not self.settings.index_workspace or health.status != "ready" or not health.searches_code:
            return None
        if (spec := self.engine.spec) is None:
            return None
        paths = [Path(path) for uri in self.folder_uris() if (path := to_fs_path(uri))]
        folders = tuple(folder for folder in dict.fromkeys(paths) if is_worth_it(folder))
        return IndexJob(folders, spec.arguments, spec.directory)

    def _last_request_s(self) -> float:
        return max((request.read_s for request in self.pending.values()), default=-math.inf)

    def forget(self, uri: str) -> None:
        """Drop all state of a closed document, and answer the requests that are pending for it."""
        for key in [key for key in self.pending if key[0] == uri]:
            request = self.pending.pop(key)
            if not request.outcome.done():
                request.outcome.set_result(CLOSED)
        self.reading_ahead.forget(uri)
        self.steady_context.forget(uri)
        self.context.closing(uri)
        self.documents.close(uri)
        self.shown_items.forget(uri)
        self.next_edits.forget(uri)
        self.in_flight.forget(uri)
        self.keystrokes.forget(uri)


async def _guarded(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception as error:
        logger.warning("work in the background failed: %s", without_values(error))
