"""Fits a text to the rest of the cursor's line: it neither repeats it nor leaves a second pair of closers.

A text that closes more than it opens replaces the closers that an editor put behind the cursor (`num_replaced`); one
that ends with just them leaves them where they are.
"""

from __future__ import annotations

import re
from typing import Final

from lsp_server.filters.surroundings import Surroundings
from lsp_server.languages.syntax import CLOSERS, inside, is_only_closers

_OPENER_OF: Final = {")": "(", "]": "[", "}": "{"}
_TERMINATORS: Final = frozenset(";,:")
# What can be told from other code by chance no more: two letters in a row, or a closer with a letter.
_TELLING: Final = re.compile(r"\w\w|[)\]}\"'`]\W*\w|\w\W*[)\]}\"'`]")


def cut_closers(text: str, around: Surroundings) -> str:
    """Return the text without its end, if that is the beginning of what stands behind the cursor."""
    tail = around.place.tail.rstrip()
    if not tail.strip() or not text.strip():
        return text
    text = _before_restated(text, tail, around)
    for length in range(min(len(tail), len(text)), 0, -1):
        if text.endswith(tail[:length]) and _is_repeated(text, tail[:length], tail):
            return text[: len(text) - length]
    left = tail[num_replaced(text, tail) :].strip()
    return text.removesuffix(left) if left and all(char in _TERMINATORS for char in left) else text


def num_replaced(text: str, tail: str) -> int:
    """Return how many characters behind the cursor the text replaces: closers that it brings along itself."""
    own = iter([char for _, char in _unopened(text)])
    count = 0
    for closer in tail:
        if closer not in CLOSERS or closer not in own:  # `in` consumes the iterator up to the closer
            break
        count += 1
    return count


def _before_restated(text: str, tail: str, around: Surroundings) -> str:
    """Return the part of a text in front of the rest of the cursor's line, where it writes that again and goes on."""
    rest = tail.rstrip("".join(_TERMINATORS) + " \t")
    index = text.find(rest) if _TELLING.search(rest) else -1
    if index > 0 and rest[0].isalnum() and text[index - 1].isalnum():
        return text
    if index > 0 and rest.isalnum() and inside((*around.place.above, around.place.head), around.language).text:
        return text  # a word like `the` comes again in prose
    return text[:index] if index >= 0 and text[:index].strip() else text


def _is_repeated(text: str, end: str, tail: str) -> bool:
    """Return whether the end of a text, which stands behind the cursor too, is the same thing and no likeness."""
    start = len(text) - len(end)
    if not end.strip() or (_is_word(end[0]) and _is_word(text[start - 1 : start])):
        return False
    if end[0] in CLOSERS and is_only_closers(end):
        return start in {index for index, _ in _unopened(text)}
    return end == tail or end.strip()[0] in _TERMINATORS or bool(_TELLING.search(end))


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _unopened(text: str) -> list[tuple[int, str]]:
    """Return the closers of a text that close something before it, with their places; a lone quote is one too."""
    open_chars: list[str] = []
    found: list[tuple[int, str]] = []
    quote, quote_index = "", 0
    for index, char in enumerate(text):
        if quote:
            if char == quote and text[index - 1] != "\\":
                quote = ""
        elif char in "\"'`":
            quote, quote_index = char, index
        elif char in _OPENER_OF.values():
            open_chars.append(char)
        elif char in _OPENER_OF:
            if open_chars and open_chars[-1] == _OPENER_OF[char]:
                open_chars.pop()
            else:
                found.append((index, char))
    if quote:
        # The quote was opened before the text, so the code behind it is outside of the string.
        inside = [(index, char) for index, char in found if index < quote_index]
        after = [(quote_index + 1 + index, char) for index, char in _unopened(text[quote_index + 1 :])]
        return [*inside, (quote_index, quote), *after]
    return found
