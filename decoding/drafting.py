"""The drafters' protocol: who may propose tokens, and what they are told.

A drafter's proposals are advice: it may be wrong, slow or raise, and the output stays the target's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from decoding.constraint import Healing
from decoding.sampling import Sampling

GREEDY = Sampling()


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftRequest:
    """What a drafter may know of a request: the prompt's tokens and texts likely to be copied, as tokens.

    `sampling` and `healing` say how the target will choose: a drafter that chooses alike is right more often.
    """

    prompt_ids: Sequence[int]
    hint_ids: Sequence[Sequence[int]] = ()
    max_tokens: int = 0
    sampling: Sampling = GREEDY
    healing: Healing | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """Proposed tokens and who proposed them. Empty is normal: plain decoding.

    `match_len` is how many tokens before them were found again where they were copied from, 0 if they weren't copied.
    """

    token_ids: tuple[int, ...] = ()
    drafter: str = ""
    match_len: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one round brought: the tokens it emitted, of which the first `num_accepted` were the draft's."""

    emitted_ids: tuple[int, ...]
    num_accepted: int
    draft: Draft


class Drafter(Protocol):
    """Proposes tokens; sees every outcome, also those of other drafters' proposals."""

    name: str

    @property
    def num_unread(self) -> int:
        """Tokens that it has to read before it can propose any: reading a prompt takes a model its time."""

    def begin(self, request: DraftRequest) -> None:
        """A new request; whatever was learnt of the last one's text may be kept."""

    def observe(self, outcome: Outcome) -> None:
        """Called after each round, the first of which ends the prefill."""

    def propose(self, budget: int) -> Draft:
        """At most `budget` tokens to follow what was emitted so far."""

    def close(self) -> None:
        """The request is over, also when it was cancelled."""
