"""Which drafters are worth asking, from measured costs. Numbers only."""

from __future__ import annotations

# A drafted token saves the share of a step with which it is accepted, and costs a step of the draft; one more is spent
# to find out that it is not sure. With the shipped pair on a CPU a draft step cost 0.35 of a target's, four drafted
# tokens in five were accepted, and drafting just broke even.
MAX_DRAFT_COST = 0.25


def is_draft_worth_it(draft_ms: float, target_ms: float) -> bool:
    """Whether a draft model is asked by default, given the time of its step for one row and of the target's step."""
    return draft_ms <= MAX_DRAFT_COST * target_ms
