"""Implements the source "open": the text around the last visited place of other open or lately closed documents.

A document in which no place was visited gives its outline. It must not know requests or the wire.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lsp_server.context.outline import outline
from lsp_server.context.snippets import EditorState, OpenDocument, Snippet, text_of
from lsp_server.documents.store import without_end

MAX_OPEN: Final = 20


def visited_places(view: EditorState, closed: Iterator[OpenDocument]) -> Iterator[Snippet]:
    """Yield a snippet of each document, the last visited first; `closed` ones come behind the open ones."""
    for rank, document in enumerate([*view.others, *closed][:MAX_OPEN]):
        first, text = _around(document, view.window_lines) if document.line >= 0 else (0, _heads(document, view))
        if text.strip():
            yield Snippet(source="open", path=document.path, text=text, first_line=first, score=1 / (1 + rank))


def _around(document: OpenDocument, num_lines: int) -> tuple[int, str]:
    first = max(0, document.line - num_lines * 2 // 3)
    return first, text_of(document.lines, first, first + num_lines)


def _heads(document: OpenDocument, view: EditorState) -> str:
    """Return the texts of the document's definitions, or its beginning if none are known."""
    found = outline([without_end(line) for line in document.lines], document.language)
    text, room = "", view.window_lines * 40
    for definition in found:
        if len(text) + len(definition.text) < room:
            text += definition.text + "\n"
    return text or text_of(document.lines, 0, view.window_lines)
