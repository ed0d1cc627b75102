"""Stores the documents that the editor has open, and makes immutable snapshots of them.

A document is a list of lines with their line ends, so that a change costs what it touches. One that is too large, or of
which a change could not be understood, is not served until the editor sends it whole. It must not know requests,
engines or files: a document that was not opened does not exist.
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
# chosen: of longer lines, as generated code has them, only this much nearest to the cursor is used.
MAX_LINE_CHARS: Final = 10_000
MAX_DOCUMENT_CHARS: Final = 16_000_000


class Cursor(NamedTuple):
    """A place in a snapshot: line and column, counted from 0, the column in code points."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The text around a cursor without line ends: the lines above, its own line on both sides, the lines below."""

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
        """Return the whole text, with its line ends."""
        return "".join(self.lines)

    def cursor(self, position: types.Position) -> Cursor:
        """Return the cursor of a position. Past the end of a line or of the text it is that end."""
        return find_cursor(self.lines, position, self.encoding)

    def position(self, cursor: Cursor) -> types.Position:
        """Return the position of a cursor, in the units of the negotiated encoding."""
        before = self.lines[cursor.line][: cursor.column]
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
        document.version = params.text_document.version

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
        return None if document is None or document.problem else document.lines

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
            lines=tuple(document.lines),
            encoding=self._encoding,
        )


class _Document:
    def __init__(self, item: types.TextDocumentItem, revision: int) -> None:
        self.version: int | None = item.version
        self.language = str(item.language_id)
        self.revision = revision
        self._take_whole(item.text)

    def apply(self, change: types.TextDocumentContentChangeEvent, encoding: str) -> None:
        self.revision += 1
        if isinstance(change, types.TextDocumentContentChangeWholeDocument):
            self._take_whole(change.text)
        elif self.problem:
            return
        elif change.range.start.line > len(self.lines):
            self.give_up("a change was for lines that it does not have")
        else:
            start = find_cursor(self.lines, change.range.start, encoding)
            is_empty = change.range.start == change.range.end
            end = start if is_empty else max(start, find_cursor(self.lines, change.range.end, encoding))
            self._replace(start, end, _without_surrogates(change.text))

    def give_up(self, problem: str) -> None:
        """Drop the text until the editor sends it whole again."""
        self.problem = problem
        self.lines, self._num_chars = [""], 0

    def _take_whole(self, text: str) -> None:
        self.problem = ""
        self.lines = split_lines(text) if len(text) <= MAX_DOCUMENT_CHARS else [""]
        self._num_chars = len(text)
        self._check_size()

    def _check_size(self) -> None:
        if self._num_chars > MAX_DOCUMENT_CHARS:
            self.give_up(f"it has more than {MAX_DOCUMENT_CHARS // 1_000_000} million characters")

    def _replace(self, start: Cursor, end: Cursor, text: str) -> None:
        before = self.lines[start.line : end.line + 1]
        head, tail = before[0][: start.column], before[-1][end.column :]
        joined = head + text + tail
        self._num_chars += len(joined) - sum(map(len, before))
        if not ("\n" in text or "\r" in text or joined.startswith("\n")):  # the quick way for most changes
            self.lines[start.line : end.line + 1] = [joined]
        else:
            self._replace_lines(start.line, end.line + 1, joined)
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
    """Split a text into lines with their ends. The last line has no end and may be empty.

    Half surrogate pairs become U+FFFD.
    """
    text = _without_surrogates(text)
    num_returns = text.count("\r")
    if num_returns and not num_returns == text.count("\r\n") == text.count("\n"):
        lines: list[str] = _LINE.findall(text)
        return lines if lines and not lines[-1].endswith(("\r", "\n")) else [*lines, ""]
    end = "\r\n" if num_returns else "\n"  # texts with one kind of line end, nearly all, split five times as fast
    *lines, last = text.split(end)
    return [*[line + end for line in lines], last]


def _without_surrogates(text: str) -> str:
    if text.isascii():
        return text
    try:
        text.encode()  # ten times as fast as to search with the expression
    except UnicodeEncodeError:
        return _LONE_SURROGATE.sub("\ufffd", text)
    return text


def without_end(line: str) -> str:
    """Return a line without its line end."""
    return line.rstrip("\r\n")


def num_units(text: str, encoding: str) -> int:
    """Return the length of a text in the units in which the editor counts."""
    if encoding not in _CODECS or text.isascii():
        return len(text)
    codec, unit_bytes = _CODECS[encoding]
    return len(text.encode(codec)) // unit_bytes


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
    before = line[:character].encode(codec)[: character * unit_bytes].decode(codec, "ignore")
    return Cursor(number, len(before))
