"""Defines the drafters' protocol: how they propose tokens, and what they are told.

A drafter's proposals are advice: it may be wrong, slow or raise, and the output stays the target's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

from torch import Tensor

from decoding.speculation.sampling import Sampling
from decoding.text.token_healing import Healing

GREEDY = Sampling()
# A drafter may need these of the target's step, besides its choices.
HIDDEN: Final = "hidden"
PROBES: Final = "probes"
NOTHING: Final[frozenset[str]] = frozenset()

Role = Literal["verify", "probe"]
VERIFY: Final = "verify"
PROBE: Final = "probe"


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftRequest:
    """What a drafter may know of a request: the prompt's tokens, and texts likely to be copied, as tokens.

    `proposed_ids` are the tokens that another model would write behind the prompt.
    `language` is the document's, as its editor names it. `sampling` and `healing` say how the target will choose: a
    drafter that chooses alike is right more often.
    """

    prompt_ids: Sequence[int]
    hint_ids: Sequence[Sequence[int]] = ()
    proposed_ids: Sequence[int] = ()
    max_tokens: int = 0
    sampling: Sampling = GREEDY
    healing: Healing | None = None
    language: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """Tokens that may follow the text, in sequence, and who proposed them.

    `match_len` is how many tokens before them matched where they were copied from, 0 if they weren't copied. `scores`
    are the drafter's own estimates, for each token, that it is accepted if those before it are; empty if unknown. A
    chain to `VERIFY` may be accepted. The target evaluates one to `PROBE` too, but never accepts or keeps it: its
    drafter learns from what the target chose behind each of its tokens.
    """

    token_ids: tuple[int, ...] = ()
    drafter: str = ""
    match_len: int = 0
    scores: tuple[float, ...] = ()
    role: Role = VERIFY

    def cut(self, length: int) -> Chain:
        """Return the chain with its first `length` tokens only."""
        return replace(self, token_ids=self.token_ids[:length], scores=self.scores[:length])

    def is_beginning_of(self, other: Chain) -> bool:
        """Return whether the other chain starts with all of these tokens."""
        return other.token_ids[: len(self.token_ids)] == self.token_ids


NO_TOKENS = Chain()


@dataclass(frozen=True, slots=True)
class Draft:
    """Chains that all begin where the text ends, the best first. No chain is normal: plain decoding.

    More than one is evaluated beside the first where rows are cheap (decoding/speculation/step.py).
    """

    chains: tuple[Chain, ...] = ()

    @property
    def leading(self) -> Chain:
        """The first chain that may be accepted, or one without tokens if there is none."""
        return next((chain for chain in self.chains if chain.role == VERIFY), NO_TOKENS)

    @property
    def verified(self) -> tuple[Chain, ...]:
        """The chains that may be accepted."""
        return tuple(chain for chain in self.chains if chain.role == VERIFY)

    @property
    def probes(self) -> tuple[Chain, ...]:
        """The chains that are only evaluated."""
        return tuple(chain for chain in self.chains if chain.role == PROBE)


EMPTY = Draft()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of one round: the emitted tokens, of which the first `num_accepted` were the leading chain's.

    `hidden` (emitted, C) are the target's hidden states, before its last norm, that each was chosen from: for drafters
    that need `HIDDEN`, None where the target gives none; valid until the target's next step. `probe_ids` are, for each
    probe, the target's choice behind the last emitted token before it and behind each of its own, barring nothing: for
    drafters that need `PROBES`.
    """

    emitted_ids: tuple[int, ...]
    num_accepted: int
    draft: Draft
    hidden: Tensor | None = None
    probe_ids: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftingCost:
    """What a drafter's time depends on, as measured; 0 where it wasn't.

    `is_per_token` tells that each drafted token takes a pass of a model, of `token_ms`; otherwise all proposals take
    equally long. `read_ms` is the time to read one token of a prompt.
    """

    is_per_token: bool = False
    token_ms: float = 0.0
    read_ms: float = 0.0


PER_PROPOSAL = DraftingCost()


class Drafter(Protocol):
    """Proposes tokens, and sees every outcome, also those of other drafters' proposals."""

    name: str

    @property
    def cost(self) -> DraftingCost:
        """The costs that a policy should expect."""

    @property
    def needs(self) -> frozenset[str]:
        """What it needs of the target's step, besides the emitted tokens: `HIDDEN`, `PROBES`."""

    @property
    def num_unread(self) -> int:
        """The tokens that it has to read before it can propose any: reading a prompt takes a model its time."""

    def begin(self, request: DraftRequest) -> None:
        """Start a new request; whatever was learnt of the last one's text may be kept."""

    def observe(self, outcome: Outcome) -> None:
        """Learn the outcome of a round. Called after each round, the first of which ends the prefill."""

    def propose(self, budget: int) -> Draft:
        """Propose at most `budget` tokens to follow what was emitted so far."""

    def close(self) -> None:
        """End the request, also when it was cancelled."""


class NoDrafter:
    """Proposes nothing: plain decoding."""

    name = "none"
    cost = PER_PROPOSAL
    needs = NOTHING
    num_unread = 0

    def begin(self, request: DraftRequest) -> None:
        """Do nothing, since there is nothing to learn from a request."""

    def observe(self, outcome: Outcome) -> None:
        """Do nothing, since there is nothing to learn from a round."""

    def propose(self, budget: int) -> Draft:
        """Return a draft without chains."""
        del budget
        return EMPTY

    def close(self) -> None:
        """Do nothing, since nothing is kept."""
