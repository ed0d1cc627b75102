"""Judges whether a suggestion fits its place: it parses, holds no special token, and doesn't end in a loop.

Pure functions of texts; no model, no file. Python alone is parsed, and nothing of it is run.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

# A loop: two to eighty characters that repeat four times up to the text's end. Shorter ones may well be meant.
LOOP = re.compile(r"(.{2,80}?)\1{3,}\s*\Z", re.DOTALL)
MIN_LOOP_CHARACTERS = 24
# Numbers that count on are a loop, too, if they do so eight times up to the text's end.
NUMBER = re.compile(r"\d+(?:\.\d+)?")
COUNTING = re.compile(r"(.{2,80}?)\1{7,}\s*\Z", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The verdict on one suggestion.

    `parses` is None where the file didn't parse without it, so that nothing can be told.
    """

    parses: bool | None
    leaks: bool
    loops: bool


def judge(prefix: str, text: str, suffix: str, special: Iterable[str] = (), *, is_python: bool = True) -> Verdict:
    """Judge a suggestion between its prefix and suffix; `special` are the names of the model's special tokens."""
    return Verdict(
        parses=parses(prefix + text + suffix) if is_python and parses(prefix + suffix) else None,
        leaks=any(name in text and name not in prefix and name not in suffix for name in special),
        loops=loops(text),
    )


@lru_cache(maxsize=64)
def parses(text: str) -> bool:
    """Return whether a text is Python, as far as the grammar goes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated escape sequences in the text
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def loops(text: str) -> bool:
    """Return whether a text ends in a loop with a letter or a digit in it, as a small model's greedy text may.

    Numbers that change don't end a loop: `1, 2, 3, ` is one, if it goes on for long.
    """
    for found in (LOOP.search(text), COUNTING.search(NUMBER.sub("0", text))):
        if found is not None and len(found[0]) >= MIN_LOOP_CHARACTERS:
            return any(character.isalnum() for character in found[1])
    return False


def summarise(verdicts: Sequence[Verdict]) -> dict[str, float | int | None]:
    """Return shares in percent: parsing of the suggestions that could be judged, leaks and loops of all."""
    told = [verdict.parses for verdict in verdicts if verdict.parses is not None]
    return {
        "parses_percent": _percent(told),
        "parse_told": len(told),
        "leaks_percent": _percent([verdict.leaks for verdict in verdicts]),
        "loops_percent": _percent([verdict.loops for verdict in verdicts]),
    }


def _percent(hits: Sequence[bool]) -> float | None:
    return round(100 * sum(hits) / len(hits), 2) if hits else None
