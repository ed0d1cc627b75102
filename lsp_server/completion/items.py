"""Turns a text into an inline completion item in the form that all editors render rightly."""

from __future__ import annotations

from lsprotocol import types

from lsp_server.documents.halves import REPLACEMENT
from lsp_server.documents.store import Cursor, Place, Snapshot
from lsp_server.filters.closers import num_replaced


def before_replaced(text: str, place: Place) -> str:
    """Return the part of a text before the first closer that it would replace behind the cursor; mostly all of it."""
    if not num_replaced(text, place):
        return text
    return next(text[:end] for end in range(len(text)) if num_replaced(text[: end + 1], place))


def make_item(text: str, snapshot: Snapshot, cursor: Cursor) -> types.InlineCompletionItem:
    """Make an item with a range that all editors render rightly.

    At the end of a line the range begins with the line, which survives Backspace in VS Code, or behind the line's last
    character outside the basic plane, since VS Code shows no item that reaches back over one, and behind what stands
    for half of such a character, which the item would overwrite. In mid-line it begins at
    the cursor, since Neovim would hide what follows. It ends behind the cursor only over closers that the text brings
    too.
    """
    place = snapshot.place(cursor)
    start, end = cursor, Cursor(cursor.line, cursor.column + num_replaced(text, place))
    if not place.tail.strip():
        column = max((i for i, character in enumerate(place.head, 1) if character >= REPLACEMENT), default=0)
        start, text = Cursor(cursor.line, column), place.head[column:] + text
    return types.InlineCompletionItem(
        insert_text=text, range=types.Range(start=snapshot.position(start), end=snapshot.position(end))
    )
