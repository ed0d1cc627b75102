"""Has the engine read ahead, while nobody types: a document by windows, and the place where the cursor rests.

Then a request after a jump finds nearly all of its prompt read. An engine that reads any prompt in no time is left
alone. It must not know how requests are answered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final, NamedTuple

from lsprotocol import types

from decoding.protocol import CompletionOptions, CompletionRequest, ContextFile
from lsp_server.completion.ask_engine import request_for, session_name
from lsp_server.completion.build_request import build_request, hides_secrets
from lsp_server.completion.cache import cursor_context
from lsp_server.completion.power import Power
from lsp_server.completion.services import CompletionServices
from lsp_server.completion.steady_context import is_read_quickly
from lsp_server.completion.trigger import decide
from lsp_server.context.budget import windows_around
from lsp_server.documents.changes import end_of_last_change
from lsp_server.documents.read_only import is_read_only
from lsp_server.documents.store import Cursor, Snapshot

# chosen: so long after a document was opened, after its last change, and until the first context is gathered.
OPENED_S: Final = 0.2
CHANGED_S: Final = 0.4
GATHER_S: Final = 0.5
# chosen: so many windows of a document are read, the nearest first; a short document is one. The engine keeps more.
MAX_WINDOWS: Final = 4
# chosen: so long after all was read and nothing was changed, a document is kept on disk.
QUIET_S: Final = 15.0

InBackground = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class _Window(NamedTuple):
    """A part of a document that was read: its first line, and the context before it."""

    uri: str
    first: int
    files: tuple[ContextFile, ...]


class ReadingAhead:
    """Reads ahead for the document that was opened, changed or asked for last, and for the last place of the cursor."""

    def __init__(self, services: CompletionServices, in_background: InBackground, power: Power | None = None) -> None:
        self._services = services
        self._power = power or Power()
        self._in_background = in_background
        self._uri = ""
        self._lines: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._was_ready = False
        self._read: deque[_Window] = deque(maxlen=MAX_WINDOWS)
        self._trunk: asyncio.Task[None] | None = None
        self._place: asyncio.Task[None] | None = None
        self._positions: dict[str, types.Position] = {}
        self._is_asked = False

    def opened(self, uri: str) -> None:
        """Read a document's windows soon."""
        self._later(uri, OPENED_S)

    def changed(self, params: types.DidChangeTextDocumentParams) -> None:
        """Read a document again from its change on, as soon as nobody types.

        Where no request follows, as after an undo or an acceptance, the place of the change is read, too.
        """
        uri, self._is_asked = params.text_document.uri, False
        if (position := end_of_last_change(params)) is not None:
            self._positions[uri], self._lines[uri] = position, position.line
        self._leave_place()
        self._later(uri, CHANGED_S)

    def saved(self, uri: str) -> None:
        """Read the place of the last change: who saves may go on there."""
        if self._services.documents.revision(uri) is not None:
            self._is_asked = False
            self._later(uri, OPENED_S)

    def asked(self, uri: str, line: int) -> None:
        """Note where a document is worked in; of a long one, that part is read first."""
        self._leave_place()
        self._lines[uri], self._is_asked = line, True
        if uri != self._uri or self._timer is None:
            self._later(uri, CHANGED_S)

    def rested(self, uri: str, snapshot: Snapshot, cursor: Cursor) -> None:
        """Read what a request at this place would need, in place of the last one."""
        self._leave_place()
        self._lines[uri], self._is_asked = cursor.line, True
        self._place = self._in_background(self._read_place(snapshot, cursor))
        if uri != self._uri or self._timer is None:
            self._later(uri, CHANGED_S)

    def follow(self) -> None:
        """Begin when the engine becomes ready."""
        is_ready = self._services.engine.health.status == "ready"
        if is_ready and not self._was_ready and self._uri:
            self._later(self._uri, OPENED_S)
        self._was_ready = is_ready
        if not is_ready:
            self._read.clear()

    def forget(self, uri: str) -> None:
        """Forget a document that was closed."""
        self._lines.pop(uri, None)
        self._positions.pop(uri, None)
        self._read = deque((window for window in self._read if window.uri != uri), MAX_WINDOWS)
        if uri == self._uri:
            self.close()
            self._uri = ""

    def close(self) -> None:
        """Read nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._leave_place()
        self._leave_trunk()

    def _leave_trunk(self) -> None:
        if self._trunk is not None:
            self._trunk.cancel()
            self._trunk = None

    def _leave_place(self) -> None:
        if self._place is not None:
            self._place.cancel()  # which closes its stream, so that the engine stops
            self._place = None

    def _later(self, uri: str, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._uri = uri
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._begin, uri)

    def _begin(self, uri: str) -> None:
        self._timer = None
        if (snapshot := self._services.documents.snapshot(uri)) is None:
            return
        position = self._positions.get(uri)
        if not self._is_asked and position is not None and position.line < len(snapshot.lines):
            self._leave_place()
            self._place = self._in_background(self._read_place(snapshot, snapshot.cursor(position)))
        self._leave_trunk()
        self._trunk = self._in_background(self._read_trunk(snapshot))

    async def _read_trunk(self, snapshot: Snapshot) -> None:
        services, uri = self._services, snapshot.uri
        line = min(self._lines.get(uri, 0), len(snapshot.lines) - 1)
        if not await self._is_worth_it(snapshot) or not await self._gather(snapshot, line):
            return
        files = services.steady_context.to_read(uri, services.context.files(uri))
        settings, is_first = services.settings, True
        ends = windows_around(snapshot.lines, line, settings.prefix_chars, MAX_WINDOWS)
        for end in ends:
            request = self._window(snapshot, end, files)
            window = _Window(uri, end - request.prompt.count("\n"), files)
            if is_first or window not in self._read:
                if not await services.engine.read_ahead(request):
                    return  # another window is wanted first, or the text has changed
                self._read.append(window)
                services.steady_context.hold(uri, files)
            is_first = False  # the others may be read before their last changes: nobody works there
        await self._keep(snapshot, ends[0])

    async def _keep(self, snapshot: Snapshot, end: int) -> None:
        """Have the engine keep a window on disk for its next start: the document's own text, and no secrets."""
        services = self._services
        if not snapshot.uri.startswith("file:") or hides_secrets(snapshot, Cursor(end, 0), services.settings):
            return
        await asyncio.sleep(QUIET_S)
        if await self._power.is_on_battery() or not await self._is_worth_it(snapshot):
            return
        request = self._window(snapshot, end, ())
        await services.engine.read_ahead(replace(request, tabcast=replace(request.tabcast, keep=True)))

    def _window(self, snapshot: Snapshot, end: int, files: tuple[ContextFile, ...]) -> CompletionRequest:
        services = self._services
        options = CompletionOptions(
            context=files, session=session_name(services, snapshot.uri), priority="idle", prepare="trunk"
        )
        request = build_request(
            snapshot, Cursor(end, 0), "line", services.settings, services.folder_uris(), options=options
        )
        return replace(request, suffix="")

    async def _read_place(self, snapshot: Snapshot, cursor: Cursor) -> None:
        services, spot = self._services, cursor_context(snapshot, cursor)
        mode = decide(spot.place, is_invoked=True, language=spot.language).mode
        if mode is None or not await self._is_worth_it(snapshot):
            return
        services.in_flight.leave(spot, mode)
        settings, tokens = services.settings, services.engine.health.context_tokens
        await services.context.prepare(snapshot, cursor.line, settings.context, tokens)
        request = request_for(services, snapshot, cursor, mode, is_idle=True)
        await services.engine.read_ahead(replace(request, tabcast=replace(request.tabcast, prepare="place")))

    async def _gather(self, snapshot: Snapshot, line: int) -> bool:
        """Gather the first context of a document, without haste; return whether it is still the same document."""
        services = self._services
        for _ in range(2):
            settings, tokens = services.settings, services.engine.health.context_tokens
            await services.context.prepare(snapshot, line, settings.context, tokens)
            if services.context.files(snapshot.uri):
                break
            await asyncio.sleep(GATHER_S)
        return services.documents.revision(snapshot.uri) == snapshot.revision

    async def _is_worth_it(self, snapshot: Snapshot) -> bool:
        """Return whether suggestions may come here, and from an engine that needs time to read."""
        services, health, language = self._services, self._services.engine.health, snapshot.language
        settings = services.settings
        if (
            not settings.enabled
            or services.snooze.minutes_left
            or language in settings.disabled_languages
            or is_read_only(snapshot.uri)
        ):
            return False
        if health.status != "ready" or (health.languages and language not in health.languages):
            return False
        if is_read_quickly(services.context.files(snapshot.uri), services) or settings.read_ahead == "never":
            return False
        if settings.read_ahead == "auto" and await self._power.is_on_battery():
            return False
        return not await services.context.ignored_by(snapshot.uri)
