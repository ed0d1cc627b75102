"""Stores the documents that the editor has open, and makes immutable snapshots of them.

A document is a list of lines with their line ends, so that a change costs what it touches. One that is too large, or of
which a change could not be understood, is not served until the editor sends it whole. It must not know requests,
engines or files: a document that was not opened does not exist.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from lsprotocol import types

from lsp_server.documents.halves import BYTE_ORDER_MARK, cut_at_unit, has_halves, joined, without_halves

logger = logging.getLogger(__name__)

# The three line ends of LSP; `str.splitlines` would also split at form feeds and others.
_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_CODECS: Final = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2)}

NUM_LINES_AROUND: Final = 50
NUM_FARTHER_LINES: Final = 2_000
# chosen: of longer lines, as generated code has them, only this much nearest to the cursor is used.
MAX_LINE_CHARS: Final = 10_000
MAX_DOCUMENT_CHARS: Final = 16_000_000


class Cursor(NamedTuple):
    """A place in a snapshot: line and column, counted from 0, the column in code points."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The text around a cursor without line ends: the lines above, its own line on both sides, the lines below.

    `farther` are the lines in front of those above, as they are in the document, for who looks for a far header.
    """

    above: tuple[str, ...] = ()
    head: str = ""
    tail: str = ""
    below: tuple[str, ...] = ()
    farther: Sequence[str] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A document at one moment. `revision` counts the changes we saw; `version` is the editor's number.

    `has_mark` is true if the editor's document begins with a byte order mark, which isn't in `lines`.
    """

    uri: str
    version: int | None
    revision: int
    language: str
    lines: tuple[str, ...]
    encoding: str
    has_mark: bool = False

    @property
    def text(self) -> str:
        """Return the whole text, with its line ends."""
        return "".join(self.lines)

    def cursor(self, position: types.Position) -> Cursor:
        """Return the cursor of a position. Past the end of a line or of the text it is that end."""
        character = position.character
        if self.has_mark and position.line == 0:
            character -= num_units(BYTE_ORDER_MARK, self.encoding)
        return find_cursor(self.lines, types.Position(position.line, character), self.encoding)

    def position(self, cursor: Cursor) -> types.Position:
        """Return the position of a cursor, in the units of the negotiated encoding."""
        before = self.lines[cursor.line][: cursor.column]
        if self.has_mark and cursor.line == 0:
            before = BYTE_ORDER_MARK + before
        return types.Position(line=cursor.line, character=num_units(before, self.encoding))

    def place(self, cursor: Cursor) -> Place:
        """Return the text around a cursor."""
        line = without_end(self.lines[cursor.line])
        first = max(0, cursor.line - NUM_LINES_AROUND)
        last = cursor.line + 1 + NUM_LINES_AROUND
        return Place(
            above=tuple(without_end(above[-MAX_LINE_CHARS:]) for above in self.lines[first : cursor.line]),
            head=line[: cursor.column],
            tail=line[cursor.column :],
            below=tuple(without_end(below[:MAX_LINE_CHARS]) for below in self.lines[cursor.line + 1 : last]),
            farther=self.lines[max(0, first - NUM_FARTHER_LINES) : first],
        )


class DocumentStore:
    """All open documents. Its methods are plain functions, so a change is applied when they return."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._open: dict[str, _Document] = {}
        self._unused_revision = 0

    def open(self, document: types.TextDocumentItem) -> None:
        """Add a document that the editor opened."""
        self.close(document.uri)
        self._open[document.uri] = _Document(document, self._unused_revision)

    def change(self, params: types.DidChangeTextDocumentParams) -> None:
        """Apply the changes of one notification in their order."""
        document = self._open.get(params.text_document.uri)
        if document is None:
            logger.warning("a change of a document that was never opened was ignored")
            return
        for change in params.content_changes:
            document.apply(change, self._encoding)
        document.take_version(params.text_document.version)

    def invalidate(self, uri: str) -> None:
        """Stop serving a document after a change that could not be understood: our copy may differ."""
        if uri in self._open:
            self._open[uri].revision += 1
            self._open[uri].give_up("a change of it could not be understood")

    def why_not_served(self, uri: str) -> str:
        """Return a sentence that says why there is no snapshot of a document; "" if there is one."""
        document = self._open.get(uri)
        if document is None:
            return "the editor did not open this document"
        return document.problem and f"{document.problem}; it is served again when the editor sends it whole"

    def close(self, uri: str) -> None:
        """Forget a document. If it is opened again its revisions differ, so that nothing old is taken for it."""
        if document := self._open.pop(uri, None):
            self._unused_revision = max(self._unused_revision, document.revision + 1)

    def language(self, uri: str) -> str:
        """Return the language of an open document as the editor names it; "" if it is not open."""
        document = self._open.get(uri)
        return "" if document is None else document.language

    def revision(self, uri: str) -> int | None:
        """Return how many changes an open document has seen; None if it is not open."""
        document = self._open.get(uri)
        return None if document is None else document.revision

    def lines(self, uri: str) -> Sequence[str] | None:
        """Return a document's live lines, to be read at once and not kept; None if it is not served."""
        document = self._open.get(uri)
        return None if document is None or document.problem else document.readable()

    def snapshot(self, uri: str) -> Snapshot | None:
        """Return an immutable copy of the document as it is now; None if it is not served."""
        document = self._open.get(uri)
        if document is None or document.problem:
            return None
        return Snapshot(
            uri=uri,
            version=document.version,
            revision=document.revision,
            language=document.language,
            lines=tuple(document.readable()),
            encoding=self._encoding,
            has_mark=document.has_mark,
        )


