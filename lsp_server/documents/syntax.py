"""Scans the text before the cursor for open brackets, strings and comments.

It follows the lexical rules that most languages share. It reads unfinished code, as code at a cursor always is, where a
parser has to guess. It must not know the engine, settings or the wire.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

# In these languages a line comment begins with a number sign; in all others with two slashes.
_HASH_LANGUAGES: Final = frozenset(
    {"", "python", "ruby", "shellscript", "yaml", "toml", "r", "perl", "elixir", "julia", "makefile", "dockerfile"}
)
_HASH_TOKENS: Final = re.compile(r"\n|#[^\n]*|\"\"\"|'''|[\"']|[()\[\]{}]")
_SLASH_TOKENS: Final = re.compile(r"\n|//[^\n]*|/\*|[\"'`]|[()\[\]{}]")
_STRING_ENDS: Final = {
    '"': re.compile(r'(?:\\.|[^"\\\n])*"'),
    "'": re.compile(r"(?:\\.|[^'\\\n])*'"),
    "`": re.compile(r"(?:\\.|[^`\\])*`", re.DOTALL),
    '"""': re.compile(r'(?:\\.|[^\\])*?"""', re.DOTALL),
    "'''": re.compile(r"(?:\\.|[^\\])*?'''", re.DOTALL),
    "/*": re.compile(r".*?\*/", re.DOTALL),
}
LONG_QUOTES: Final = ('"""', "'''")
_OVER_LINES: Final = frozenset({'"""', "'''", "`", "/*"})
_PAIRS: Final = {")": "(", "]": "[", "}": "{"}
CLOSERS: Final = frozenset(")]}\"'`")
# These may follow closers without being code of their own: `foo(|):`, `[a, |],`
_AFTER_CLOSERS: Final = frozenset(",;: \t")
_HEADER: Final = re.compile(
    r"\s*(?:async\s+)?(?:def|class|if|elif|else|for|while|with|try|except|finally|match|case)\b", re.ASCII
)


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
    found = _scan("\n".join(lines), language)
    if found.text in LONG_QUOTES and _begins_inside(lines, found.text):
        rest = "\n".join(lines).split(found.text, 1)[1]
        num_before = "\n".join(lines).split(found.text, 1)[0].count("\n")
        again = _scan(rest, language)
        return Inside(again.brackets, again.text, again.statement + num_before)
    return found


@dataclass(frozen=True, slots=True)
class Unclosed:
    """The brackets and strings of a text whose other end is not in it."""

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
    found = _scan(text, language, closers)
    return Unclosed("".join(closers), found.brackets, found.text)


def ends_string(lines: tuple[str, ...]) -> bool:
    """Return whether lines of Python begin within a long string, as far as the first line with its quotes tells."""
    for quote in LONG_QUOTES:
        line = next((line for line in lines if quote in line), "")
        is_opened = line.lstrip().startswith(quote) and line.strip() != quote  # the start of a docstring
        if line and not is_opened and _begins_inside(lines, quote):
            return True
    return False


def is_header(lines: tuple[str, ...], language: str = "") -> bool:
    """Return whether the last of these lines ends the head of a compound statement, so that its body follows."""
    found, last = inside(lines, language), lines[-1].rstrip()
    if found.text:
        return False
    if language not in _HASH_LANGUAGES:
        return last.endswith("{")
    return last.endswith(":") and not found.brackets and bool(_HEADER.match(lines[found.statement]))


def takes_statements(found: Inside, language: str) -> bool:
    """Return whether a statement may begin at such a place: outside of strings, and of all brackets but a body's."""
    return not found.text and (not found.brackets or (language not in _HASH_LANGUAGES and found.brackets[-1] == "{"))


def is_only_closers(tail: str) -> bool:
    """Return whether the rest of the line only closes what stands before."""
    return all(char in CLOSERS or char in _AFTER_CLOSERS for char in tail)


def indentation(line: str) -> int:
    """Return the width of the blanks that a line begins with; a tab goes to the next multiple of 8, as in Python."""
    expanded = line.expandtabs(8)
    return len(expanded) - len(expanded.lstrip())


def _scan(text: str, language: str, closers: list[str] | None = None) -> Inside:
    """Scan a text. Closers without an opener are appended to `closers`."""
    tokens = _HASH_TOKENS if language in _HASH_LANGUAGES else _SLASH_TOKENS
    brackets = ""
    index = statement = 0
    while token := tokens.search(text, index):
        mark, index = token[0], token.end()
        if mark == "\n":
            statement = statement if brackets else index
        elif mark in _PAIRS:
            is_pair = brackets[-1:] == _PAIRS[mark]
            brackets = brackets[:-1] if is_pair else brackets
            if not is_pair and closers is not None:
                closers.append(mark)
        elif mark in "([{":
            brackets += mark
        elif mark.startswith(("#", "//")):
            if index == len(text):
                return Inside(brackets, mark[:1], text.count("\n", 0, statement))
        elif end := _STRING_ENDS[mark].match(text, index):
            index = end.end()
        elif mark in _OVER_LINES or "\n" not in text[index:]:
            return Inside(brackets, mark, text.count("\n", 0, statement))
        # Otherwise it is a lone quote, as in a comment of another language or a word like don't.
    return Inside(brackets, "", text.count("\n", 0, statement))


def _begins_inside(lines: tuple[str, ...], quote: str) -> bool:
    """Return whether the first of these quotes ends a string: text stands before it, or no header does."""
    number = next(i for i, line in enumerate(lines) if quote in line)
    before = lines[number].partition(quote)[0]
    if before.strip():
        return not re.search(r"[=(\[{,:]\s*[rbfuRBFU]{0,2}\Z|return\s+[rbfu]{0,2}\Z", before)
    above = next((line.rstrip() for line in reversed(lines[:number]) if line.strip()), "")
    return bool(above) and not above.endswith((":", "=", "(", ",", "[", "{"))
