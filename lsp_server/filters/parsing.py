"""Tells whether the code around a cursor parses with a text at it.

Python is parsed, and nothing of it is run: only the cursor's statement and the neighbours that belong to it, so that it
takes a fraction of a millisecond in a file of any length. Other languages are judged by their grammars (`grammar.py`),
by their tags (`tags.py`), and by brackets and quotes (`brackets.py`) where there is neither. Closers that a text brings
along itself count once.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import islice
from typing import Final, Literal, NamedTuple

from lsp_server.documents.store import NUM_LINES_AROUND, Place
from lsp_server.filters.brackets import ParsesWith, bracket_checker, left_of
from lsp_server.filters.grammar import code_checker, may_go_on
from lsp_server.filters.tags import tag_checker
from lsp_server.languages.syntax import LONG_QUOTES, ends_string, indentation, inside, unclosed
from lsp_server.languages.table import language_named

# Ways in which an unfinished line may go on; `{}` stands for what closes its brackets and its string.
_CONTINUATIONS: Final = (
    *("{}", "_{}", " _{}", "{} pass", "{}: pass", "_{}: pass", " _{}: pass", "{} pass\nfinally: pass"),
    *("(): pass", " _(): pass", " def _(): pass", "\ndef _(): pass", "\n_{}: pass"),
    *(" _ in _: pass", " in _: pass", " _ in _{}", " in _{}", " else _{}", ": _{}", " _ import _", " import _"),
)
# What may stand for the text where code follows on the line: a value, an argument, a parameter, a target.
_STAND_INS: Final = ("_", "_, ", ", _", " _ ", "_ = _", "_: _")
# How much of the block above is parsed too: nothing, the statement before, or all, which helps behind a long string.
_Look = Literal["none", "statement", "block"]
_LOOKS: Final[tuple[_Look, ...]] = ("none", "statement", "block")
MAX_SCANNED_CHARS: Final = 20_000
MAX_PARSED_CHARS: Final = 4_000
MAX_TRIES: Final = 24
# A line that continues the statement that began above it at the same indentation.
_GOES_ON: Final = re.compile(r"\s*(?:(?:else|elif|except|finally)\b|case\s+[^=\s].*:|[)\]}])")
# A header whose body can't be parsed without it.
_HAS_CASES: Final = re.compile(r"\s*match\b[^=]*:\s*\Z")
_CLOSER_OF: Final = {"(": ")", "[": "]", "{": "}"}
_END: Final = re.compile(r"\w+|\"{3}|'{3}|[^\w\s]")


def parse_checker(text: str, place: Place, language: str) -> ParsesWith | None:
    """Return a function that judges a text and its beginnings; None where nothing is known of the code around."""
    if len(place.head) + len(place.tail) > MAX_PARSED_CHARS or not language:
        return None
    if language_named(language).tag:
        return tag_checker(text, place, language)
    return _judge_python(text, place) if language == "python" else code_checker(text, place, language)


def is_open(text: str, place: Place, language: str, stands: ParsesWith) -> bool:
    """Return whether a text that doesn't parse may still: it ends within a statement, or with a header.

    With code behind the cursor on its line, nothing can go on there.
    """
    if place.tail.strip() or language_named(language).tag:
        return False
    if language != "python":
        return may_go_on(text, place, language, stands)
    if _opens_more(text, place) and any(line.strip() for line in place.below):
        return False  # nothing closes it in front of the code below
    return any(stands(text + end) for end in _continuations(place.head + text))


def _opens_more(text: str, place: Place) -> bool:
    """Return whether a text leaves a string or a bracket of its own open."""
    before, found = unclosed(place.head, "python"), unclosed(place.head + text, "python")
    return (found.text != before.text and bool(found.text)) or not before.openers.startswith(found.openers)


def _continuations(code: str) -> Iterator[str]:
    """Yield the ways in which unfinished Python may go on, its brackets and its string closed."""
    found = unclosed(code, "python")
    closing = found.text + "".join(_CLOSER_OF[opener] for opener in found.openers[::-1])
    line = next((line for line in reversed(code.split("\n")) if line.strip()), "")
    blanks = line[: len(line) - len(line.lstrip())]
    return (form.format(closing).replace("\n", "\n" + blanks) for form in _CONTINUATIONS)


def longest_standing(text: str, stands: ParsesWith) -> str:
    """Return the longest beginning that parses: whole lines, else words of the first line; "" if there is none."""
    lines = [found.start() for found in re.finditer(r"\n|\Z", text)]
    last = next((end for end in islice(reversed(lines), MAX_TRIES) if text[:end].strip() and stands(text[:end])), 0)
    if last:
        return text[:last]
    limit = next((end for end in lines if text[:end].strip()), len(text))
    words = [found.end() for found in _END.finditer(text, 0, limit)]
    return text[: next((end for end in islice(reversed(words), MAX_TRIES) if stands(text[:end])), 0)]


class _Above(NamedTuple):
    """The lines to parse first, their indentation, and the indentation of their header, or its upper bound."""

    lines: tuple[str, ...]
    width: int
    outer: int


def _judge_python(text: str, place: Place) -> ParsesWith | None:
    number = _statement_line(place)
    if number is None:
        return None
    lines = (*place.above[number:], *(place.head + text).split("\n"))
    first = next((line for line in lines if line.strip()), place.head)
    found = _code_around(place, number, first[: len(first) - len(first.lstrip())], bool(_GOES_ON.match(first)))
    return _judge_unfinished(place) if found is None else partial(_stands, found[0], place, found[1])


def _judge_unfinished(place: Place) -> ParsesWith | None:
    """Return a judge of texts in a file that is being written: indentation, brackets and quotes still tell."""
    if unclosed("\n".join(place.below), "python").closers:
        return None  # what the text opens may end below
    balanced = bracket_checker(place, "python", takes_header=False)
    return balanced and (lambda part: _is_indented(place, part) and balanced(part))


def _is_indented(place: Place, part: str) -> bool:
    """Return whether a text that begins a statement has the indentation of one above it, or of a header's body."""
    line = next((line for line in (place.head + part).split("\n") if line.strip()), "")
    if place.head.strip() or inside((*place.above, place.head), "python").brackets:
        return True
    is_nearest, width = True, indentation(line)
    for above in reversed(place.above):
        if above.strip() and not above.lstrip().startswith("#"):
            if indentation(above) <= width:
                return indentation(above) == width or (is_nearest and above.rstrip().endswith(":"))
            is_nearest = False
    return width == 0


