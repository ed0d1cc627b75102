"""Fits a text to the rest of the cursor's line: it neither repeats it nor leaves a second pair of closers.

A text that closes more than it opens replaces the closers that an editor put behind the cursor (`num_replaced`); one
that ends with just them leaves them where they are.
"""

from __future__ import annotations

from typing import Final

from lsp_server.documents.syntax import CLOSERS, is_only_closers
from lsp_server.filters.surroundings import Surroundings

_OPENER_OF: Final = {")": "(", "]": "[", "}": "{"}


def cut_closers(text: str, around: Surroundings) -> str:
    """Return the text without its end, if that is the rest of the line or closers that stand there."""
    rest = around.place.tail.strip()
    if rest and not is_only_closers(rest) and text.endswith(rest):
        return text.removesuffix(rest)
    tail = around.place.tail
    unopened = {index for index, _ in _unopened(text)}
    for length in range(min(len(tail), len(text)), 0, -1):
        is_end = text.endswith(tail[:length]) and tail[0] in CLOSERS and is_only_closers(tail[:length])
        if is_end and len(text) - length in unopened:
            return text[: len(text) - length]
    return text


def num_replaced(text: str, tail: str) -> int:
    """Return how many characters behind the cursor the text replaces: closers that it brings along itself."""
    own = iter([char for _, char in _unopened(text)])
    count = 0
    for closer in tail:
        if closer not in CLOSERS or closer not in own:  # `in` consumes the iterator up to the closer
            break
        count += 1
    return count


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
