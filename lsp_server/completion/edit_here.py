"""Answers a request with the next edit, where that is due on the cursor's line and can be shown as ghost text there.

So every editor with inline completion profits from the rules, also one that knows no next edits. It must not know how
requests are answered.
"""

from __future__ import annotations

import asyncio
from typing import Final

from lsprotocol import types

from lsp_server.completion.pending import CompletionResult, PendingRequest
from lsp_server.completion.services import CompletionServices
from lsp_server.documents.store import Cursor, Snapshot
from lsp_server.edits.find import find_edits
from lsp_server.edits.proposal import Edit

NEXT_EDIT: Final = "next edit"


async def edit_here(
    services: CompletionServices, request: PendingRequest, snapshot: Snapshot
) -> CompletionResult | None:
    """Return the result for an edit that is due on the cursor's line; None where none is, or where it isn't known yet.

    The rules are not asked at each key: a line that is being typed is the last change itself.
    """
    cursor = snapshot.cursor(request.params.position)
    is_plain = request.view is not None and request.view.snapshot is request.view.original
    if not is_plain or request.method != types.TEXT_DOCUMENT_INLINE_COMPLETION:
        return None
    is_invoked = request.params.context.trigger_kind == types.InlineCompletionTriggerKind.Invoked
    edits, uri = services.next_edits, snapshot.uri
    if not services.settings.next_edits or edits.why_silent(uri) or edits.wait_s(snapshot, cursor):
        return None
    if not is_invoked and edits.is_typed(uri, cursor.line):
        return None
    found = await asyncio.to_thread(find_edits, edits.question(snapshot, cursor))
    edit = edits.choose(snapshot, [edit for edit in found if edit.start.line == edit.end.line == cursor.line])
    text = None if edit is None else ghost_text(edit, snapshot.lines[cursor.line], cursor)
    if edit is None or text is None or services.documents.revision(uri) != snapshot.revision:
        return None
    if edit.end != cursor and not services.replaces_behind_cursor:
        return None
    edits.offer(snapshot, edit)
    span = types.Range(start=snapshot.position(cursor), end=snapshot.position(max(edit.end, cursor)))
    item = types.InlineCompletionItem(insert_text=text, range=span)
    return CompletionResult(reason=NEXT_EDIT, detail=edit.why, items=(item,))


def ghost_text(edit: Edit, line: str, cursor: Cursor) -> str | None:
    """Return the text that stands for an edit at the cursor; None where it can't be shown as text between others.

    It begins at the cursor and replaces what is behind that up to the edit's end, whose characters have to stand in it
    in their order: editors show nothing else.
    """
    if "\n" in edit.new or "\r" in edit.new or cursor.column > edit.end.column:
        return None
    if edit.start <= cursor:
        typed = line[edit.start.column : cursor.column]
        if not edit.new.startswith(typed):
            return None
        text = edit.new[len(typed) :]
    else:
        text = line[cursor.column : edit.start.column] + edit.new
    rest = iter(text)
    is_shown = all(character in rest for character in line[cursor.column : edit.end.column])
    return text if text and is_shown else None
