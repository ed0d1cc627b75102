"""Defines the values that sources of context take and give: a piece of another file, and the editor's state.

Values only; it must not know how any source finds its pieces.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from pygls.uris import to_fs_path

from lsp_server.context.paths import locate
from lsp_server.documents.store import Snapshot, without_end
from lsp_server.settings import Source

SOURCES: Final[tuple[Source, ...]] = get_args(Source)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """A piece of text that may help. `score` is from 0 to 1 within its source; `first_line` counts from 0."""

    source: Source
    path: str
    text: str
    first_line: int = 0
    score: float = 1.0

    @property
    def last_line(self) -> int:
        """Return the number of its last line in the file, for pieces that are lines of a file."""
        return self.first_line + self.text.count("\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDocument:
    """An open document: its path as a prompt names it, its file if it has one, and the line last visited, or -1."""

    uri: str
    path: str
    file: Path | None
    language: str
    revision: int
    lines: tuple[str, ...]
    line: int = -1

    @classmethod
    def of(cls, snapshot: Snapshot, folder_uris: list[str], line: int = -1) -> OpenDocument:
        """Make the document of a snapshot, with its path in the editor's folders."""
        name = to_fs_path(snapshot.uri) if snapshot.uri.startswith("file:") else None
        return cls(
            uri=snapshot.uri,
            path=locate(snapshot.uri, folder_uris).path,
            file=Path(name) if name else None,
            language=snapshot.language,
            revision=snapshot.revision,
            lines=snapshot.lines,
            line=line,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EditorState:
    """The state of the editor at one moment: the document with the cursor, and the others, the last visited first.

    `stored` is that document as the editor has it, where `current` may have more, for example a notebook's other cells.
    `recent` are files that were open not long ago, with the line last visited. `max_chars` is the room for context.
    """

    current: OpenDocument
    stored: OpenDocument | None = None
    others: tuple[OpenDocument, ...] = ()
    recent: tuple[tuple[Path, int], ...] = ()
    sources: tuple[str, ...] = SOURCES
    max_chars: int = 8000

    @property
    def window_lines(self) -> int:
        """Return how many lines a piece should have, so that several find room."""
        return max(8, min(40, self.max_chars // 120))


def text_of(lines: tuple[str, ...], first: int, end: int) -> str:
    """Return the lines from `first` up to `end`, with line feeds between them."""
    return "\n".join(map(without_end, lines[max(0, first) : end]))
