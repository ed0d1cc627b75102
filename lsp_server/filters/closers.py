"""Fits a text to the rest of the cursor's line: it neither repeats it nor leaves a second pair of closers.

A text that closes more than it opens replaces the closers that an editor put behind the cursor (`num_replaced`); one
that ends with just them leaves them where they are. A closer behind the cursor that something before it on the line
still waits for stays.
"""

from __future__ import annotations

import re
from itertools import takewhile
from typing import Final

from lsp_server.documents.store import Place
from lsp_server.filters.surroundings import Surroundings
from lsp_server.languages.syntax import CLOSERS, indentation, inside, is_only_closers

_OPENER_OF: Final = {")": "(", "]": "[", "}": "{"}
_CLOSER_OF: Final = {opener: closer for closer, opener in _OPENER_OF.items()}
_QUOTES: Final = "\"'`"
_TERMINATORS: Final = frozenset(";,:")
# What can be told from other code by chance no more: two letters in a row, or a closer with a letter.
_TELLING: Final = re.compile(r"\w\w|[)\]}\"'`]\W*\w|\w\W*[)\]}\"'`]")

# What follows a quote that ends a string, more likely than it begins one.
_ENDS_STRING: Final = re.compile(r"[\s)\]}\"'`,;:.]|\Z")


def cut_closers(text: str, around: Surroundings) -> str:
    """Return the text without its end, if that is the beginning of what stands behind the cursor."""
    tail = around.place.tail.rstrip()
    if not tail.strip() or not text.strip():
        return text
    text = _before_restated(text, tail, around)
    for length in range(min(len(tail), len(text)), 0, -1):
        if text.endswith(tail[:length]) and _is_repeated(text, tail[:length], around.place):
            return text[: len(text) - length]
    left = tail[num_replaced(text, around.place) :].strip()
    return text.removesuffix(left) if left and all(char in _TERMINATORS for char in left) else text


def num_replaced(text: str, place: Place) -> int:
    """Return how many characters behind the cursor the text replaces: closers that it brings along itself."""
    if _begins_string(text, place):
        return 0
    own = iter([char for _, char in _unopened(text)])
    count = 0
    for closer in place.tail[: _num_spare(text, place)]:
        if closer not in own:  # `in` consumes the iterator up to the closer
            break
        count += 1
    return count


def _begins_string(text: str, place: Place) -> bool:
    """Return whether the quote behind the cursor is the end of a string that the text begins, as far as can be told."""
    quote = place.tail[:1]
    if not quote or quote not in _QUOTES or any(char in _QUOTES for char in _left_open(place)):
        return False
    index = next((index for index, char in _unopened(text) if char == quote), -1)
    is_led_to = index == 0 or (index > 0 and not _is_word(text[index - 1]))
    return is_led_to and not _ENDS_STRING.match(text, index + 1)


def _num_spare(text: str, place: Place) -> int:
    """Return how many of the closers right behind the cursor close nothing that the line and the text leave open."""
    closers = "".join(takewhile(CLOSERS.__contains__, place.tail))
    if not closers:
        return 0
    waiting = _left_open(place)
    for _, closer in _unopened(text):
        if waiting and waiting[-1] == _OPENER_OF.get(closer, closer):
            waiting.pop()
    awaited = "".join(_CLOSER_OF.get(opener, opener) for opener in reversed(waiting))
    num_awaited = next(
        (n for n in range(len(closers), 0, -1) if closers.endswith(awaited[:n]) and awaited[n - 1 : n]), 0
    )
    return len(closers) - num_awaited


def _left_open(place: Place) -> list[str]:
    """Return the brackets and the quote that the line leaves open before the cursor, the outermost first.

    Those that the next line at its indentation closes are left out.
    """
    head = place.head
    waiting: list[str] = []
    for index, char in enumerate(head):
        if waiting and waiting[-1] in _QUOTES:
            if char == waiting[-1] and head[index - 1] != "\\":
                waiting.pop()
        elif char in _QUOTES or char in _CLOSER_OF:
            waiting.append(char)
        elif waiting and waiting[-1] == _OPENER_OF.get(char):
            waiting.pop()
    width = indentation(head)
    next_line = next((line.strip() for line in place.below if line.strip() and indentation(line) <= width), "")
    for closer in reversed("".join(takewhile(_OPENER_OF.__contains__, next_line))):
        if waiting[:1] == [_OPENER_OF[closer]]:
            del waiting[0]
    return waiting


def _before_restated(text: str, tail: str, around: Surroundings) -> str:
    """Return the part of a text in front of the rest of the cursor's line, where it writes that again and goes on."""
    rest = tail.rstrip("".join(_TERMINATORS) + " \t")
    index = text.find(rest) if _TELLING.search(rest) else -1
    if index > 0 and rest[0].isalnum() and text[index - 1].isalnum():
        return text
    if index > 0 and rest.isalnum() and inside((*around.place.above, around.place.head), around.language).text:
        return text  # a word like `the` comes again in prose
    return text[:index] if index >= 0 and text[:index].strip() else text


def _is_repeated(text: str, end: str, place: Place) -> bool:
    """Return whether the end of a text, which stands behind the cursor too, is the same thing and no likeness."""
    start = len(text) - len(end)
    if not end.strip() or (_is_word(end[0]) and _is_word(text[start - 1 : start])):
        return False
    if end[0] in CLOSERS and is_only_closers(end):
        num_closers = sum(char in CLOSERS for char in end)
        return start in {index for index, _ in _unopened(text)} and num_closers <= _num_spare(text, place)
    return end == place.tail.rstrip() or end.strip()[0] in _TERMINATORS or bool(_TELLING.search(end))


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
        elif char in _QUOTES:
            quote, quote_index = char, index
        elif char in _CLOSER_OF:
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
