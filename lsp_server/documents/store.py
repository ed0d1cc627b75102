"""The documents that the editor has open, and immutable snapshots of them.

A document is a list of lines with their line ends, so that a change costs what it touches.
One that is too large, or of which a change could not be understood, is not served until the editor sends it whole.
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
# Of longer lines around the cursor's, as generated code has them, what is nearest to the cursor.
MAX_LINE_CHARS: Final = 10_000
MAX_DOCUMENT_CHARS: Final = 16_000_000


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
            above=tuple(without_end(above[-MAX_LINE_CHARS:]) for above in self.lines[first : cursor.line]),
            head=line[: cursor.column],
            tail=line[cursor.column :],
            below=tuple(without_end(below[:MAX_LINE_CHARS]) for below in self.lines[cursor.line + 1 : last]),
        )


class DocumentStore:
    """All open documents. Its methods are plain functions: a change is done when they return."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._open: dict[str, _Document] = {}
        self._unused_revision = 0

    def open(self, document: types.TextDocumentItem) -> None:
        """Take a document that the editor opened."""
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
        """A change of this document could not be understood: what we have of it may be another text."""
        if uri in self._open:
            self._open[uri].revision += 1
            self._open[uri].give_up("a change of it could not be understood")

    def why_not_served(self, uri: str) -> str:
        """Why there is no snapshot of a document, in words; "" if there is one."""
        document = self._open.get(uri)
        if document is None:
            return "the editor did not open this document"
        return document.problem and f"{document.problem}; it is served again when the editor sends it whole"

    def close(self, uri: str) -> None:
        """Forget a document. When it is opened again its revisions are others, so that nothing old is taken for it."""
        if document := self._open.pop(uri, None):
            self._unused_revision = max(self._unused_revision, document.revision + 1)

    def language(self, uri: str) -> str:
        """The language of an open document as the editor names it; "" if it is not open."""
        document = self._open.get(uri)
        return "" if document is None else document.language

    def revision(self, uri: str) -> int | None:
        """How many changes an open document has seen; None if it is not open."""
        document = self._open.get(uri)
        return None if document is None else document.revision

    def lines(self, uri: str) -> Sequence[str] | None:
        """The lines of a document as they are now, to be looked at and not kept; None if it is not served."""
        document = self._open.get(uri)
        return None if document is None or document.problem else document.lines

    def snapshot(self, uri: str) -> Snapshot | None:
        """The document as it is now; None if it is not served."""
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
        """Keep nothing of it until it comes whole."""
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
        if not ("\n" in text or "\r" in text or joined.startswith("\n")):  # most changes; the line may be a long one
            self.lines[start.line : end.line + 1] = [joined]
        else:
            self._replace_lines(start.line, end.line + 1, joined)
        self._check_size()

    def _replace_lines(self, first: int, last: int, joined: str) -> None:
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
    text = _without_surrogates(text)
    num_returns = text.count("\r")
    if num_returns and not num_returns == text.count("\r\n") == text.count("\n"):
        lines: list[str] = _LINE.findall(text)
        return lines if lines and not lines[-1].endswith(("\r", "\n")) else [*lines, ""]
    end = "\r\n" if num_returns else "\n"  # one kind of line end, as nearly always: five times as fast
    *lines, last = text.split(end)
    return [*[line + end for line in lines], last]


def _without_surrogates(text: str) -> str:
    if text.isascii():
        return text
    try:
        text.encode()  # ten times as fast as the expression
    except UnicodeEncodeError:
        return _LONE_SURROGATE.sub("\ufffd", text)
    return text


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
    # A character has at least one unit, so that what is sought lies in the first so many characters.
    before = line[:character].encode(codec)[: character * unit_bytes].decode(codec, "ignore")
    return Cursor(number, len(before))
