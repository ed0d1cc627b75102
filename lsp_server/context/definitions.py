"""Implements the source "definitions": what names near the cursor are defined as in other files, in any language.

Names are found by the words in front of them, as ctags does, for languages whose imports aren't followed
(`imports.py`). A name that several places define is taken from the nearest, and from none if there are many. Which
files there are is the business of the index of similar code, which reads them anyway. It must not know requests or the
wire.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from lsp_server.context.files import TextFile
from lsp_server.context.outline import PYTHON, SCRIPT_LANGUAGES
from lsp_server.context.snippets import EditorState, OpenDocument, Snippet, text_of
from lsp_server.languages.language import Language
from lsp_server.languages.syntax import indentation
from lsp_server.languages.table import language_named

# chosen: enough for 2,000 files of fifty definitions each; the rest of a larger workspace gives none.
MAX_NAMES: Final = 100_000
MAX_NAMES_OF_FILE: Final = 500
MAX_LINE_CHARS: Final = 300
LINES_PER_STEP: Final = 200
# chosen: a name that more places define tells little of what is meant.
MAX_PLACES: Final = 4
MAX_FOUND: Final = 8
MIN_NAME_CHARS: Final = 3
NUM_LINES_NEAR: Final = 15
MAX_HEADER_LINES: Final = 6
MAX_TYPE_LINES: Final = 16
MAX_COMMENT_LINES: Final = 3

_NAME: Final = re.compile(r"[A-Za-z_]\w{2,}")
_TYPE_WORDS: Final = (
    "class|struct|enum|interface|trait|record|protocol|union|message|service|type|object|contract|typedef|table|view"
)
_DEFINED: Final = re.compile(
    rf"""(?ix: \s* (?:[a-z_]\w*(?:\([^)]*\))?!?\s+){{0,5}}?
        (?: (?P<type>{_TYPE_WORDS}) \s+
            (?:class\s+|struct\s+|enum\s+|if\s+not\s+exists\s+|(?-i:[A-Z_]+\s+))? "?
            (?P<of_type>[a-z_]\w*)\b (?! \s*[*&] | \s+\w+\s*[(;=])
        |   (?:func|fn|fun|function|def|defp|defmodule|module|macro|macro_rules!|sub|proc|procedure|\#define)
            \s+ (?:\([^)]*\)\s*|self\.|[\w.]+[.:])? (?P<name>[a-z_]\w*)
        ) )"""
)
# The head of a function in the family of C: a type, a name, an opening bracket, and no call or statement.
_C_HEAD: Final = re.compile(
    r"\s*(?!return\b|else\b|new\b|throw\b|if\b|for\b|while\b|switch\b|case\b|delete\b|await\b|using\b|package\b|import\b)"
    r"(?:[A-Za-z_][\w:<>,.\[\]?]*[*&]*\s+)+[*&]*(?:\w+::)?~?(?P<name>[A-Za-z_]\w*)\s*\([^;=]*\Z"
)
_SHELL_HEAD: Final = re.compile(r"\s*(?P<name>[\w-]+)\s*\(\)\s*\{?\s*\Z")


class Defined(NamedTuple):
    """A name that a file defines on a line, counted from 0."""

    name: str
    line: int
    is_type: bool


class _Place(NamedTuple):
    file: Path
    line: int
    is_type: bool
    stamp: tuple[int, int]


def defined_names(lines: Iterable[str]) -> Iterator[Defined]:
    """Yield the names that a file defines, in any language. `lines` may have line ends."""
    for number, line in enumerate(lines):
        if len(line) > MAX_LINE_CHARS or not line.strip():
            continue
        found = _DEFINED.match(line)
        if found is None and "(" in line:
            found = _C_HEAD.match(line.rstrip()) or _SHELL_HEAD.match(line.rstrip())
        if found is None:
            continue
        is_type = bool(found.groupdict().get("type"))
        name = found["of_type"] if is_type else found["name"]
        if name and len(name) >= MIN_NAME_CHARS:
            yield Defined(name, number, is_type)


class DefinitionIndex:
    """The names that files define. It is not thread-safe."""

    def __init__(self) -> None:
        self._places: dict[str, list[_Place]] = {}
        self._names: dict[Path, tuple[str, ...]] = {}
        self.num_names = 0

    def take(self, file: Path, read: TextFile, is_current: Callable[[], bool]) -> Iterator[None]:
        """Note what a file defines, in small steps, unless it isn't current any more behind the last one."""
        found: list[Defined] = []
        for one in _in_steps(read.text.split("\n")):
            if one is None:
                yield
            else:
                found.append(one)
        if not is_current():
            return
        self.remove(file)
        del found[max(0, MAX_NAMES - self.num_names) :]
        for name, line, is_type in found:
            self._places.setdefault(name, []).append(_Place(file, line, is_type, read.stamp))
        self._names[file] = tuple(one.name for one in found)
        self.num_names += len(found)

    def remove(self, file: Path) -> None:
        """Forget a file."""
        names = self._names.pop(file, ())
        self.num_names -= len(names)
        for name in dict.fromkeys(names):
            left = [place for place in self._places[name] if place.file != file]
            if left:
                self._places[name] = left
            else:
                del self._places[name]

    def snippets(
        self,
        view: EditorState,
        documents: Sequence[OpenDocument],
        read: Callable[[Path], TextFile | None],
        path_of: Callable[[Path], str],
        endings: frozenset[str],
    ) -> Iterator[Snippet | None]:
        """Yield a snippet for each name near the cursor that another file defines, and None after each step."""
        current = view.current
        if current.language in {PYTHON, *SCRIPT_LANGUAGES} or not current.file:
            return
        language, own = language_named(current.language), set[str]()
        for one in _in_steps(current.lines):
            if one is None:
                yield None
            else:
                own.add(one.name)
        opened = {document.file: document for document in documents if document.file}
        num = 0
        for name, score in _names_near(current):
            places = [place for place in self._places.get(name, ()) if place.file.suffix in endings]
            if name in own or not 0 < len(places) <= MAX_PLACES or any(p.file == current.file for p in places):
                continue
            place = max(places, key=lambda place: _num_shared(place.file, current.file or place.file))
            document = opened.get(place.file)
            found = None if document else read(place.file)
            lines = document.lines if document else tuple(found.text.split("\n")) if found else ()
            line = _line_of(name, place, lines, is_same=bool(found and found.stamp == place.stamp))
            if line is not None:
                text = text_of(lines, *_extent(lines, line, language, is_type=place.is_type))
                yield Snippet(source="definitions", path=path_of(place.file), text=text, first_line=line, score=score)
                num += 1
            if num == MAX_FOUND:
                return
            yield None


