"""Tracks the order of each notebook's cells, so that a cell can be completed with the code above it.

The cells' texts are documents like others, in the document store. It must not know requests, engines or the wire.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lsprotocol import types

from lsp_server.documents.store import DocumentStore, without_end

MAX_LINES_ABOVE: Final = 1000


class Notebooks:
    """The open notebooks: the URIs of their code cells by the notebook's URI."""

    def __init__(self) -> None:
        self._cells: dict[str, list[types.NotebookCell]] = {}

    def open(self, notebook: types.NotebookDocument) -> None:
        """Add a notebook that the editor opened."""
        self._cells[notebook.uri] = list(notebook.cells)

    def change(self, uri: str, array: types.NotebookCellArrayChange) -> None:
        """Replace cells of a notebook by others."""
        if (cells := self._cells.get(uri)) is not None:
            cells[array.start : array.start + array.delete_count] = array.cells or []

    def close(self, uri: str) -> None:
        """Forget a notebook that the editor closed."""
        self._cells.pop(uri, None)

    def above(self, uri: str, documents: DocumentStore) -> Sequence[str]:
        """Return the lines of the code cells above a cell in its language; none if the URI is no cell."""
        cells = next((cells for cells in self._cells.values() if any(cell.document == uri for cell in cells)), [])
        lines: list[str] = []
        for cell in cells:
            if cell.document == uri:
                break
            if cell.kind != types.NotebookCellKind.Code or documents.language(cell.document) != documents.language(uri):
                continue
            lines += [without_end(line) + "\n" for line in documents.lines(cell.document) or ()]
        return lines[-MAX_LINES_ABOVE:]
