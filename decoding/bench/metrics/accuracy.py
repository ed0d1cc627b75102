"""Computes accuracy metrics. Pure functions of texts and numbers; no model, no file, no clock.

Edit similarity is 100 × (1 − Levenshtein distance / length of the longer), as CrossCodeEval and RepoEval define it, on
characters. Exact match compares texts less the blanks at the end of their lines. Kept rate is Zed's: the share of
predicted tokens that are found, in order, in the final text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TOKENS = re.compile(r"\w+|\s+|[^\w\s]")


def first_line(text: str) -> str:
    """Return the text up to the first line end behind a visible character; a leading line end stays."""
    start = len(text) - len(text.lstrip("\n"))
    end = text.find("\n", start)
    return text[start:] if end < 0 else text[start:end]


def is_same(text: str, gold: str) -> bool:
    """Return whether two texts match exactly, except for blanks at line ends."""
    return _stripped(text) == _stripped(gold)


def edit_similarity(text: str, gold: str) -> float:
    """Return the edit similarity from 0 to 100; two empty texts have 100."""
    longest = max(len(text), len(gold))
    return 100.0 if longest == 0 else 100.0 * (1 - levenshtein(text, gold) / longest)


def levenshtein(first: str, second: str) -> int:
    """Return the fewest insertions, deletions and replacements of a character between two texts (Levenshtein 1966)."""
    if len(first) < len(second):
        first, second = second, first
    codes = np.array([ord(character) for character in second], dtype=np.int64)
    places = np.arange(len(second) + 1)
    row = places.copy()
    for i, character in enumerate(first, 1):
        replaced = row[:-1] + (codes != ord(character))
        best = np.concatenate(([i], np.minimum(replaced, row[1:] + 1)))
        # An insertion costs one more than its left neighbour; less the column number, that is a running minimum.
        row = np.minimum.accumulate(best - places) + places
    return int(row[-1])


def accepted_prefix(text: str, gold: str) -> int:
    """Count the characters of `text` that a user who wants `gold` would keep by accepting whole words."""
    length = next((i for i, (a, b) in enumerate(zip(text, gold, strict=False)) if a != b), min(len(text), len(gold)))
    ends = [match.end() for match in TOKENS.finditer(text) if match.end() <= length and _ends_alike(gold, match.end())]
    return max(ends, default=0)


def repeats_suffix(text: str, suffix: str) -> bool:
    """Return whether the last suggested line is the line that stands below already."""
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
    below = next((line.strip() for line in suffix.splitlines() if line.strip()), "")
    return bool(last) and "\n" in text.strip("\n") and last == below


def kept_rate(predicted: str, final: str) -> float:
    """Return the share of predicted characters in tokens that survive in the final text (longest common subsequence).

    The tokens are words, runs of blanks and single other characters.
    """
    ours, theirs = TOKENS.findall(predicted), TOKENS.findall(final)
    total = sum(len(token) for token in ours)
    return _common_characters(ours, theirs) / total if total else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of them do not exceed (nearest rank); NaN of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean and the bounds of its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


def mean_interval(values: Sequence[float], clusters: Sequence[str], *, draws: int = 1000) -> Interval:
    """Bootstrap the mean over clusters (rows of one commit are not independent). The draws are seeded."""
    if not values:
        return Interval(mean=math.nan, low=math.nan, high=math.nan)
    names = sorted(set(clusters))
    index = {name: i for i, name in enumerate(names)}
    sums, counts = np.zeros(len(names)), np.zeros(len(names))
    for value, cluster in zip(values, clusters, strict=True):
        sums[index[cluster]] += value
        counts[index[cluster]] += 1
    chosen = np.random.default_rng(0).integers(len(names), size=(draws, len(names)))
    means = sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(mean=float(np.mean(values)), low=float(low), high=float(high))


def _stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").split("\n")).strip()


def _ends_alike(gold: str, end: int) -> bool:
    """Return whether a word of ours that ends here ends in the gold text too."""
    return not (end < len(gold) and _is_word(gold[end]) and _is_word(gold[end - 1]))


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _common_characters(ours: list[str], theirs: list[str]) -> int:
    row = [0] * (len(theirs) + 1)
    for token in ours:
        diagonal = 0
        for j, other in enumerate(theirs, 1):
            above = row[j]
            row[j] = diagonal + len(token) if token == other else max(above, row[j - 1])
            diagonal = above
    return row[-1]
