"""Builds the language server: a table of features, imported when they are first needed.

Until `initialize` is answered only pygls, settings and log are imported; document changes are never lost meanwhile,
because a notification imports what it needs before it returns.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcInternalError
from pygls.io_ import StdoutWriter

from decoding.protocol import VERSION, Health
from lsp_server.log import set_up_logging, without_values
from lsp_server.rpc.client_process import is_loopback, watch_process
from lsp_server.rpc.client_quirks import replaces_behind_cursor
from lsp_server.rpc.protocol import (
    DID_ACCEPT_PART,
    DID_FOCUS,
    DID_REST,
    DID_SHOW,
    DID_SHOW_EDIT,
    INLINE_EDIT,
    WireProtocol,
    WireServer,
)
from lsp_server.rpc.transport import Frames, StreamFrames, dispatch_frames, standard_input
from lsp_server.settings import read_settings

if TYPE_CHECKING:
    from lsp_server.engine.seam import Client
    from lsp_server.engine.supervisor import ClientFactory
    from lsp_server.session import Session

logger = logging.getLogger(__name__)

NOTIFICATIONS: Final = {
    types.INITIALIZED: "lifecycle.initialized",
    types.TEXT_DOCUMENT_DID_OPEN: "lifecycle.did_open",
    types.TEXT_DOCUMENT_DID_CHANGE: "lifecycle.did_change",
    types.TEXT_DOCUMENT_DID_SAVE: "lifecycle.did_save",
    types.TEXT_DOCUMENT_DID_CLOSE: "lifecycle.did_close",
    types.NOTEBOOK_DOCUMENT_DID_OPEN: "notebooks.did_open",
    types.NOTEBOOK_DOCUMENT_DID_CHANGE: "notebooks.did_change",
    types.NOTEBOOK_DOCUMENT_DID_CLOSE: "notebooks.did_close",
    types.WORKSPACE_DID_CHANGE_CONFIGURATION: "lifecycle.did_change_configuration",
    types.WORKSPACE_DID_CHANGE_WATCHED_FILES: "lifecycle.did_change_watched_files",
    # Optional methods of Copilot's language server, which some clients use with any.
    DID_SHOW: "copilot.did_show",
    DID_ACCEPT_PART: "copilot.did_accept_part",
    DID_FOCUS: "copilot.did_focus",
    DID_SHOW_EDIT: "inline_edits.did_show",
    DID_REST: "resting.did_rest",
}
REQUESTS: Final = {
    types.TEXT_DOCUMENT_INLINE_COMPLETION: "inline_completion.answer",
    INLINE_EDIT: "inline_edits.answer",
    types.SHUTDOWN: "lifecycle.shutdown",
}
POP_UP: Final = "completion.answer"
POP_UP_OPTIONS: Final = types.CompletionOptions(trigger_characters=[".", "(", "[", ",", "="])
# Without options pygls does not tell the editor of the feature, and no editor asks for what it wasn't told of.
NOTEBOOKS: Final = types.NotebookDocumentSyncOptions(
    notebook_selector=[types.NotebookDocumentFilterWithNotebook(notebook="*")]
)
OPTIONS: Final = {types.TEXT_DOCUMENT_INLINE_COMPLETION: types.InlineCompletionOptions()}
READERS: Final = {
    types.TEXT_DOCUMENT_INLINE_COMPLETION: "inline_completion.read",
    types.TEXT_DOCUMENT_COMPLETION: "completion.read",
    types.WORKSPACE_EXECUTE_COMMAND: "setup.read",
    INLINE_EDIT: "inline_edits.read",
}
CANCELLED: Final = {types.WORKSPACE_EXECUTE_COMMAND: "setup.cancelled", INLINE_EDIT: "inline_edits.cancelled"}
COMMANDS: Final = {
    "tabcast.server.why": "commands.why",
    "tabcast.server.stats": "commands.stats",
    "tabcast.server.toggle": "commands.toggle",
    "tabcast.server.snooze": "commands.snooze",
    "tabcast.server.restartEngine": "commands.restart_engine",
    "tabcast.server.selectModel": "commands.select_model",
    "tabcast.server.setup": "setup.set_up",
    "tabcast.server.acceptWord": "commands.accept_word",
    "tabcast.server.acceptLine": "commands.accept_line",
    "tabcast.server.accepted": "commands.accepted",
    "tabcast.server.rejected": "commands.rejected",
    "tabcast.server.editAccepted": "inline_edits.accepted",
    "tabcast.server.editRejected": "inline_edits.rejected",
    "tabcast.server.forgetHabits": "commands.forget_habits",
}


class Front:
    """Puts the table's handlers, the server and one session together."""

    def __init__(self, make_client: ClientFactory) -> None:
        self.server = WireServer("tabcast", VERSION, protocol_cls=WireProtocol, notebook_document_sync=NOTEBOOKS)
        self.server.protocol.on_change_not_understood = partial(self._notify, "lifecycle.change_not_understood")
        self.server.protocol.on_cancelled = self._cancelled
        self._make_client = make_client
        self._options: object = None
        self._client: types.ClientInfo | None = None
        self._session: Session | None = None
        self._watched_ids: set[int] = set()
        self._is_ending = False
        self.is_client_gone = False
        self.is_client_local = True
        self.server.feature(types.INITIALIZE)(partial(self._initialize))
        for method, name in NOTIFICATIONS.items():
            self.server.feature(method)(partial(self._notify, name))
        for method, name in REQUESTS.items():
            self.server.feature(method, OPTIONS.get(method))(self._request_handler(name))
        for method, name in READERS.items():
            self.server.protocol.readers[method] = partial(self._read, name)
        for command, name in COMMANDS.items():
            self.server.command(command)(self._command_handler(name))

    @property
    def session(self) -> Session:
        """The session. It is made when the first message after `initialize` needs it."""
        if self._session is None:
            from lsp_server.documents.store import DocumentStore  # noqa: PLC0415
            from lsp_server.engine.supervisor import EngineSupervisor  # noqa: PLC0415
            from lsp_server.features.completion import Registration  # noqa: PLC0415
            from lsp_server.features.destination import Destination  # noqa: PLC0415
            from lsp_server.features.progress import LoadingProgress  # noqa: PLC0415
            from lsp_server.features.status import Status  # noqa: PLC0415
            from lsp_server.session import Session  # noqa: PLC0415

            workspace = self.server.workspace
            self._session = Session(
                server=self.server,
                options=self._options,
                settings=read_settings(self._options)[0],
                documents=DocumentStore(types.PositionEncodingKind(workspace.position_encoding).value),
                engine=EngineSupervisor(self._make_client),
                folder_uris=lambda: [*workspace.folders, *([workspace.root_uri] if workspace.root_uri else [])],
                replaces_behind_cursor=replaces_behind_cursor(self._client),
                observers=[
                    Destination().show,
                    LoadingProgress().show,
                    Status().show,
                    Registration(POP_UP_OPTIONS).follow,
                ],
            )
            self._serve_pop_ups()  # too late for the answer to `initialize`, but the editor may let us register it
        return self._session

    async def serve(self, frames: Frames) -> None:
        """Handle messages until the input ends. Raises `SystemExit` with the code that `exit` asks for."""
        try:
            await dispatch_frames(frames, self._handle_message)
        finally:
            self._is_ending = True
            if self._session is not None:
                await self._session.close()

    def watch_client(self, process_id: int | None) -> None:
        """End the task that calls this when the editor's process has ended; `None` means that the editor named none."""
        task = asyncio.current_task()
        if process_id is None or task is None or process_id in self._watched_ids:
            return
        self._watched_ids.add(process_id)

        def end() -> None:
            if not self._is_ending:  # otherwise the editor has asked for the end, and it is under way
                self._is_ending = self.is_client_gone = True
                task.cancel()

        def end_from_thread() -> None:
            with suppress(RuntimeError):  # the event loop has ended
                task.get_loop().call_soon_threadsafe(end)

        watch_process(process_id, end_from_thread)

    def _handle_message(self, body: bytes) -> None:
        protocol = self.server.protocol
        try:
            protocol.handle_message(json.loads(body, object_hook=protocol.structure_message))
        except Exception as error:
            self.server.report_server_error(error, JsonRpcException)

    def _initialize(self, params: types.InitializeParams) -> None:
        self._options, self._client = params.initialization_options, params.client_info
        if self.is_client_local:
            self.watch_client(params.process_id)
        document = params.capabilities.text_document
        has_inline = document is not None and document.inline_completion is not None
        if read_settings(self._options)[0].fills_pop_ups(has_inline=has_inline):
            self._serve_pop_ups()  # before pygls answers, so that the answer names it among the capabilities

    def _serve_pop_ups(self) -> None:
        if types.TEXT_DOCUMENT_COMPLETION not in self.server.protocol.fm.features:
            handler = self._request_handler(POP_UP)
            self.server.feature(types.TEXT_DOCUMENT_COMPLETION, POP_UP_OPTIONS)(handler)

    def _notify(self, name: str, params: Any) -> None:
        try:
            _handler(name)(self.session, params)
        except Exception as error:
            logger.error("%s failed: %s", name, without_values(error))

    def _cancelled(self, method: str, params: Any) -> None:
        self._notify(CANCELLED.get(method, "inline_completion.cancelled"), params)

    def _read(self, name: str, request_id: int | str, params: Any) -> object:
        return _handler(name)(self.session, request_id, params)

    def _request_handler(self, name: str) -> Callable[[Any], Any]:
        async def handle(params: Any) -> Any:
            return await self._handle(name, params)

        return handle

    def _command_handler(self, name: str) -> Callable[..., Any]:
        async def handle(*arguments: Any) -> Any:
            return await self._handle(name, *arguments)

        return handle

    async def _handle(self, name: str, *arguments: Any) -> Any:
        try:
            return await _handler(name)(self.session, *arguments)
        except Exception as error:
            logger.error("%s failed: %s", name, without_values(error))
            raise JsonRpcInternalError(f"{name} failed, see the log") from None


