"""Places written as text with `|` for the cursor, for tables of cases."""

from __future__ import annotations

from lsp_server.documents.store import Place


def place_at(text: str) -> Place:
    before, _, after = text.partition("|")
    *above, head = before.split("\n")
    tail, *below = after.split("\n")
    return Place(above=tuple(above), head=head, tail=tail, below=tuple(below))
