"""Scans the text before the cursor for open brackets, strings and comments.

What a language's strings and comments look like is data (`table.py`). It reads unfinished code, as code at a cursor
always is, where a parser has to guess. It must not know the engine, settings or the wire.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from lsp_server.languages.language import Language
from lsp_server.languages.table import language_named

LONG_QUOTES: Final = ('"""', "'''")
CLOSERS: Final = frozenset(")]}\"'`")
# These may follow closers without being code of their own: `foo(|):`, `[a, |],`
_AFTER_CLOSERS: Final = frozenset(",;: \t")


@dataclass(frozen=True, slots=True)
class Inside:
    """The syntax that is open at a place: brackets from the outermost on, and a string's quote or a comment's mark.

    `statement` is the number of the line, among those that were read, on which the statement at the place begins.
    """

    brackets: str = ""
    text: str = ""
    statement: int = 0


@lru_cache(maxsize=8)  # a place is scanned when it is decided whether to ask, and when texts for it are judged
def inside(lines: tuple[str, ...], language: str) -> Inside:
    """Return the syntax that is open behind the last of these lines.

    The lines may begin in the middle of a long string, which shows by a quote that ends one.
    """
    found = _scan("\n".join(lines), language_named(language))
    if found.text in LONG_QUOTES and _begins_inside(lines, found.text):
        rest = "\n".join(lines).split(found.text, 1)[1]
        num_before = "\n".join(lines).split(found.text, 1)[0].count("\n")
        again = _scan(rest, language_named(language))
        return Inside(again.brackets, again.text, again.statement + num_before)
    return found


@dataclass(frozen=True, slots=True)
class Unclosed:
    """The brackets, strings and block comments of a text whose other end is not in it."""

    closers: str = ""
    openers: str = ""
    text: str = ""

    @property
    def is_closed(self) -> bool:
        """Return whether nothing is left open at its end."""
        return not self.openers and not self.text


def unclosed(text: str, language: str) -> Unclosed:
    """Return the brackets that a text closes without having opened them, and those that it leaves open."""
    closers: list[str] = []
    known = language_named(language)
    found = _scan(text, known, closers)
    return Unclosed("".join(closers), found.brackets, "" if found.text in known.line_comments else found.text)


def ends_string(lines: tuple[str, ...]) -> bool:
    """Return whether lines of Python begin within a long string, as far as the first line with its quotes tells."""
    for quote in LONG_QUOTES:
        line = next((line for line in lines if quote in line), "")
        is_opened = line.lstrip().startswith(quote) and line.strip() != quote  # the start of a docstring
        if line and not is_opened and _begins_inside(lines, quote):
            return True
    return False


def is_header(lines: tuple[str, ...], language: str = "") -> bool:
    """Return whether the last of these lines ends the head of a block, so that its body follows."""
    known, found = language_named(language), inside(lines, language)
    if found.text or not known.header_end.search(lines[-1]):
        return False
    if known.header_start is None:
        return True
    is_in_place = not found.brackets or found.brackets[-1] in known.statements_in
    return is_in_place and bool(known.header_start.match(lines[found.statement]))


def opens_block(line: str, language: str) -> bool:
    """Return whether a line looks like the end of a block's head, so that the next line is deeper."""
    return bool(language_named(language).header_end.search(without_comment(line, language)))


def without_comment(line: str, language: str) -> str:
    """Return a line of code without the comment at its end."""
    known = language_named(language)
    if not any(mark in line for mark in known.line_comments):
        return line
    start: list[int] = []
    _scan(line, known, comments=start)
    return line[: start[0]] if start else line


def takes_statements(found: Inside, language: str) -> bool:
    """Return whether a statement may begin at such a place: outside of strings, and of all brackets but a body's."""
    return not found.text and (not found.brackets or found.brackets[-1] in language_named(language).statements_in)


def is_only_closers(tail: str) -> bool:
    """Return whether the rest of the line only closes what stands before."""
    return all(char in CLOSERS or char in _AFTER_CLOSERS for char in tail)


def is_between_braces(head: str, tail: str) -> bool:
    """Return whether a cursor stands between two braces that only it separates, so that a body fits there."""
    return head.rstrip().endswith("{") and tail.lstrip().startswith("}") and is_only_closers(tail)


