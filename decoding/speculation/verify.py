"""Accepts or rejects drafted tokens: those that the target itself chooses are accepted. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Verdict(NamedTuple):
    """The accepted tokens and one more of the target's own, in `emitted_ids`: a step always yields something new."""

    num_accepted: int
    emitted_ids: tuple[int, ...]


def verify(draft_ids: Sequence[int], target_ids: Iterable[int]) -> Verdict:
    """Compare a draft with what the target chose at the same positions.

    Exact matching (Leviathan et al. 2023, https://arxiv.org/abs/2211.17192, for deterministic drafts): a drafted token
    is accepted if and only if the target chose it, so the output is the target's own whatever the draft was.

    Args:
        draft_ids: K drafted tokens, K >= 0.
        target_ids: K + 1 choices; item i is the target's token after the first i drafted ones. It is not consumed
            beyond the first that differs.
    """
    emitted: list[int] = []
    choices = iter(target_ids)
    for drafted in draft_ids:
        emitted.append(next(choices))
        if emitted[-1] != drafted:
            return Verdict(len(emitted) - 1, tuple(emitted))
    return Verdict(len(draft_ids), (*emitted, next(choices)))
