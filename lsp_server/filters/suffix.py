"""What stands behind the cursor already is not suggested again: lines that follow, and closers on the same line."""

from __future__ import annotations

from typing import Final

from lsp_server.documents import Place
from lsp_server.trigger import CLOSERS, Mode, is_only_closers

_OPENER_OF: Final = {")": "(", "]": "[", "}": "{"}


def cut_suffix(text: str, place: Place, mode: Mode) -> str:
    """The text less its last lines if those follow, and less its last closers if the cursor's line has them."""
    return _cut_closers(_cut_lines(text, place), place.tail)


def num_replaced(text: str, tail: str) -> int:
    """How many characters behind the cursor the text replaces: closers that it brings along itself."""
    own = iter([char for _, char in _unopened(text)])
    count = 0
    for closer in tail:
        if closer not in CLOSERS or closer not in own:  # looking for it in an iterator goes past it
            break
        count += 1
    return count


def _cut_lines(text: str, place: Place) -> str:
    below = [line.strip() for line in place.below if line.strip()]
    lines = text.split("\n")
    for start, line in enumerate(lines):
        whole = place.head + line if start == 0 else line
        copied = [part.strip() for part in (whole, *lines[start + 1 :]) if part.strip()]
        if copied and _is_beginning(copied, below):
            return "\n".join(lines[:start]).rstrip()
    return text


def _is_beginning(copied: list[str], below: list[str]) -> bool:
    """Whether these lines are the first of those below; the last may be cut short, but not to a few letters."""
    *whole, last = copied
    if len(copied) > len(below) or whole != below[: len(whole)]:
        return False
    return last == below[len(whole)] or (len(last) >= 8 and below[len(whole)].startswith(last))


def _cut_closers(text: str, tail: str) -> str:
    tail = tail.strip()
    if tail and not is_only_closers(tail) and text.endswith(tail):
        return text.removesuffix(tail)
    unopened = _unopened(text)
    for length in range(min(len(tail), len(text)), 0, -1):
        if text.endswith(tail[:length]) and tail[0] in CLOSERS and is_only_closers(tail[:length]):
            first = len(text) - length
            if any(index == first for index, _ in unopened):
                return text[:first]
    return text


def _unopened(text: str) -> list[tuple[int, str]]:
    """The closers of a text that close something before it, with their places; a lone quote is one too."""
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
        # The quote was opened before the text: what came after it stands outside of the string.
        inside = [(index, char) for index, char in found if index < quote_index]
        after = [(quote_index + 1 + index, char) for index, char in _unopened(text[quote_index + 1 :])]
        return [*inside, (quote_index, quote), *after]
    return found
