"""Selects from the proposals of several drafters the chains that are worth verifying together. Tokens and numbers only.

Chains that agree strengthen each other; of the others those are kept that bring most tokens a millisecond together, as
in a tree of drafts (SpecInfer: Miao et al. 2023, https://arxiv.org/abs/2305.09781), but each with rows of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import mul

from decoding.drafters.chain_scoring import num_expected
from decoding.speculation.drafting import Chain

AGREEMENT = 0.5  # chosen: where two agree, this share of the rest to certainty, times the weaker belief, is added

# Returns the tokens a millisecond of a step of so many rows that emits so many tokens on average.
Rate = Callable[[int, float], float]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chain with the probability of each of its tokens that it is accepted if those before it are.

    `length` of them are worth verifying alone, and then promise `rate` tokens a millisecond.
    """

    chain: Chain
    beliefs: tuple[float, ...]
    length: int = 0
    rate: float = 0.0

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The tokens of the chain."""
        return self.chain.token_ids

    def cut(self, length: int) -> Candidate:
        """Return the candidate with its first `length` tokens only."""
        return Candidate(self.chain.cut(length), self.beliefs[:length], length, self.rate)


def merge(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Raise beliefs where chains of different drafters begin alike, and drop chains that another one contains.

    Of two equal chains the one that was believed more is kept; of equal beliefs the first.
    """
    raised = [_raised(candidate, candidates) for candidate in candidates]
    order = sorted(range(len(raised)), key=lambda i: (-len(raised[i].token_ids), [-b for b in candidates[i].beliefs]))
    kept: list[int] = []
    for i in order:
        ids = raised[i].token_ids
        if ids and not any(raised[k].token_ids[: len(ids)] == ids for k in kept):
            kept.append(i)
    return [raised[i] for i in sorted(kept)]


def choose_chains(
    candidates: Sequence[Candidate], best: Candidate, room: int, most: int, rate: Rate
) -> list[Candidate]:
    """Return the best candidate, and those that together with it bring more tokens a millisecond, cut to fit.

    Args:
        candidates: all, the best among them.
        best: leads, and is cut to the length that is worth verifying alone.
        room: rows behind the one of the pending token; each further chain needs one for it again.
        most: the most chains.
        rate: of a step.
    """
    chosen, value = [best], _value([best], rate)
    for candidate in sorted(candidates, key=lambda c: -num_expected(c.beliefs)):
        if candidate.token_ids[: len(best.token_ids)] == best.token_ids or len(chosen) == most:
            continue
        tried = _fitted([*chosen, candidate], room)
        if len(tried) > len(chosen) and (found := _value(tried, rate)) > value:
            chosen, value = tried, found
    return chosen


def _raised(candidate: Candidate, others: Sequence[Candidate]) -> Candidate:
    beliefs = list(candidate.beliefs)
    for other in others:
        if other.chain.drafter == candidate.chain.drafter:
            continue
        for i, (ours, theirs) in enumerate(zip(candidate.token_ids, other.token_ids, strict=False)):
            if ours != theirs:
                break
            high, low = max(beliefs[i], other.beliefs[i]), min(beliefs[i], other.beliefs[i])
            beliefs[i] = high + AGREEMENT * (1 - high) * low
    return Candidate(candidate.chain, tuple(beliefs))


def _fitted(chains: Sequence[Candidate], room: int) -> list[Candidate]:
    """Cut the least probable ends until the chains fit."""
    lengths = [len(chain.token_ids) for chain in chains]
    alive = [list(accumulate(chain.beliefs, mul)) for chain in chains]
    while sum(lengths) + sum(length > 0 for length in lengths[1:]) > room:
        longest = min((i for i in range(len(lengths)) if lengths[i]), key=lambda i: alive[i][lengths[i] - 1])
        lengths[longest] -= 1
    return [chain.cut(length) for chain, length in zip(chains, lengths, strict=True) if length]


def _value(chains: Sequence[Candidate], rate: Rate) -> float:
    """Return tokens a millisecond; tokens that several chains begin with count once."""
    ordered = sorted(chains, key=lambda chain: chain.token_ids)
    emitted: float = 1.0 + num_expected(ordered[0].beliefs)
    for before, chain in pairwise(ordered):
        shared = _num_shared(before.token_ids, chain.token_ids)
        emitted += sum(list(accumulate(chain.beliefs, mul))[shared:])
    num_rows = sum(1 + len(chain.token_ids) for chain in chains)
    return rate(num_rows, emitted)


def _num_shared(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
