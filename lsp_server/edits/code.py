"""Blanks the strings and comments of a text, so that a search in it finds code alone, at the same places.

What a language's strings and comments look like is data (`languages/table.py`). Code within strings, such as `${name}`
in a template, stays. It must not know documents or what is searched for.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

from lsp_server.documents.store import Cursor
from lsp_server.languages.language import Language, StringForm
from lsp_server.languages.table import language_named, name_of

_NOT_END: Final = re.compile(r"[^\r\n]")
_REST: Final = re.compile(r"[^\r\n]*")
_PREFIX: Final = re.compile(r"[A-Za-z]*\Z")
_BRACES: Final = re.compile(r"[{}]")
# A piece of code in a Python f-string, up to its conversion or format; doubled braces are text.
_PIECE: Final = re.compile(r"\{\{|\}\}|\{([^{}!:]*)")
_QUOTED: Final = re.compile(r"\"[^\"]*\"|'[^']*'")
OPENERS: Final = {")": "(", "]": "[", "}": "{"}
_BRACKET: Final = re.compile(r"[()\[\]{}]")
_PARENTHESES: Final = re.compile(r"[()]")
_SQUARE: Final = re.compile(r"[\[\]]")
# chosen: so far in front of a place the bracket that is open there is looked for.
MAX_LOOK_CHARS: Final = 3_000


@dataclass(frozen=True)
class Code:
    """A document's text, and the same with its strings and comments blanked: strings are quotes, comments blanks."""

    lines: Sequence[str]
    language: str

    @cached_property
    def text(self) -> str:
        """Return the text with its line ends."""
        return "".join(self.lines)

    @cached_property
    def masked(self) -> str:
        """Return the text with its strings and comments blanked."""
        return masked(self.text, self.language)

    @cached_property
    def starts(self) -> list[int]:
        """Return the offset of each line."""
        starts, at = [], 0
        for line in self.lines:
            starts.append(at)
            at += len(line)
        return starts

    def cursor(self, offset: int) -> Cursor:
        """Return the line and column of an offset."""
        line = bisect_right(self.starts, offset) - 1
        return Cursor(line, offset - self.starts[line])

    def line_at(self, offset: int) -> str:
        """Return the masked line of an offset, without its end."""
        start = self.starts[bisect_right(self.starts, offset) - 1]
        return (_REST.match(self.masked, start) or [""])[0]

    def words(self, name: str, start: int = 0, end: int | None = None) -> list[int]:
        """Return the offsets of a name in the code between two offsets."""
        if name not in self.text:
            return []
        found: list[int] = []
        text, last = self.masked, len(self.text) if end is None else end
        at = text.find(name, start, last)
        while at >= 0:
            behind = at + len(name)
            if not _is_word(text[at - 1 : at]) and not _is_word(text[behind : behind + 1]):
                found.append(at)
            at = text.find(name, behind, last)
        return found

    def opener(self, offset: int) -> int:
        """Return the offset of the innermost bracket that is open in front of an offset, as far as is looked; or -1."""
        depth = 0
        text = self.masked
        for found in reversed(list(_BRACKET.finditer(text, max(0, offset - MAX_LOOK_CHARS), offset))):
            depth += 1 if found[0] in OPENERS else -1
            if depth < 0:
                return found.start()
        return -1

    def closer(self, opener: int) -> int:
        """Return the offset of an opening bracket's end; -1 if there is none."""
        depth, text = 0, self.masked
        mark = text[opener]
        pair = _BRACES if mark == "{" else _PARENTHESES if mark == "(" else _SQUARE
        for found in pair.finditer(text, opener):
            depth += 1 if found[0] == mark else -1
            if depth == 0:
                return found.start()
        return -1

    @cached_property
    def _blocks(self) -> tuple[list[int], list[int]]:
        """Return the places of all braces, and the brace that is open behind each of them."""
        places: list[int] = []
        around: list[int] = []
        stack: list[int] = []
        for found in _BRACES.finditer(self.masked):
            if found[0] == "{":
                stack.append(found.start())
            elif stack:
                stack.pop()
            places.append(found.start())
            around.append(stack[-1] if stack else -1)
        return places, around

    def block(self, offset: int) -> int:
        """Return the offset of the innermost brace that is open in front of an offset; -1 if none is."""
        places, around = self._blocks
        index = bisect_right(places, offset - 1) - 1
        return around[index] if index >= 0 else -1


