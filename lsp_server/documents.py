"""The documents that the editor has open, and immutable snapshots of them.

A document is a list of lines with their line ends, so that a change costs what it touches.
It must not know requests, engines or files: a document that was not opened does not exist.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from lsprotocol import types

logger = logging.getLogger(__name__)

# The three line ends of LSP; `str.splitlines` would also split at form feeds and others.
_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_CODECS: Final = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2)}

NUM_LINES_AROUND: Final = 50


class Cursor(NamedTuple):
    """A place in a snapshot: line, and column in code points."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What stands around a cursor, without line ends: the lines above, its own line on both sides, the lines below."""

    above: tuple[str, ...] = ()
    head: str = ""
    tail: str = ""
    below: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A document at one moment. `revision` counts the changes we saw; `version` is the editor's number."""

    uri: str
    version: int | None
    revision: int
    language: str
    lines: tuple[str, ...]
    encoding: str

    @property
    def text(self) -> str:
        """The whole text, with its line ends."""
        return "".join(self.lines)

    def cursor(self, position: types.Position) -> Cursor:
        """The cursor of a position; past the end of a line or of the text it is that end."""
        return find_cursor(self.lines, position, self.encoding)

    def position(self, cursor: Cursor) -> types.Position:
        """The position of a cursor, in the units of the negotiated encoding."""
        before = self.lines[cursor.line][: cursor.column]
        return types.Position(line=cursor.line, character=num_units(before, self.encoding))

    def place(self, cursor: Cursor) -> Place:
        """The surroundings of a cursor."""
        line = without_end(self.lines[cursor.line])
        first = max(0, cursor.line - NUM_LINES_AROUND)
        last = cursor.line + 1 + NUM_LINES_AROUND
        return Place(
            above=tuple(map(without_end, self.lines[first : cursor.line])),
            head=line[: cursor.column],
            tail=line[cursor.column :],
            below=tuple(map(without_end, self.lines[cursor.line + 1 : last])),
        )


class DocumentStore:
    """All open documents. Its methods are plain functions: a change is done when they return."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._open: dict[str, _Document] = {}

    def open(self, document: types.TextDocumentItem) -> None:
        """Take a document that the editor opened."""
        self._open[document.uri] = _Document(document)

    def change(self, params: types.DidChangeTextDocumentParams) -> None:
        """Apply the changes of one notification in their order."""
        document = self._open.get(params.text_document.uri)
        if document is None:
            logger.warning("a change of a document that was never opened was ignored")
            return
        for change in params.content_changes:
            document.apply(change, self._encoding)
        document.version = params.text_document.version

    def close(self, uri: str) -> None:
        """Forget a document."""
        self._open.pop(uri, None)

    def revision(self, uri: str) -> int | None:
        """How many changes an open document has seen; None if it is not open."""
        document = self._open.get(uri)
        return None if document is None else document.revision

    def snapshot(self, uri: str) -> Snapshot | None:
        """The document as it is now; None if it is not open."""
        document = self._open.get(uri)
        if document is None:
            return None
        return Snapshot(
            uri=uri,
            version=document.version,
            revision=document.revision,
            language=document.language,
            lines=tuple(document.lines),
            encoding=self._encoding,
        )


class _Document:
    def __init__(self, item: types.TextDocumentItem) -> None:
        self.version: int | None = item.version
        self.language = str(item.language_id)
        self.lines = split_lines(item.text)
        self.revision = 0

    def apply(self, change: types.TextDocumentContentChangeEvent, encoding: str) -> None:
        self.revision += 1
        if isinstance(change, types.TextDocumentContentChangeWholeDocument):
            self.lines = split_lines(change.text)
            return
        start = find_cursor(self.lines, change.range.start, encoding)
        end = max(start, find_cursor(self.lines, change.range.end, encoding))
        joined = self.lines[start.line][: start.column] + change.text + self.lines[end.line][end.column :]
        first, last = start.line, end.line + 1
        if first > 0 and joined.startswith("\n") and self.lines[first - 1].endswith("\r"):
            first -= 1  # the change brought the two halves of a line end together
            joined = self.lines[first] + joined
        lines = split_lines(joined)
        if last < len(self.lines):
            # What was joined ends with a line end, after which `split_lines` sees one more line: the one below.
            lines.pop()
        self.lines[first:last] = lines


def split_lines(text: str) -> list[str]:
    """Lines with their ends; the last has none and may be empty. Half surrogate pairs become U+FFFD."""
    if not text.isascii():
        text = _LONE_SURROGATE.sub("\ufffd", text)
    lines: list[str] = _LINE.findall(text)
    if not lines or lines[-1].endswith(("\r", "\n")):
        lines.append("")
    return lines


def without_end(line: str) -> str:
    """A line less its line end."""
    return line.rstrip("\r\n")


def num_units(text: str, encoding: str) -> int:
    """The length of a text in the units in which the editor counts."""
    if encoding not in _CODECS or text.isascii():
        return len(text)
    codec, unit_bytes = _CODECS[encoding]
    return len(text.encode(codec)) // unit_bytes


def find_cursor(lines: Sequence[str], position: types.Position, encoding: str) -> Cursor:
    """The cursor of a position in lines with their ends; inside of a character it is that character's start."""
    if position.line >= len(lines):
        return Cursor(len(lines) - 1, len(lines[-1]))
    number, character = max(0, position.line), max(0, position.character)
    line = without_end(lines[number])
    if encoding not in _CODECS or line.isascii():
        return Cursor(number, min(character, len(line)))
    codec, unit_bytes = _CODECS[encoding]
    before = line.encode(codec)[: character * unit_bytes].decode(codec, "ignore")
    return Cursor(number, len(before))