class _Document:
    """Our copy of a document. `has_halves` is true while it may hold halves of surrogate pairs."""

    def __init__(self, item: types.TextDocumentItem, revision: int) -> None:
        self.has_halves = False
        self.take_version(item.version)
        self.language = str(item.language_id)
        self.revision = revision
        self._take_whole(item.text)

    def take_version(self, number: int) -> None:
        """Take the editor's number; one below 0 stands for none."""
        self.version: int | None = number if number >= 0 else None

    def readable(self) -> Sequence[str]:
        """Return the lines as others may see them, without halves of surrogate pairs."""
        if not self.has_halves:
            return self.lines
        lines = [without_halves(line) for line in self.lines]
        self.has_halves = lines != self.lines
        return lines

    def apply(self, change: types.TextDocumentContentChangeEvent, encoding: str) -> None:
        self.revision += 1
        if isinstance(change, types.TextDocumentContentChangeWholeDocument):
            self._take_whole(change.text)
        elif self.problem:
            return
        elif change.range.start.line > len(self.lines):
            self.give_up("a change was for lines that it does not have")
        else:
            is_first = change.range.start.line == 0
            if is_first and self.has_mark:
                self.lines[0] = BYTE_ORDER_MARK + self.lines[0]
            self._replace(change.range, change.text, encoding)
            if is_first:
                self._take_mark()

    def give_up(self, problem: str) -> None:
        """Drop the text until the editor sends it whole again."""
        self.problem = problem
        self.lines, self._num_chars = [""], 0

    def _take_whole(self, text: str) -> None:
        self.problem = ""
        self.lines = split_lines(text) if len(text) <= MAX_DOCUMENT_CHARS else [""]
        self.has_halves = has_halves(text)
        self._num_chars = len(text)
        self._take_mark()
        self._check_size()

    def _take_mark(self) -> None:
        self.has_mark = self.lines[0].startswith(BYTE_ORDER_MARK)
        self.lines[0] = self.lines[0].removeprefix(BYTE_ORDER_MARK)

    def _check_size(self) -> None:
        if self._num_chars > MAX_DOCUMENT_CHARS:
            self.give_up(f"it has more than {MAX_DOCUMENT_CHARS // 1_000_000} million characters")

    def _replace(self, span: types.Range, text: str, encoding: str) -> None:
        first, head, tail = _cut(self.lines, span.start, encoding)
        last = first
        if span.end > span.start:
            last, _, tail = _cut(self.lines, span.end, encoding)
        changed = head + text + tail
        if not changed.isascii() and has_halves(changed):
            changed, self.has_halves = joined(changed), True
        self._num_chars += len(changed) - sum(map(len, self.lines[first : last + 1]))
        if not ("\n" in text or "\r" in text or changed.startswith("\n")):  # the quick way for most changes
            self.lines[first : last + 1] = [changed]
        else:
            self._replace_lines(first, last + 1, changed)
        self._check_size()

    def _replace_lines(self, first: int, last: int, joined: str) -> None:
        if first > 0 and joined.startswith("\n") and self.lines[first - 1].endswith("\r"):
            first -= 1  # the change joined "\r" and "\n" to one line end
            joined = self.lines[first] + joined
        lines = split_lines(joined)
        if last < len(self.lines):
            # The joined text ends with a line end, after which `split_lines` sees one more line: the one below.
            lines.pop()
        self.lines[first:last] = lines


def split_lines(text: str) -> list[str]:
    """Split a text into lines with their ends. The last line has no end and may be empty."""
    num_returns = text.count("\r")
    if num_returns and not num_returns == text.count("\r\n") == text.count("\n"):
        lines: list[str] = _LINE.findall(text)
        return lines if lines and not lines[-1].endswith(("\r", "\n")) else [*lines, ""]
    end = "\r\n" if num_returns else "\n"  # texts with one kind of line end, nearly all, split five times as fast
    *lines, last = text.split(end)
    return [*[line + end for line in lines], last]


def _cut(lines: Sequence[str], position: types.Position, encoding: str) -> tuple[int, str, str]:
    """Return the line of a position, and what stands before and behind it there; halves of a character are cut."""
    cursor = find_cursor(lines, position, encoding)
    line = lines[cursor.line]
    if encoding != "utf-16" or line.isascii() or position.line >= len(lines):
        return cursor.line, line[: cursor.column], line[cursor.column :]
    text = without_end(line)
    head, tail = cut_at_unit(text, max(0, position.character))
    return cursor.line, head, tail + line[len(text) :]


def without_end(line: str) -> str:
    """Return a line without its line end."""
    return line.rstrip("\r\n")


def num_units(text: str, encoding: str) -> int:
    """Return the length of a text in the units in which the editor counts."""
    if encoding not in _CODECS or text.isascii():
        return len(text)
    codec, unit_bytes = _CODECS[encoding]
    return len(text.encode(codec, "surrogatepass")) // unit_bytes


def find_cursor(lines: Sequence[str], position: types.Position, encoding: str) -> Cursor:
    """Return the cursor of a position in lines with their ends. Inside of a character it is that character's start."""
    if position.line >= len(lines):
        return Cursor(len(lines) - 1, len(lines[-1]))
    number, character = max(0, position.line), max(0, position.character)
    line = without_end(lines[number])
    if encoding not in _CODECS or line.isascii():
        return Cursor(number, min(character, len(line)))
    codec, unit_bytes = _CODECS[encoding]
    # A character has at least one unit, so the place lies within the first `character` characters.
    before = without_halves(line[:character]).encode(codec)[: character * unit_bytes].decode(codec, "ignore")
    return Cursor(number, len(before))
