"""Serves `textDocument/completion`: suggestions as entries of a pop-up, for editors without inline completion.

How a suggestion is found and logged is inline completion's subject; this module gives it another form.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import Final

from lsprotocol import types

from lsp_server.completion.pending import CompletionResult, PendingRequest
from lsp_server.documents.store import Cursor, Snapshot
from lsp_server.features import inline_completion
from lsp_server.session import Session

METHOD: Final = types.TEXT_DOCUMENT_COMPLETION
REGISTRATION: Final = "tabcast.completion"
# Sorts behind letters, digits and the entries of other servers.
SORTED_LAST: Final = "~tabcast"
# chosen: a pop-up may wait for all its servers, so we answer by then. A later text serves the next key.
DEADLINE_S: Final = 1.0
LATE: Final = CompletionResult(reason="late", detail="the pop-up does not wait that long; the next key may get it")
_WORD_END: Final = re.compile(r"\w*$")
_FENCE: Final = re.compile("`{3,}")


def read(session: Session, request_id: int | str, params: types.CompletionParams) -> PendingRequest:
    """Bind a request to the document as it is now, and supersede an older one.

    It can't be told whether the user asked by hand: editors say so at each letter.
    """
    request = types.InlineCompletionParams(
        text_document=params.text_document,
        position=params.position,
        context=types.InlineCompletionContext(trigger_kind=types.InlineCompletionTriggerKind.Automatic),
    )
    return inline_completion.read(session, request_id, request, METHOD)


async def answer(session: Session, request: PendingRequest) -> Callable[[], types.CompletionList | None]:
    """Return what makes the list for the editor, which is to ask again at the next key.

    It makes None if a newer request was read.
    """
    late = asyncio.get_running_loop().call_later(DEADLINE_S, _end, request)
    try:
        outcome = await inline_completion.find(session, request)
    finally:
        late.cancel()
    return partial(_list, session, request, outcome)


def _list(session: Session, request: PendingRequest, outcome: CompletionResult) -> types.CompletionList | None:
    if (items := inline_completion.items_now(session, request, outcome)) is None:
        return None
    view, entries = request.view, []
    if view is not None and is_wanted_by(session):  # some editors can't unregister, and ask on
        cursor = view.original.cursor(view.original_position)
        entries = [_entry(session, view.original, cursor, item) for item in items]
    return types.CompletionList(is_incomplete=True, items=entries)


class Registration:
    """Registers the feature as the setting asks, while the editor runs, if the editor supports that."""

    def __init__(self, options: types.CompletionOptions) -> None:
        self._options = options
        self._is_registered = False

    def follow(self, session: Session) -> None:
        """Register or unregister if the settings now ask for it."""
        document = session.server.client_capabilities.text_document
        can_register = document and document.completion and document.completion.dynamic_registration
        is_told = session.server.server_capabilities.completion_provider is not None
        is_wanted = is_wanted_by(session)
        if is_told or not can_register or is_wanted == self._is_registered:
            return
        self._is_registered = is_wanted
        session.in_background(_register(session, self._options) if is_wanted else _unregister(session))


def is_wanted_by(session: Session) -> bool:
    """Return whether this editor's pop-up is to be filled."""
    document = session.server.client_capabilities.text_document
    has_inline = document is not None and document.inline_completion is not None
    return session.settings.fills_pop_ups(has_inline=has_inline)


async def _register(session: Session, options: types.CompletionOptions) -> None:
    told = types.CompletionRegistrationOptions(trigger_characters=options.trigger_characters)
    registration = types.Registration(id=REGISTRATION, method=METHOD, register_options=told)
    await session.server.client_register_capability_async(types.RegistrationParams(registrations=[registration]))


async def _unregister(session: Session) -> None:
    unregistration = types.Unregistration(id=REGISTRATION, method=METHOD)
    await session.server.client_unregister_capability_async(
        types.UnregistrationParams(unregisterations=[unregistration])
    )


def _end(request: PendingRequest) -> None:
    if not request.outcome.done():
        request.outcome.set_result(LATE)


def _entry(
    session: Session, snapshot: Snapshot, cursor: Cursor, item: types.InlineCompletionItem
) -> types.CompletionItem:
    """Return an entry whose range begins with the word at the cursor, since editors filter entries by that."""
    assert item.range is not None
    line = snapshot.lines[cursor.line]
    whole = line[: snapshot.cursor(item.range.start).column] + str(item.insert_text)
    word = _WORD_END.search(line[: cursor.column])
    start = cursor.column if word is None else word.start()
    text = whole[start:]
    span = types.Range(start=snapshot.position(Cursor(cursor.line, start)), end=item.range.end)
    document = session.server.client_capabilities.text_document
    abilities = document.completion.completion_item if document and document.completion else None
    is_as_is = abilities is not None and abilities.insert_text_mode_support is not None
    return types.CompletionItem(
        label=next((part.strip() for part in text.split("\n") if part.strip()), text),
        kind=types.CompletionItemKind.Text,
        detail="Tabcast",
        documentation=_documentation(abilities, snapshot.language, text),
        preselect=False,
        sort_text=SORTED_LAST,
        filter_text=text.split("\n", 1)[0],
        insert_text_format=types.InsertTextFormat.PlainText,
        insert_text_mode=types.InsertTextMode.AsIs if is_as_is else None,
        text_edit=types.TextEdit(range=span, new_text=text),
        command=item.command,
    )


def _documentation(
    abilities: types.ClientCompletionItemOptions | None, language: str, text: str
) -> types.MarkupContent:
    """Return the whole text, as a block of code where the editor shows Markdown."""
    if types.MarkupKind.Markdown not in ((abilities and abilities.documentation_format) or ()):
        return types.MarkupContent(kind=types.MarkupKind.PlainText, value=text)
    fence = "`" * (1 + max((len(found) for found in _FENCE.findall(text)), default=2))
    return types.MarkupContent(kind=types.MarkupKind.Markdown, value=f"{fence}{language}\n{text}\n{fence}")