@cache
def _handler(name: str) -> Callable[..., Any]:
    module, function = name.split(".")
    handler: Callable[..., Any] = getattr(importlib.import_module(f"lsp_server.features.{module}"), function)
    return handler


def own_engine(arguments: Sequence[str] = ()) -> ClientFactory:
    """Return a factory of clients for the engine of the user's own configuration, environment and command line."""

    def make(on_health: Callable[[Health], None], model: str) -> Client:
        from lsp_server.engine.choosing import make_client  # noqa: PLC0415

        return make_client(arguments, model, on_health)

    return make


def run_stdio(make_client: ClientFactory | None = None, client_process_id: int | None = None) -> None:
    """Serve one editor over standard input and output until the input ends, or until the editor's process has ended."""
    set_up_logging()
    output = sys.stdout.buffer
    sys.stdout = sys.stderr  # a stray print must not break the protocol
    front = Front(make_client or own_engine())
    _run(front, _serve_stdio(front, output, client_process_id))


def run_tcp(
    host: str, port: int, make_client: ClientFactory | None = None, client_process_id: int | None = None
) -> None:
    """Serve the first editor that connects, until it disconnects or its process has ended."""
    set_up_logging()
    front = Front(make_client or own_engine())
    _run(front, _serve_tcp(front, host, port, client_process_id))


def _run(front: Front, serving: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(serving)
    except asyncio.CancelledError:
        if not front.is_client_gone:
            raise
        logger.info("the editor's process has ended")


async def _serve_stdio(front: Front, output: BinaryIO, client_process_id: int | None) -> None:
    front.watch_client(client_process_id)
    front.server.protocol.set_writer(StdoutWriter(output))
    await front.serve(await standard_input(sys.stdin.buffer, output, front.server.thread_pool))


async def _serve_tcp(front: Front, host: str, port: int, client_process_id: int | None) -> None:
    front.watch_client(client_process_id)
    connected: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
        asyncio.get_running_loop().create_future()
    )

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if connected.done():
            writer.close()
        else:
            connected.set_result((reader, writer))

    listener = await asyncio.start_server(accept, host, port)
    sys.stderr.write(f"tabcast: listening on {host}:{listener.sockets[0].getsockname()[1]}\n")
    sys.stderr.flush()
    reader, writer = await connected
    listener.close()
    # A client on another machine names a process of that machine; here the number may belong to any other process.
    front.is_client_local = is_loopback(writer.get_extra_info("peername")[0])
    front.server.protocol.set_writer(writer)
    await front.serve(StreamFrames(reader))