@lru_cache(maxsize=4)
def masked(text: str, language: str) -> str:
    """Return a text with its strings turned to quotes and its comments to blanks; both keep their line ends."""
    known = language_named(language)
    spans: list[tuple[int, int, str]] = []
    within: list[tuple[StringForm, int]] = []
    has_pieces = name_of(language) == "python"
    marks, at = _marks(known), 0
    while found := marks[bool(within)].search(text, at):
        mark, start = found[0], found.start()
        at = found.end()
        if mark in known.string_of:
            form, is_whole = known.string_of[mark][0], False
        elif within and mark in "{}":
            depth = within[-1][1] + (1 if mark == "{" else -1)
            within[-1] = (within[-1][0], depth)
            if depth:
                continue
            form, is_whole = within.pop()[0], False
        else:
            at = _comment_end(text, mark, found.end(), known)
            spans.append((start, at, " " if mark in known.comment_ends or mark in known.line_comments else '"'))
            continue
        read = known.string_of[form.opener][1].match(text, at)
        if read is None:  # it isn't closed yet
            at = (_REST.match(text, at) or found).end()
        else:
            at, is_whole = read.end(), True
        if has_pieces and is_whole and "f" in (_PREFIX.search(text, max(0, start - 2), start) or [""])[0].lower():
            spans += _around_pieces(text, start, at)
            continue
        spans.append((start, at, '"'))
        if read is not None and read.re.groups and read.group("code"):
            within.append((form, 1))
    return _blanked(text, spans)


def _comment_end(text: str, mark: str, at: int, known: Language) -> int:
    """Return where a comment ends; what only looks like strings or brackets (`Language.literal`) is its own mark."""
    if mark in known.comment_ends:
        closed = known.comment_ends[mark].match(text, at)
        return closed.end() if closed else len(text)
    if mark in known.line_comments or mark.strip() in known.line_comments:
        return (_REST.match(text, at) or [""]).end()  # type: ignore[union-attr]
    return at


def _around_pieces(text: str, start: int, end: int) -> list[tuple[int, int, str]]:
    """Return the spans of an f-string that are text, so without its pieces of code."""
    spans: list[tuple[int, int, str]] = []
    at = start
    for found in _PIECE.finditer(text, start, end):
        if found[1]:
            spans.append((at, found.start(1), '"'))
            spans += [(quoted.start(), quoted.end(), '"') for quoted in _QUOTED.finditer(text, *found.span(1))]
            at = found.end(1)
    return [*spans, (at, end, '"')]


def _blanked(text: str, spans: Sequence[tuple[int, int, str]]) -> str:
    pieces: list[str] = []
    at = 0
    for start, end, filler in spans:
        pieces.append(text[at:start])
        piece = text[start:end]
        if "\n" in piece or "\r" in piece:  # a string's later lines are blank, so that they have no indentation
            first = _REST.match(piece)
            num_first = first.end() if first else 0
            pieces.append(filler * num_first + _NOT_END.sub(" ", piece[num_first:]))
        else:
            pieces.append(filler * len(piece))
        at = end
    return "".join((*pieces, text[at:]))


def _is_word(character: str) -> bool:
    return character.isalnum() or character in {"_", "$"}


@lru_cache
def _marks(known: Language) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what finds the beginnings of strings and comments, and the same with braces, for code within a string."""
    marks = [*known.comment_ends, *(form.opener for form in known.strings)]
    marks += () if known.comment_after_blank else known.line_comments
    quoted = [re.escape(mark) for mark in sorted(marks, key=len, reverse=True)]
    if known.comment_after_blank:
        quoted = [rf"(?<!\S){re.escape(mark)}" for mark in known.line_comments] + quoted
    own = [known.literal.pattern] if known.literal else []
    return re.compile("|".join((*own, *quoted)) or r"(?!)", re.MULTILINE), re.compile(
        "|".join((*own, *quoted, r"[{}]")), re.MULTILINE
    )
