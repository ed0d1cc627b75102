"""What our wire does differently from pygls: every request gets exactly one answer, and nobody gets a message box.

It must not know documents or engines. pygls answers a malformed request with a message box and no response, reads
documents from disk that were never opened, and starts coroutines only after it has dispatched all buffered messages;
`readers` are plain functions that see a request's parameters while it is being read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams, JsonRpcInvalidRequest, JsonRpcServerNotInitialized
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol

from lsp_server.log import without_values

logger = logging.getLogger(__name__)

# pygls keeps documents of its own, at 62 ms for a change in a text of 10 MB.
_DOCUMENT_METHODS: Final = (
    types.TEXT_DOCUMENT_DID_OPEN,
    types.TEXT_DOCUMENT_DID_CHANGE,
    types.TEXT_DOCUMENT_DID_CLOSE,
)

Reader = Callable[[int | str, Any], object]


@dataclass(frozen=True, slots=True)
class _Malformed:
    """A message that has not the form its method asks for; `id` is None for a notification."""

    id: int | str | None
    method: str


class WireProtocol(LanguageServerProtocol):
    """pygls' protocol with the rules above."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.readers: dict[str, Reader] = {}
        self._is_initialized = False
        for method in _DOCUMENT_METHODS:
            del self.fm.builtin_features[method]

    def structure_message(self, data: dict[str, Any]) -> Any:
        """Turn a JSON object into a message. The text of an error may quote a document, so it is not logged."""
        if "jsonrpc" not in data:
            return data
        method = str(data.get("method", ""))
        try:
            _normalise(method, data)
            return super().structure_message(data)
        except Exception as error:
            logger.warning("a malformed message, method %r: %s", method, type(error).__name__)
            return _malformed(data)

    def handle_message(self, message: Any) -> None:
        """Dispatch a message, or refuse it for what it is or when it comes."""
        if isinstance(message, dict):  # the mark of JSON-RPC is missing
            message = _malformed(message)
        method = getattr(message, "method", "")
        request_id = getattr(message, "id", None) if method else None
        if isinstance(message, _Malformed):
            self._refuse(request_id, JsonRpcInvalidParams("the parameters have not the form that the method asks for"))
        elif self._shutdown and method != types.EXIT:
            self._refuse(request_id, JsonRpcInvalidRequest("the server is shutting down"))
        elif method == types.INITIALIZE and self._is_initialized:
            self._refuse(request_id, JsonRpcInvalidRequest("the server is initialized already"))
        elif method and not self._is_initialized and method not in (types.INITIALIZE, types.EXIT):
            self._refuse(request_id, JsonRpcServerNotInitialized("the server is not initialized"))
        else:
            self._is_initialized = self._is_initialized or method == types.INITIALIZE
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

    def _handle_cancel_notification(self, msg_id: int | str) -> None:
        if msg_id in self._request_futures:  # a late one is usual, and no reason for a warning
            super()._handle_cancel_notification(msg_id)

    def _refuse(self, request_id: int | str | None, error: JsonRpcException) -> None:
        if request_id is not None:
            self._send_response(request_id, error=error.to_response_error())


class WireServer(LanguageServer):
    """pygls' server, which reports errors in the log and not to the user's face."""

    protocol: WireProtocol

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Take the place of pygls' message box."""
        logger.error("error in %s: %s", getattr(source, "__name__", source), without_values(error))


def _malformed(data: dict[str, Any]) -> _Malformed:
    method, request_id = str(data.get("method", "")), data.get("id")
    return _Malformed(request_id if method and isinstance(request_id, int | str) else None, method)


def _normalise(method: str, data: dict[str, Any]) -> None:
    """Accept what common clients send: vscode-languageclient 9 has trigger kind 0 and ranges as arrays."""
    if "id" in data and method:
        data.setdefault("params", None)
    if method != types.TEXT_DOCUMENT_INLINE_COMPLETION or not isinstance(data.get("params"), dict):
        return
    context = data["params"].get("context")
    if not isinstance(context, dict):
        return
    if context.get("triggerKind") == 0:
        context["triggerKind"] = types.InlineCompletionTriggerKind.Invoked.value
    selected = context.get("selectedCompletionInfo")
    if isinstance(selected, dict) and isinstance(selected.get("range"), list) and len(selected["range"]) == 2:
        start, end = selected["range"]
        selected["range"] = {"start": start, "end": end}