def _in_steps(lines: Sequence[str]) -> Iterator[Defined | None]:
    """Yield what a file defines, and None after each portion of its lines."""
    num = 0
    for first in range(0, len(lines), LINES_PER_STEP):
        for name, line, is_type in defined_names(lines[first : first + LINES_PER_STEP]):
            yield Defined(name, first + line, is_type)
            num += 1
            if num == MAX_NAMES_OF_FILE:
                return
        yield None


def _names_near(document: OpenDocument) -> list[tuple[str, float]]:
    """Return the names around the cursor, the nearest first, with a score that falls with the distance."""
    line, found = max(0, document.line), dict[str, float]()
    for distance in range(NUM_LINES_NEAR + 1):
        for number in dict.fromkeys((line - distance, line + distance)):
            if 0 <= number < len(document.lines):
                for name in _NAME.findall(document.lines[number][:MAX_LINE_CHARS]):
                    found.setdefault(name, 1 - distance / (2 * NUM_LINES_NEAR))
    return [*found.items()]


def _line_of(name: str, place: _Place, lines: Sequence[str], *, is_same: bool) -> int | None:
    """Return the line that defines a name; it is looked for anew where the file isn't as it was read."""
    if is_same:
        return place.line
    return next((one.line for one in defined_names(lines) if one.name == name), None)


def _extent(lines: Sequence[str], line: int, language: Language, *, is_type: bool) -> tuple[int, int]:
    """Return the first line of a definition's comment and the line behind its head, or behind a type's fields."""
    marks = (*language.line_comments, *(opener for opener, _ in language.block_comments), "*", "@", "#[")
    first = line
    while first > max(0, line - MAX_COMMENT_LINES) and lines[first - 1].strip().startswith(marks):
        first -= 1
    width = indentation(lines[line])
    for number in range(line, min(len(lines), line + (MAX_TYPE_LINES if is_type else MAX_HEADER_LINES))):
        text = lines[number].rstrip()
        if not is_type and (text.endswith(("{", ":", ";", "}", "=", "then", "do")) or not text):
            return first, number + bool(text)
        if number > line and text and indentation(text) <= width and not text.endswith("{"):
            return first, number + language.is_block_end(text)
        if number == line and text.endswith((";", "}", ")")):
            return first, number + 1
    return first, min(len(lines), line + (MAX_TYPE_LINES if is_type else 1))


def _num_shared(a: Path, b: Path) -> int:
    return next((n for n, (x, y) in enumerate(zip(a.parts, b.parts, strict=False)) if x != y), 0)
