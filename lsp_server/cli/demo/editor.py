"""Plays the demo's editor: starts the real language server over stdio, opens documents and asks for completions.

It does what any editor does and knows nothing of engines.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

from lsprotocol import types
from pygls.lsp.client import LanguageClient

from decoding.protocol import VERSION
from lsp_server.languages.file_names import language_of

READY_TIMEOUT_S: Final = 30.0
POLL_S: Final = 0.05
STOP_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """The text around the cursor as the editor would show it, with the suggestion as ghost text."""

    before: str
    ghost: str
    after: str


class Editor:
    """One editor window with its language server."""

    def __init__(self, client: LanguageClient) -> None:
        self._client = client

    async def wait_for_engine(self) -> None:
        """Wait until the language server has seen that its engine is ready; it can have given up on a slow one.

        Then it asks again for the first request, and the answer's reason tells what is wrong.
        """
        end = time.monotonic() + READY_TIMEOUT_S
        while (await self.why())["engine"]["status"] != "ready":
            if time.monotonic() > end:
                return
            await asyncio.sleep(POLL_S)

    async def why(self) -> dict[str, Any]:
        """Return what the language server says of its engine and of its last answer."""
        command = types.ExecuteCommandParams(command="tabcast.server.why")
        return cast(dict[str, Any], await self._client.workspace_execute_command_async(command))

    async def suggest(self, path: Path, prefix: str, suffix: str) -> Suggestion | None:
        """Open the document, ask at the cursor between prefix and suffix, and close it again."""
        uri = path.as_uri()
        text = prefix + suffix
        document = types.TextDocumentItem(uri=uri, language_id=language_of(path), version=1, text=text)
        self._client.text_document_did_open(types.DidOpenTextDocumentParams(text_document=document))
        cursor = types.Position(line=prefix.count("\n"), character=len(prefix) - prefix.rfind("\n") - 1)
        answer = await self._client.text_document_inline_completion_async(
            types.InlineCompletionParams(
                context=types.InlineCompletionContext(trigger_kind=types.InlineCompletionTriggerKind.Invoked),
                text_document=types.TextDocumentIdentifier(uri=uri),
                position=cursor,
            )
        )
        self._client.text_document_did_close(
            types.DidCloseTextDocumentParams(text_document=types.TextDocumentIdentifier(uri=uri))
        )
        items = answer.items if isinstance(answer, types.InlineCompletionList) else answer or []
        return _applied(items[0], prefix, suffix) if items else None


@asynccontextmanager
async def editor(
    project: Path,
    engine_arguments: Sequence[str],
    working_directory: Path,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> AsyncIterator[Editor]:
    """Yield an editor with this project open and these settings; the language server ends with the block."""
    client = LanguageClient("tabcast-demo", VERSION)
    # What the server tells the user stands in the reasons of its answers, too.
    client.feature(types.WINDOW_SHOW_MESSAGE)(lambda _params: None)
    command = ["-P", "-m", "lsp_server", "lsp", *engine_arguments]
    await client.start_io(sys.executable, *command, cwd=working_directory, start_new_session=True)
    try:
        await client.initialize_async(
            types.InitializeParams(
                process_id=os.getpid(),
                initialization_options=dict(settings),
                root_uri=project.as_uri(),
                workspace_folders=[types.WorkspaceFolder(uri=project.as_uri(), name=project.name)],
                capabilities=types.ClientCapabilities(
                    # UTF-32 units are code points, as Python counts them.
                    general=types.GeneralClientCapabilities(position_encodings=[types.PositionEncodingKind.Utf32]),
                    text_document=types.TextDocumentClientCapabilities(
                        inline_completion=types.InlineCompletionClientCapabilities()
                    ),
                ),
            )
        )
        client.initialized(types.InitializedParams())
        yield Editor(client)
    finally:
        with contextlib.suppress(Exception):  # the server may have died: then there is nothing left to end
            await asyncio.wait_for(client.shutdown_async(None), STOP_TIMEOUT_S)
            client.exit(None)
            await asyncio.wait_for(client.stop(), STOP_TIMEOUT_S)  # type: ignore[no-untyped-call]


def _applied(item: types.InlineCompletionItem, prefix: str, suffix: str) -> Suggestion:
    text = item.insert_text if isinstance(item.insert_text, str) else item.insert_text.value
    if item.range is None:
        return Suggestion(before=prefix, ghost=text, after=suffix)
    whole = prefix + suffix
    start, end = _offset(whole, item.range.start), _offset(whole, item.range.end)
    typed = whole[start : len(prefix)]
    if not text.startswith(typed):  # the item replaces what was typed
        return Suggestion(before=whole[:start], ghost=text, after=whole[end:])
    return Suggestion(before=prefix, ghost=text[len(typed) :], after=whole[end:])


def _offset(text: str, position: types.Position) -> int:
    return sum(len(line) + 1 for line in text.split("\n")[: position.line]) + position.character