@lru_cache(maxsize=8)  # a text is judged when it is finished, and each time that it is shown
def _statement_line(place: Place) -> int | None:
    """Return the line, among those above and the cursor's, that the statement begins on; None within a long string."""
    if sum(map(len, place.above)) + len(place.head) > MAX_SCANNED_CHARS:
        return None
    found = inside((*place.above, place.head), "python")
    return None if found.text in LONG_QUOTES or ends_string(place.below) else found.statement


@lru_cache(maxsize=8)
def _code_around(place: Place, number: int, blanks: str, goes_on: bool) -> tuple[str, str] | None:
    """Return the code to parse before the line's tail and behind it, if it parses; `blanks` indent the statement.

    The lines above in the block are not looked at, unless the statement or the code below it goes on with them.
    """
    following = next((line for line in place.below if line.strip() and not line.lstrip().startswith("#")), "")
    width, next_width = indentation(blanks + "."), indentation(following)
    is_joined = goes_on or next_width > width or (next_width == width and bool(_GOES_ON.match(following)))
    for look in _LOOKS[is_joined:]:
        before, after = _around(place, _above(place.above, number, blanks, look))
        if len(before) + len(after) <= MAX_PARSED_CHARS and _may_parse(before, place, after):
            return before, after
    return None


def _may_parse(before: str, place: Place, after: str) -> bool:
    """Return whether the code parses as it is, or with something at the cursor that its statement waits for."""
    if _parses(before + place.tail + after):
        return True
    if place.tail.strip():
        return any(_parses(before + part + place.tail + after) for part in _STAND_INS)
    return any(_parses(before + part + after) for part in _continuations(place.head))


def _above(lines: tuple[str, ...], number: int, blanks: str, look: _Look) -> _Above:
    """Return the part of the lines above the statement on line `number` that is parsed."""
    start, width = number, indentation(blanks + ".")
    for i in range(number - 1, -1, -1):
        line = lines[i]
        if not line.strip() or line.lstrip().startswith("#") or indentation(line) > width:
            continue
        if indentation(line) < width:
            if _HAS_CASES.match(line):
                return _Above(lines[i:], indentation(line), indentation(line) - 1)
            if line.rstrip().endswith(":"):
                return _Above(lines[i + 1 :], width, indentation(line))
            width = indentation(line)
            if not _GOES_ON.match(line):
                return _Above(lines[i:], width, width - 1)
        elif look == "none" and not line.lstrip().startswith("@"):
            return _Above((blanks + "pass", *lines[number:]), width, width - 1)
        start = i
        if look != "block" and not _GOES_ON.match(line):
            return _Above(lines[i:], width, width - 1)
    is_whole = len(lines) < NUM_LINES_AROUND
    return _Above(lines[start:], 0 if is_whole else width, width - 1)


def _around(place: Place, above: _Above) -> tuple[str, str]:
    """Return the code to parse before a line's tail and behind it; a statement below counts by its indentation."""
    below: list[str] = []
    for line in place.below:
        width = indentation(line)
        is_outside = width < above.width or (width == above.width and not _GOES_ON.match(line))
        if is_outside and line.strip() and not line.lstrip().startswith("#"):
            below += [f"{line[: len(line) - len(line.lstrip())]}pass"] if width > above.outer else []
            break
        below.append(line)
    wrapper = ("if 1:",) if above.width > 0 else ()
    return "\n".join((*wrapper, *above.lines, place.head)), "\n".join(("", *below))


def _stands(before: str, place: Place, after: str, part: str) -> bool:
    return _parses(before + part + left_of(place, part) + after)


@lru_cache(maxsize=64)
def _parses(source: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated escape sequences in the user's code
            ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
