"""Turns a model's logits into guesses, the likeliest token of each row with its probability, and guesses into a draft.

Knows no model. Dimension letters: T rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
from torch import Tensor

from decoding.speculation.drafting import EMPTY, Chain, Draft
from decoding.speculation.sampling import Sampling, sample

# chosen: a draft ends where it is less likely than this to be accepted as a whole: a row costs a CPU a quarter of a
# step, and a GPU next to nothing.
LEAST: Final = {"cpu": 0.3}
LEAST_ELSEWHERE: Final = 0.05
LEAST_RIVAL: Final = 0.15


class Guess(NamedTuple):
    """A token and its probability; `second_id` is the second likeliest token, -1 where it isn't known."""

    token_id: int
    probability: float
    second_id: int = -1
    second_probability: float = 0.0


def guesses(logits: Tensor, sampling: Sampling, position: int) -> Iterator[Guess]:
    """Yield a guess from each row of `logits` (T, V), as the target would choose; on a CPU lazily.

    The probability is that of temperature 1. `position` is the first predicted token's.
    """
    if sampling.temperature > 0:
        for i, row in enumerate(logits):
            token_id = sample(row, sampling, position + i)
            yield Guess(token_id, float(row.float().softmax(dim=-1)[token_id]))
    elif logits.device.type == "cpu":
        for row in logits:
            yield _two_likeliest(row)
    else:
        best = logits.float().softmax(dim=-1).topk(2)
        for ids, probabilities in zip(best.indices.tolist(), best.values.tolist(), strict=True):
            yield Guess(ids[0], probabilities[0], ids[1], probabilities[1])


def draft_of(guessed: Iterable[Guess], drafter: str, least: float, *, are_independent: bool = False) -> Draft:
    """Make a draft of guesses, up to where it is less likely than `least` as a whole; rivals come after it.

    Args:
        guessed: one for each place.
        drafter: its name.
        least: the smallest probability of a whole draft.
        are_independent: whether each guess was made without those before it. Then its probability is that of its
            place, whatever stands before, and the whole is about as probable as its least probable place.
    """
    kept: list[Guess] = []
    scores: list[float] = []
    rivals: list[Chain] = []
    whole = 1.0
    for guess in guessed:
        with_it = min(whole, guess.probability) if are_independent else whole * guess.probability
        if guess.second_probability >= LEAST_RIVAL and whole * guess.second_probability >= least / 2:
            before = tuple(other.token_id for other in kept)
            rival_scores = (*scores, guess.second_probability)
            rivals.append(Chain((*before, guess.second_id), drafter, scores=rival_scores))
        if with_it < least:
            break
        kept.append(guess)
        scores.append(with_it / whole)
        whole = with_it
    if not kept:
        return EMPTY
    return Draft((Chain(tuple(guess.token_id for guess in kept), drafter, scores=tuple(scores)), *rivals))


def least_on(device: str) -> float:
    """Return the smallest probability of a whole draft on a kind of device."""
    return LEAST.get(device, LEAST_ELSEWHERE)


def _two_likeliest(row: Tensor) -> Guess:
    """Return a guess from one row (V,) on a CPU; numpy wakes no threads, which would cost more than they save."""
    values = row.float().numpy()
    best = int(values.argmax())
    relative = np.exp(values - values[best])
    total = float(relative.sum())
    relative[best] = 0.0
    second = int(relative.argmax())
    return Guess(best, 1 / total, second, float(relative[second]) / total)
