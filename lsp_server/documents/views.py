"""Makes a view of a document: the document as it is to be completed, where the editor's own differs.

A notebook's cell is seen below the code of the cells above it. An entry that is selected in the editor's pop-up is seen
as if it had been accepted, because an item that does not begin with it is not shown (LSP 3.18,
`selectedCompletionInfo`). It must not know requests, engines or the wire.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lsprotocol import types

from lsp_server.documents.store import Cursor, Snapshot, without_end


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The selected entry of a pop-up: `text` replaces the columns from `start` to `end` of the cursor's line."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A document to complete: `snapshot` and `position`, with `num_above` lines that the editor's document hasn't.

    `original` is the editor's document, and `original_position` the place in it that the editor asked about.
    """

    original: Snapshot
    original_position: types.Position
    snapshot: Snapshot
    position: types.Position
    num_above: int = 0
    selection: Selection | None = None

    def in_original(self, item: types.InlineCompletionItem) -> types.InlineCompletionItem:
        """Turn an item for the snapshot into one for the editor's document."""
        if self.snapshot is self.original:
            return item
        assert item.range is not None
        start, end = self.snapshot.cursor(item.range.start), self.snapshot.cursor(item.range.end)
        text, first, last = str(item.insert_text), start.column, end.column
        if self.selection is not None:
            whole = self.snapshot.lines[start.line][: start.column] + text
            first, text = self.selection.start, whole[self.selection.start :]
            last += self.selection.end - self.selection.start - len(self.selection.text)
        line = start.line - self.num_above
        places = [self.original.position(Cursor(line, column)) for column in (first, last)]
        span = types.Range(start=places[0], end=places[1])
        return types.InlineCompletionItem(insert_text=text, range=span, filter_text=item.filter_text)


def view_of(
    snapshot: Snapshot,
    position: types.Position,
    selected: types.SelectedCompletionInfo | None = None,
    above: Sequence[str] = (),
) -> View:
    """Return the view of a position. `above` are lines with their ends that belong in front of the document.

    A selection that is not around the cursor within its line is ignored.
    """
    asked, cursor = position, snapshot.cursor(position)
    selection = None if selected is None else _selection(snapshot, cursor, selected)
    lines, seen = snapshot.lines, snapshot
    if selection is not None:
        line = lines[cursor.line]
        line = line[: selection.start] + selection.text + line[selection.end :]
        lines = (*lines[: cursor.line], line, *lines[cursor.line + 1 :])
        cursor = Cursor(cursor.line, selection.start + len(selection.text))
    if selection is not None or above:
        seen = replace(snapshot, lines=(*above, *lines), has_mark=snapshot.has_mark and not above)
        cursor = Cursor(cursor.line + len(above), cursor.column)
        position = seen.position(cursor)
    return View(
        original=snapshot,
        original_position=asked,
        snapshot=seen,
        position=position,
        num_above=len(above),
        selection=selection,
    )


def _selection(snapshot: Snapshot, cursor: Cursor, selected: types.SelectedCompletionInfo) -> Selection | None:
    start, end = snapshot.cursor(selected.range.start), snapshot.cursor(selected.range.end)
    is_around = start.line == cursor.line == end.line and start.column <= cursor.column <= end.column
    if not is_around or not selected.text or without_end(selected.text) != selected.text or "\n" in selected.text:
        return None
    return Selection(start=start.column, end=end.column, text=selected.text)
