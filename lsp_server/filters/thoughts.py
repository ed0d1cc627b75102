"""Finds where a text may be cut so that a whole thought is left: behind statements, and at few places within one.

Pure functions of texts; it must not know probabilities or the engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from lsp_server.documents.store import Place
from lsp_server.languages.scopes import scopes_at
from lsp_server.languages.syntax import opens_block, unclosed, without_comment
from lsp_server.languages.table import language_named

_CLOSERS: Final = frozenset(")]}")
_BEGUN_NAME: Final = re.compile(r"\w\Z|[\w)\]](?:\.|::|->)\Z")
_NAME: Final = re.compile(r"\w+")
# What follows a value without being a part of it.
_SEPARATES: Final = re.compile(r"\s*(?:[,;:)\]}]|\Z)|\s+(?:and|or|if|else|for|in|as)\b|\s*(?:&&|\|\||\?|//|#)")
# The end of a word behind which a phrase may stop.
_WORD_END: Final = re.compile(r"\w(?=[\s.,;:!?)\"'`]|\Z)")
# measured: a single word of a comment is right often enough, but shows much more that is wrong.
MIN_PHRASE_WORDS: Final = 2
# Nothing of this kind is worth a key by itself, wherever its line ends.
_ONLY_BEGINS: Final = re.compile(r"\s*(?:@|#\[)")


@lru_cache(maxsize=8)  # asked for at each token of a growing text
def statement_ends(lines: str, place: Place, language: str) -> tuple[int, ...]:
    """Return the ends of the statements in whole lines of a text, each in front of its line end."""
    known = language_named(language)
    before = unclosed(place.head, language).openers
    ends: list[int] = []
    start = 0
    while (end := lines.find("\n", start)) >= 0:
        found = unclosed(place.head + lines[:end], language)
        openers = found.openers[len(before) :] if found.openers.startswith(before) else ""
        is_open = found.text or any(opener not in known.statements_in for opener in openers)
        if lines[start:end].strip() and not is_open:
            ends.append(end)
        start = end + 1
    return tuple(ends)


def inner_ends(text: str, place: Place, language: str) -> Iterator[int]:
    """Yield the places within a text's first line where something of use ends.

    That is a name that the user has begun, a call or a list, and within brackets that were open before an argument.
    """
    line = text.partition("\n")[0]
    before = unclosed(place.head, language).openers
    if _BEGUN_NAME.search(place.head) and (name := _NAME.match(line)):
        yield name.end()
    for end in range(1, len(line) + 1):
        is_value = line[end - 1] in _CLOSERS or (before and line[end : end + 1] == ",")
        if not is_value or not _SEPARATES.match(line, end):
            continue
        found = unclosed(place.head + line[:end], language)
        if not found.text and found.openers == before and line[:end].strip():
            yield end


def phrase_ends(text: str, place: Place, language: str) -> Iterator[int]:
    """Yield the places in a text's first line where a phrase of a comment or docstring may stop; none in code."""
    if not {"comment", "docstring"} & scopes_at((*place.above, place.head), language):
        return
    line = text.partition("\n")[0]
    for found in _WORD_END.finditer(line):
        if len(line[: found.end()].split()) >= MIN_PHRASE_WORDS:
            yield found.end()


def is_begun(text: str, place: Place, language: str) -> bool:
    """Return whether the last line of a longer text only begins something: a block's head, a comment, a decorator."""
    above, _, last = text.rpartition("\n")
    if not above.strip():
        return False
    is_comment = bool(last.strip()) and not without_comment(last, language).strip()
    return is_comment or bool(_ONLY_BEGINS.match(last)) or opens_block(last, language)
