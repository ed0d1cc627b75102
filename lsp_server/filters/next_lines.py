"""Cuts lines that follow the cursor already."""

from __future__ import annotations

from lsp_server.filters.surroundings import Surroundings

MIN_CUT_LINE_CHARS = 8


def cut_next_lines(text: str, around: Surroundings) -> str:
    """Return the text without last lines that equal the first ones below the cursor or the rest of its line."""
    place = around.place
    below = [line.strip() for line in place.below if line.strip()]
    lines = text.split("\n")
    for start, line in enumerate(lines):
        whole = place.head + line if start == 0 else line
        copied = [part.strip() for part in (whole, *lines[start + 1 :]) if part.strip()]
        if copied and _is_beginning(copied, below):
            return "\n".join(lines[:start]).rstrip()
    return text


def _is_beginning(copied: list[str], below: list[str]) -> bool:
    """Return whether these lines are the first of those below; the last may be cut short, but not to a few letters."""
    *whole, last = copied
    if len(copied) > len(below) or whole != below[: len(whole)]:
        return False
    return last == below[len(whole)] or (len(last) >= MIN_CUT_LINE_CHARS and below[len(whole)].startswith(last))
