"""Adapts pygls' protocol: every request gets exactly one answer, and no error opens a message box.

It must not know documents or engines. pygls answers a malformed request with a message box and no response, reads
documents from disk that were never opened, and starts coroutines only after it has dispatched all buffered messages;
`readers` are plain functions that see a request's parameters while it is being read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from lsprotocol import types
from pygls.exceptions import (
    JsonRpcException,
    JsonRpcInvalidParams,
    JsonRpcInvalidRequest,
    JsonRpcMethodNotFound,
    JsonRpcServerNotInitialized,
)
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol
from pygls.protocol.json_rpc import JsonRPCNotification, JsonRPCRequestMessage

from lsp_server.log import without_values
from lsp_server.rpc.client_quirks import TriggerDialect

logger = logging.getLogger(__name__)

# pygls would keep documents of its own for these. measured: 62 ms for a change in a text of 10 MB.
_DOCUMENT_METHODS: Final = (
    types.TEXT_DOCUMENT_DID_OPEN,
    types.TEXT_DOCUMENT_DID_CHANGE,
    types.TEXT_DOCUMENT_DID_CLOSE,
    types.NOTEBOOK_DOCUMENT_DID_OPEN,
    types.NOTEBOOK_DOCUMENT_DID_CHANGE,
    types.NOTEBOOK_DOCUMENT_DID_CLOSE,
)

_VERSIONED: Final = (types.TEXT_DOCUMENT_DID_OPEN, types.TEXT_DOCUMENT_DID_CHANGE)
# Stands for null, which was allowed before LSP 3.16.
NO_VERSION: Final = -1

# What Copilot's language server understands beside the standard. pygls knows no types for it: parameters stay JSON.
DID_SHOW: Final = "textDocument/didShowCompletion"
DID_ACCEPT_PART: Final = "textDocument/didPartiallyAcceptCompletion"
DID_FOCUS: Final = "textDocument/didFocus"
INLINE_EDIT: Final = "textDocument/copilotInlineEdit"
DID_SHOW_EDIT: Final = "textDocument/didShowInlineEdit"
# Our own: the cursor rests at a place, where the next request may be for.
DID_REST: Final = "tabcast/didRest"
# Our own: another text has come for where the cursor is, for which the editor may ask.
REFRESH: Final = "tabcast/refresh"
_UNTYPED: Final = (DID_SHOW, DID_ACCEPT_PART, DID_FOCUS, DID_REST, DID_SHOW_EDIT)
# What is told to editors beyond the standard's capabilities.
EXPERIMENTAL: Final = {"inlineEditProvider": {"method": INLINE_EDIT}}

Reader = Callable[[int | str, Any], object]


@dataclass(frozen=True, slots=True)
class _Malformed:
    """A message that hasn't the form that its method asks for; `id` is None for a notification.

    `changed_uri` is the document that it would have changed.
    """

    id: int | str | None
    method: str
    changed_uri: str = ""


class WireProtocol(LanguageServerProtocol):
    """pygls' protocol with the rules above."""

    _capabilities = types.ServerCapabilities()

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.readers: dict[str, Reader] = {}
        self.on_change_not_understood: Callable[[str], None] = lambda _: None
        self.on_cancelled: Callable[[str, Any], None] = lambda _method, _params: None
        self.partial_tokens: dict[int | str, int | str] = {}
        self._is_initialized = False
        self._is_ending = False
        self._dialect = TriggerDialect()
        for method in _DOCUMENT_METHODS:
            del self.fm.builtin_features[method]

    @property
    def server_capabilities(self) -> types.ServerCapabilities:
        """The capabilities that the editor is told of, with what lies beyond the standard."""
        return self._capabilities

    @server_capabilities.setter
    def server_capabilities(self, found: types.ServerCapabilities) -> None:
        found.experimental = EXPERIMENTAL
        self._capabilities = found

    def structure_message(self, data: dict[str, Any]) -> Any:
        """Turn a JSON object into a message. The text of an error may quote a document, so it is not logged."""
        if "jsonrpc" not in data:
            return data
        method = str(data.get("method", ""))
        try:
            self._normalise(method, data)
            if method in _UNTYPED and "id" not in data:
                return JsonRPCNotification(method=method, jsonrpc="2.0", params=data.get("params"))
            if method == INLINE_EDIT and "id" in data:
                return JsonRPCRequestMessage(data["id"], method, "2.0", _checked_place(data.get("params")))
            message = super().structure_message(data)
            self._keep_token(method, data)
            return message
        except Exception as error:
            logger.warning("a malformed message, method %r: %s", method, type(error).__name__)
            return _malformed(data)

    def _keep_token(self, method: str, data: dict[str, Any]) -> None:
        """Keep the token for parts of a result, which LSP 3.18 gives this request, but pygls' type has no place for."""
        if method == types.TEXT_DOCUMENT_INLINE_COMPLETION and isinstance(request_id := data.get("id"), int | str):
            token = data["params"].get("partialResultToken")
            self.partial_tokens.pop(request_id, None)
            if isinstance(token, int | str) and not isinstance(token, bool):
                self.partial_tokens[request_id] = token

    def _normalise(self, method: str, data: dict[str, Any]) -> None:
        """Accept what common clients send: vscode-languageclient 9 has ranges as arrays and counts triggers from 0."""
        if "id" in data and method:
            data.setdefault("params", None)
        params = data.get("params")
        if not isinstance(params, dict):
            return
        if method in _VERSIONED and isinstance(document := params.get("textDocument"), dict):
            document["version"] = NO_VERSION if document.get("version") is None else document["version"]
        if method == types.TEXT_DOCUMENT_DID_CHANGE:
            self._dialect.changed()
            _normalise_changes(params)
        elif method == types.TEXT_DOCUMENT_INLINE_COMPLETION and isinstance(context := params.get("context"), dict):
            if _normalise_range(context.get("selectedCompletionInfo")):
                self._dialect.counts_from_0()
            context["triggerKind"] = self._dialect.meant(context.get("triggerKind"))

    def handle_message(self, message: Any) -> None:
        """Dispatch a message, or refuse it for what it is or when it comes."""
        if isinstance(message, dict):  # pygls leaves an object without `jsonrpc` as it is
            message = _malformed(message)
        method = getattr(message, "method", "")
        request_id = getattr(message, "id", None) if method else None
        if isinstance(message, _Malformed):
            self._refuse(request_id, JsonRpcInvalidParams("the parameters have not the form that the method asks for"))
            if message.changed_uri:
                self.on_change_not_understood(message.changed_uri)
        elif self._is_ending and method != types.EXIT:
            self._refuse(request_id, JsonRpcInvalidRequest("the server is shutting down"))
        elif method == types.INITIALIZE and self._is_initialized:
            self._refuse(request_id, JsonRpcInvalidRequest("the server is initialized already"))
        elif method and not self._is_initialized and method not in (types.INITIALIZE, types.EXIT):
            self._refuse(request_id, JsonRpcServerNotInitialized("the server is not initialized"))
        else:
            self._is_initialized = self._is_initialized or method == types.INITIALIZE
            self._is_ending = self._is_ending or method == types.SHUTDOWN  # from now on, not from its answer on
            self._shutdown = self._shutdown or (self._is_ending and method == types.EXIT)
            super().handle_message(message)

    def _handle_request(self, msg_id: int | str, method_name: str, params: Any) -> None:
        if reader := self.readers.get(method_name):
            try:
                params = reader(msg_id, params)
            except Exception as error:
                logger.error("could not read a request, method %r: %s", method_name, without_values(error))
                self._refuse(msg_id, JsonRpcException("internal error", code=-32603))
                return
        super()._handle_request(msg_id, method_name, params)
        if reader and (answering := self._request_futures.get(msg_id)):
            answering.add_done_callback(partial(self._tell_cancelled, method_name, params))

    def _tell_cancelled(self, method: str, params: Any, answering: Any) -> None:
        """Report that a request was cancelled, even one whose coroutine was cancelled before its first line."""
        if answering.cancelled():
            self.on_cancelled(method, params)

    def _handle_cancel_notification(self, msg_id: int | str) -> None:
        if msg_id in self._request_futures:  # a cancellation often comes after the answer; pygls would warn
            super()._handle_cancel_notification(msg_id)

    def _send_response(self, msg_id: int | str, result: Any = None, error: types.ResponseError | None = None) -> None:
        """Send a response. A result that is a function is made now: once its coroutine has ended, a change may come."""
        if error is None and callable(result):
            try:
                result = result()
            except Exception as failure:
                logger.error("could not make the answer to a request: %s", without_values(failure))
                error = JsonRpcException("internal error", code=-32603).to_response_error()
        super()._send_response(msg_id, result, error)

    def _refuse(self, request_id: int | str | None, error: JsonRpcException) -> None:
        if request_id is not None:
            self._send_response(request_id, error=error.to_response_error())


