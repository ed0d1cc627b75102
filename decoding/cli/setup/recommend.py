"""Chooses among candidates by what this machine can do: the largest that is quick enough, with what is here preferred.

Plain data and arithmetic: reads no file and measures nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from decoding.cli.setup.candidate import Candidate
from decoding.storage.pulled import as_size

# chosen: a line of twelve tokens within a second, and the thousand tokens of a small file within ten.
ENOUGH_TOKENS: Final = 12.0
ENOUGH_PROMPT_TOKENS: Final = 100.0
# chosen: slower ones are worse than the shipped pair, which answers at once.
LEAST_TOKENS: Final = 4.0
# chosen: a model on the disk is worth as much as one of twice its size that has to be fetched.
WORTH_ON_DISK: Final = 2.0
# chosen: the rest of the free memory is for editors and compilers.
SHARE_OF_FREE: Final = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Tokens a second of answers, without drafts, and of prompts."""

    tokens: float
    prompt_tokens: float

    @property
    def is_quick(self) -> bool:
        """Whether one would wait for it while typing."""
        return self.tokens >= ENOUGH_TOKENS and self.prompt_tokens >= ENOUGH_PROMPT_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """A candidate, what is to be expected of it, and why it is the one."""

    candidate: Candidate
    estimate: Estimate
    reason: str


def recommend(
    candidates: Sequence[Candidate],
    shipped: Candidate,
    estimate: Callable[[Candidate], Estimate],
    free_bytes: int | None,
    why_unfit: Callable[[Candidate], str],
) -> Recommendation:
    """Return the best of the candidates, or the shipped pair where none will do.

    Args:
        candidates: all that there are.
        shipped: the shipped pair.
        estimate: says how fast a candidate would be.
        free_bytes: memory for models, None where the system doesn't tell.
        why_unfit: looks closely at one on the disk; "" if it will do.
    """
    fitting = [candidate for candidate in candidates if candidate.is_code and fits(candidate, free_bytes)]
    told = {candidate.name: estimate(candidate) for candidate in fitting}
    quick = sorted((c for c in fitting if told[c.name].is_quick), key=_worth, reverse=True)
    for kept in (candidate for candidate in quick if candidate.source == "in use"):
        larger = f"; {quick[0].name} is larger, and quick enough, too" if quick[0] is not kept else ""
        return Recommendation(candidate=kept, estimate=told[kept.name], reason=f"it is in use, and will do{larger}")
    slow = sorted(
        (c for c in fitting if c not in quick and told[c.name].tokens >= LEAST_TOKENS), key=lambda c: c.step_bytes
    )
    for candidate in (*quick, *slow):
        if not why_unfit(candidate):
            reason = _why_quick(candidate, candidates, told) if candidate in quick else _WHY_SLOW
            return Recommendation(candidate=candidate, estimate=told[candidate.name], reason=reason)
    least = min((c.memory_bytes for c in candidates if c.is_code), default=0)
    reason = "every code model would be too slow here" if fitting else f"the smallest code model needs {as_size(least)}"
    return Recommendation(
        candidate=shipped, estimate=estimate(shipped), reason=f"{reason}; this pair is a demonstration"
    )


def for_named(candidate: Candidate, estimate: Estimate, free_bytes: int | None, unfit: str) -> Recommendation:
    """Return the model that the user named, with what speaks against it."""
    against = [
        f"it needs {as_size(candidate.memory_bytes)}, more than is free" if not fits(candidate, free_bytes) else "",
        "it is slow here" if not estimate.is_quick else "",
        unfit,
    ]
    reason = "; ".join(["you named it", *filter(None, against)])
    return Recommendation(candidate=candidate, estimate=estimate, reason=reason)


def fits(candidate: Candidate, free_bytes: int | None) -> bool:
    """Whether the memory holds it; what is in use may be in memory already, and counts as fitting."""
    is_in_use = candidate.source == "in use"
    return is_in_use or free_bytes is None or candidate.memory_bytes <= SHARE_OF_FREE * free_bytes


_WHY_SLOW: Final = "the quickest code model here, though slow"


def _worth(candidate: Candidate) -> tuple[float, bool, int]:
    """Order by size; of two models of one size the one with fewer bytes a step is quicker, and nearly as good."""
    is_here = candidate.source != "pull"
    return round(candidate.num_parameters / 1e8) * (WORTH_ON_DISK if is_here else 1.0), is_here, -candidate.step_bytes


def _why_quick(candidate: Candidate, candidates: Sequence[Candidate], told: dict[str, Estimate]) -> str:
    larger = [c for c in candidates if c.is_code and c.num_parameters > 1.1 * candidate.num_parameters]
    if candidate.source in ("disk", "in use") and any(told[c.name].is_quick for c in larger if c.name in told):
        return "it is on this machine already, and nothing quick enough is more than twice its size"
    return "the largest code model that fits and is quick enough here" if larger else "the largest code model there is"
