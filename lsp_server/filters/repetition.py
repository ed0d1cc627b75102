"""Cuts a text where it begins to repeat itself, since a small model may fall into a loop."""

from __future__ import annotations

import re
from typing import Final

from lsp_server.filters.surroundings import Surroundings

# A loop within a line: the same 4 to 60 characters at least four times in a row.
_LOOP: Final = re.compile(r"(.{4,60}?)\1{3,}")
# A loop without a letter (`0, 0, 0, `) may well be meant, unless it goes on for long, or nothing ends it.
_LETTERLESS_LOOP: Final = re.compile(r"([^\n]{1,12}?)\1{3,}")
MIN_LETTERLESS_CHARS: Final = 40
MAX_LETTERLESS_PERIOD: Final = 12
MIN_ENDLESS_REPEATS: Final = 6
# Texts that differ only in numbers count as equal at the end of a text: `1, 2, 3, ` or `a1 = 1`, `a2 = 2`.
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")
MAX_COUNTED_CHARS: Final = 80
MIN_COUNTED_REPEATS: Final = 8
# A line of dashes is a ruler, if it is no longer than a line of code.
_RULER: Final = re.compile(r"\s*(?:#|//|--|/?\*|;|%)?\s*([^\w\s])\1*\s*(?:\*/)?")
MAX_RULER_CHARS: Final = 120
MAX_PERIOD_LINES: Final = 4
MIN_REPEATS: Final = 3
MIN_LETTERLESS_REPEATS: Final = 6
MIN_COPIED_CHARS: Final = 8


def cut_repetition(text: str, around: Surroundings) -> str:
    """Return the text up to the second turn of a loop of lines, or up to the line that has a loop within.

    Two turns make a loop of one line that is long enough to be no `pass`, else three. Nothing is left of a text whose
    first line repeats the line above.
    """
    lines = text.split("\n")
    if _is_copy_of_above(lines[0], around):
        return ""
    for number, line in enumerate(lines):
        if _has_loop(around.place.head + line if number == 0 else line):
            lines = lines[:number]
            break
    lines = _without_counting(lines, around.place.head)
    text = "\n".join(lines).rstrip() if len(lines) < text.count("\n") + 1 else text
    whole = [around.place.head + lines[0], *lines[1:]] if lines else []
    for start in range(len(lines)):
        for period in range(1, MAX_PERIOD_LINES + 1):
            if _repeats(whole, start, period):
                return "\n".join(lines[: start + period]).rstrip()
    return text


def _is_copy_of_above(line: str, around: Surroundings) -> bool:
    whole = (around.place.head + line + around.place.tail).strip()
    above = next((line.strip() for line in reversed(around.place.above) if line.strip()), "")
    return whole == above and len(whole) >= MIN_COPIED_CHARS and bool(line.strip())


def _without_counting(lines: list[str], head: str) -> list[str]:
    """Return the lines up to the one in which an endless loop of numbers begins; of a loop of lines the first stays."""
    whole = "\n".join((head + lines[0], *lines[1:])).rstrip() if lines else ""
    for text, max_period, min_repeats in (
        (whole, MAX_LETTERLESS_PERIOD, MIN_ENDLESS_REPEATS),
        (_NUMBER.sub("0", whole), MAX_COUNTED_CHARS, MIN_COUNTED_REPEATS),
    ):
        if (found := _final_loop(text, max_period, min_repeats)) is not None:
            start, unit = found
            return lines[: text.count("\n", 0, start + 1) + ("\n" in unit)]
    return lines


def _final_loop(text: str, max_period: int, min_repeats: int) -> tuple[int, str] | None:
    """Return the start and one turn of a loop at the text's end, if it holds a number and more than that."""
    for period in range(2, max_period + 1):
        unit = text[-period:]
        has_number = any(char.isdigit() for char in unit) and not unit.isdigit()
        if has_number and text.endswith(unit * min_repeats):
            start = len(text) - period
            while start > 0 and text[start - 1] == text[start - 1 + period]:
                start -= 1
            return start, text[start : start + period]
    return None


def _has_loop(line: str) -> bool:
    if any(any(char.isalpha() for char in loop[1]) for loop in _LOOP.finditer(line)):
        return True
    if _RULER.fullmatch(line) and len(line) <= MAX_RULER_CHARS:
        return False
    return any(
        loop.end() - loop.start() >= MIN_LETTERLESS_CHARS and loop[1].strip()
        for loop in _LETTERLESS_LOOP.finditer(line)
    )


def _repeats(lines: list[str], start: int, period: int) -> bool:
    unit = lines[start : start + period]
    if not any(line.strip() for line in unit):
        return False
    is_letterless = not any(char.isalnum() for line in unit for char in line)
    is_long = period == 1 and not is_letterless and len(unit[0].strip()) >= MIN_COPIED_CHARS
    num_turns = MIN_LETTERLESS_REPEATS if is_letterless else 2 if is_long else MIN_REPEATS
    turns = (lines[start + turn * period : start + (turn + 1) * period] for turn in range(1, num_turns))
    return all(turn == unit for turn in turns)