class WireServer(LanguageServer):
    """pygls' server, which reports errors in the log and not in message boxes."""

    protocol: WireProtocol

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log an error where pygls would open a message box."""
        if isinstance(error, JsonRpcMethodNotFound):  # usual: the editor gets an error and does without
            logger.debug("a request that is not served")
            return
        logger.error("error in %s: %s", getattr(source, "__name__", source), without_values(error))


def _malformed(data: dict[str, Any]) -> _Malformed:
    method, request_id = str(data.get("method", "")), data.get("id")
    uri = ""
    if method == types.TEXT_DOCUMENT_DID_CHANGE and isinstance(params := data.get("params"), dict):
        document = params.get("textDocument")
        uri = str(document.get("uri", "")) if isinstance(document, dict) else ""
    return _Malformed(request_id if method and isinstance(request_id, int | str) else None, method, uri)


def _checked_place(params: Any) -> dict[str, Any]:
    """Return parameters that name a place in a document. Raises `TypeError` if they don't."""
    document, place = (params.get("textDocument"), params.get("position")) if isinstance(params, dict) else (None, None)
    numbers = [place.get("line"), place.get("character")] if isinstance(place, dict) else []
    is_place = len(numbers) == 2 and all(type(number) is int and 0 <= number < 2**31 for number in numbers)
    if not is_place or not isinstance(document, dict) or not isinstance(document.get("uri"), str):
        raise TypeError("a place is a document's address, a line and a character")
    return {"textDocument": document, "position": place}


def _normalise_changes(params: dict[str, Any]) -> None:
    """Drop the null ranges that some clients send with whole texts. Raises `TypeError` if a text is missing."""
    for change in params.get("contentChanges") or ():
        if not isinstance(change, dict) or not isinstance(change.get("text"), str):
            raise TypeError("a change has a text")  # pygls would turn any value into a text
        if change.get("range") is None:
            change.pop("range", None)
        _normalise_range(change)


def _normalise_range(holder: object) -> bool:
    """Turn a range that was sent as an array into an object. Return whether it was an array."""
    if isinstance(holder, dict) and isinstance(holder.get("range"), list) and len(holder["range"]) == 2:
        start, end = holder["range"]
        holder["range"] = {"start": start, "end": end}
        return True
    return False
