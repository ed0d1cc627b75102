"""A small model may fall into a loop; the text is cut where it begins to repeat itself."""

from __future__ import annotations

import re
from typing import Final

from lsp_server.documents import Place
from lsp_server.trigger import Mode

# Within a line: the same 4 to 60 characters at least four times in a row. A rule of dashes is no loop.
_LOOP: Final = re.compile(r"(.{4,60}?)\1{3,}")
MAX_PERIOD_LINES: Final = 4
MIN_REPEATS: Final = 3


def cut_repetition(text: str, place: Place, mode: Mode) -> str:
    """The text up to the second turn of a loop of lines, or up to the line that has a loop within."""
    for loop in _LOOP.finditer(text):
        if any(char.isalpha() for char in loop[1]):
            text = text[: text.rfind("\n", 0, loop.start()) + 1].rstrip()
            break
    lines = text.split("\n")
    for start in range(len(lines)):
        for period in range(1, MAX_PERIOD_LINES + 1):
            if _repeats(lines, start, period):
                return "\n".join(lines[: start + period]).rstrip()
    return text


def _repeats(lines: list[str], start: int, period: int) -> bool:
    unit = lines[start : start + period]
    if not any(char.isalnum() for line in unit for char in line):
        return False
    turns = (lines[start + turn * period : start + (turn + 1) * period] for turn in range(1, MIN_REPEATS))
    return all(turn == unit for turn in turns)