def indentation(line: str) -> int:
    """Return the width of the blanks that a line begins with; a tab goes to the next multiple of 8, as in Python."""
    expanded = line.expandtabs(8)
    return len(expanded) - len(expanded.lstrip())


def _scan(text: str, language: Language, closers: list[str] | None = None, comments: list[int] | None = None) -> Inside:
    """Scan a text. Closers without an opener are appended to `closers`, the places of line comments to `comments`."""
    scan = _Scan(text, language, closers, comments)
    open_text = scan.run()
    return Inside(scan.brackets, open_text, text.count("\n", 0, scan.statement))


class _Scan:
    """One pass over a text, token by token; `run` returns the mark of the string or comment that is open at its end."""

    def __init__(self, text: str, language: Language, closers: list[str] | None, comments: list[int] | None) -> None:
        self.brackets = ""
        self.statement = 0
        self._text = text
        self._language = language
        self._closers = closers
        self._comments = comments
        self._index = 0
        # The strings whose code is being read, with the number of brackets that are open around that code.
        self._within: list[tuple[str, int]] = []
        self._heredocs: list[str] = []

    def run(self) -> str:
        language = self._language
        while found := language.tokens.search(self._text, self._index):
            mark, self._index = found[0], found.end()
            if mark == "\n":
                open_text = self._new_line()
            elif mark in language.brackets:
                open_text = self._bracket(mark)
            elif mark in language.string_of:
                open_text = self._string(mark)
            elif mark in language.comment_ends:
                open_text = self._block_comment(mark)
            elif mark in language.line_comments:
                open_text = self._line_comment(mark, found.start())
            else:
                if found.lastindex:
                    self._heredocs.append(found[found.lastindex])
                open_text = ""
            if open_text:
                return open_text
        return self._within[0][0] if self._within else ""

    def _new_line(self) -> str:
        for name in self._heredocs:
            end = re.compile(rf"^[ \t]*{re.escape(name)}\b", re.MULTILINE).search(self._text, self._index)
            if end is None:
                return "<<"
            self._index = end.end()
        self._heredocs.clear()
        if not self.brackets:
            self.statement = self._index
        return ""

    def _bracket(self, mark: str) -> str:
        opener = self._language.pairs.get(mark)
        if opener is None:
            self.brackets += mark
        elif self.brackets.endswith(opener):
            self.brackets = self.brackets[:-1]
            if self._within and len(self.brackets) == self._within[-1][1]:
                return self._string(self._within.pop()[0])
        elif self._closers is not None:
            self._closers.append(mark)
        return ""

    def _string(self, mark: str) -> str:
        form, reader = self._language.string_of[mark]
        if (end := reader.match(self._text, self._index)) is not None:
            self._index = end.end()
            if "code" in reader.groupindex and end["code"]:
                self._within.append((mark, len(self.brackets)))
                self.brackets += "{"
        elif not form.is_char and (form.over_lines or self._text.find("\n", self._index) < 0):
            return mark
        # Otherwise it is a lone quote, as in a comment of another language or a word like don't.
        return ""

    def _block_comment(self, mark: str) -> str:
        end = self._language.comment_ends[mark].match(self._text, self._index)
        self._index = end.end() if end else self._index
        return "" if end else mark

    def _line_comment(self, mark: str, start: int) -> str:
        if self._comments is not None:
            self._comments.append(start)
        end = self._text.find("\n", self._index)
        self._index = end if end >= 0 else self._index
        return mark if end < 0 else ""


def _begins_inside(lines: tuple[str, ...], quote: str) -> bool:
    """Return whether the first of these quotes ends a string: text stands before it, or no header does."""
    number = next(i for i, line in enumerate(lines) if quote in line)
    before = lines[number].partition(quote)[0]
    if before.strip():
        return not re.search(r"[=(\[{,:]\s*[rbfuRBFU]{0,2}\Z|return\s+[rbfu]{0,2}\Z|@\w+\s+(?:~[sS])?\Z", before)
    above = next((line.rstrip() for line in reversed(lines[:number]) if line.strip()), "")
    return bool(above) and not above.endswith((":", "=", "(", ",", "[", "{"))
