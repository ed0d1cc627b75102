"""Tells where an editor's change has taken place. It must not know the documents."""

from __future__ import annotations

from lsprotocol import types


def end_of_last_change(params: types.DidChangeTextDocumentParams) -> types.Position | None:
    """Return where the last change of a notification ends, where a cursor surely is; None if all text was replaced.

    Columns count UTF-16 units: with another encoding and letters beyond ASCII it is a place nearby.
    """
    change = params.content_changes[-1] if params.content_changes else None
    if not isinstance(change, types.TextDocumentContentChangePartial):
        return None
    start, num_lines = change.range.start, change.text.count("\n")
    width = len(change.text[change.text.rfind("\n") + 1 :].encode("utf-16-le", "surrogatepass")) // 2
    return types.Position(start.line + num_lines, width if num_lines else start.character + width)
