"""Calibrates drafters: how many of the tokens of which a drafter was so sure were accepted. Numbers only.

A drafter that scores its tokens is calibrated by classes of scores; one that copies, by how many tokens matched. Both
also by language, where there is enough of it. Older drafts count less. The counts reveal no text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

FORGETTING: Final = 0.97  # chosen: each new draft reduces the weight of all earlier ones to this
PRIOR_WEIGHT: Final = 6.0  # chosen: a prior counts as so many drafted tokens
# chosen: the expected acceptance at first, by how many tokens matched for look-up; 0 is for a model, which proposes
# only tokens that it is sure of.
PRIOR_ACCEPTANCE: Final = {0: 0.8, 1: 0.2, 2: 0.4, 3: 0.5, 4: 0.6, 5: 0.65, 6: 0.7, 7: 0.75, 8: 0.85}
LONGEST_MATCH: Final = max(PRIOR_ACCEPTANCE)
# The kinds of the tokens that a model was asked for: the first of a draft, and those behind accepted ones. One that it
# did not propose, because it wasn't sure, counts as refused. measured with a 0.5B model for a 1.5B: 0.76 and 0.93.
ASKED: Final = "asked"
ASKED_ON: Final = "asked on"
PRIOR_ASKED: Final = 0.6
PRIOR_ASKED_ON: Final = 0.9
# chosen: upper ends of the classes of scores, finer near certainty.
SCORES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)
MIDDLES: Final = tuple((low + high) / 2 for low, high in pairwise((0.0, *SCORES)))
# chosen: a score is multiplied by this at first: drafters that don't know the target are too sure of themselves.
PRIOR_SHRINK: Final = 0.98
UNLIKELY: Final = 0.02
MAX_LANGUAGES: Final = 16
LANGUAGE: Final = re.compile(r"[a-z0-9+#-]{1,20}")
MAX_COUNT: Final = 1e4
NOTHING: Final = (0.0, 0.0)

Kind = str
KINDS: Final = tuple(f"score {round(100 * end)}" for end in SCORES)


def checked_language(language: str) -> str:
    """Return the language if it is a valid name, else "". Only this form of an editor's word is ever stored."""
    return language if LANGUAGE.fullmatch(language) else ""


class Reliability:
    """The calibration of one drafter. A kind names a class of its tokens: "asked", "match 3" or "score 95"."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[Kind, tuple[float, float]]] = {"": {}}

    def rate(self, kind: Kind, prior: float, language: str = "") -> float:
        """Return the probability that a drafted token of this kind is accepted if those before it are."""
        rate = _mixed(self._counts[""].get(kind), prior)
        return _mixed(self._counts[language].get(kind), rate) if language and language in self._counts else rate

    def beliefs(self, match_len: int, scores: Sequence[float], num_tokens: int, language: str = "") -> list[float]:
        """Return for each token of a draft the probability that it is accepted if those before it are.

        The list ends where the whole beginning becomes unlikely.
        """
        if not scores:
            prior = PRIOR_ACCEPTANCE[min(match_len, LONGEST_MATCH)]
            return [self.rate(f"match {match_len}", prior, language)] * num_tokens
        known: dict[int, float] = {}
        found: list[float] = []
        alive = 1.0
        for score in scores:
            place = _place(score)
            belief = known.get(place)
            if belief is None:
                prior = PRIOR_SHRINK * MIDDLES[place]
                belief = known[place] = self.rate(KINDS[place], prior, language)
            found.append(belief)
            alive *= belief
            if alive < UNLIKELY:
                break
        return found

    def learn(
        self, match_len: int, scores: Sequence[float], num_accepted: int, num_drafted: int, language: str
    ) -> None:
        """Learn from a verified draft. Tokens behind the first refused one were not judged."""
        num_judged = num_accepted + (num_accepted < num_drafted)
        if not scores:
            self.count(f"match {match_len}", num_accepted, num_judged, language)
            return
        found: dict[int, list[int]] = {}
        for i, score in enumerate(scores[:num_judged]):
            counts = found.setdefault(_place(score), [0, 0])
            counts[0] += i < num_accepted
            counts[1] += 1
        for place, (num_stood, judged) in found.items():
            self.count(KINDS[place], num_stood, judged, language)

    def learn_asked(self, num_accepted: int, num_drafted: int, num_asked: int, language: str) -> None:
        """Learn what came of asking a model for so many tokens. What it did not propose counts as refused."""
        num_judged = min(num_accepted + 1, num_drafted + (num_drafted < num_asked))
        if num_judged:
            self.count(ASKED, min(num_accepted, 1), 1, language)
        if num_judged > 1:
            self.count(ASKED_ON, num_accepted - 1, num_judged - 1, language)

    def asked_beliefs(self, num_tokens: int, language: str = "") -> list[float]:
        """Return for each of so many tokens that a model is asked for the probability that it is accepted."""
        first = self.rate(ASKED, PRIOR_ASKED, language)
        return [first, *[self.rate(ASKED_ON, PRIOR_ASKED_ON, language)] * (num_tokens - 1)]

    def count(self, kind: Kind, num_stood: int, num_judged: int, language: str = "") -> None:
        """Count judged tokens of a kind, and how many of them were accepted."""
        for name in ("", language) if language else ("",):
            counts = self._counts.get(name)
            if counts is None:
                if len(self._counts) > MAX_LANGUAGES:
                    continue
                counts = self._counts[name] = {}
            stood, judged = counts.get(kind, NOTHING)
            counts[kind] = (stood * FORGETTING + num_stood, judged * FORGETTING + num_judged)

    def to_json(self) -> dict[str, Any]:
        """Return what is to be kept: counts by language and kind."""
        return {
            language: {kind: [round(stood, 3), round(judged, 3)] for kind, (stood, judged) in counts.items()}
            for language, counts in self._counts.items()
        }

    def restore(self, value: object) -> None:
        """Start from a kept state; values of another form are ignored."""
        for language, counts in _table(value).items():
            if language != checked_language(language) or (language and len(self._counts) > MAX_LANGUAGES):
                continue
            mine = self._counts.setdefault(language, {})
            for kind, pair in _table(counts).items():
                if _is_kind(kind) and isinstance(pair, list) and len(pair) == 2 and all(map(_is_count, pair)):
                    mine[kind] = (min(float(pair[0]), float(pair[1])), float(pair[1]))


def _place(score: float) -> int:
    """Return the index of the class that a score belongs to."""
    return min(bisect_right(SCORES, score), len(SCORES) - 1)


def _mixed(counts: tuple[float, float] | None, prior: float) -> float:
    if counts is None:
        return prior
    return (counts[0] + PRIOR_WEIGHT * prior) / (counts[1] + PRIOR_WEIGHT)


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_kind(kind: str) -> bool:
    return kind in (ASKED, ASKED_ON) or re.fullmatch(r"(match|score) \d{1,4}", kind) is not None


def _is_count(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT
