"""The drafters' protocol: who may propose tokens, and what they are told.

A drafter's proposals are advice: it may be wrong, slow or raise, and the output stays the target's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from torch import Tensor

from decoding.speculation.sampling import Sampling
from decoding.text.token_healing import Healing

GREEDY = Sampling()
# What a drafter may need of the target's step besides its choices.
HIDDEN: Final = "hidden"
PROBES: Final = "probes"
NOTHING: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftRequest:
    """What a drafter may know of a request: the prompt's tokens and texts likely to be copied, as tokens.

    `language` is the document's, as its editor names it.
    `sampling` and `healing` say how the target will choose: a drafter that chooses alike is right more often.
    """

    prompt_ids: Sequence[int]
    hint_ids: Sequence[Sequence[int]] = ()
    max_tokens: int = 0
    sampling: Sampling = GREEDY
    healing: Healing | None = None
    language: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """Proposed tokens and who proposed them. Empty is normal: plain decoding.

    `match_len` is how many tokens before them were found again where they were copied from, 0 if they weren't copied.
    `scores` are the drafter's own estimates, for each token, that it stands if those before it do; empty if unknown.
    `rivals` are other chains from the same place, the best first, to be verified beside it where rows are cheap.
    `probes` are chains that are evaluated, never accepted and never kept; a drafter may ask for them without a draft.
    """

    token_ids: tuple[int, ...] = ()
    drafter: str = ""
    match_len: int = 0
    scores: tuple[float, ...] = ()
    rivals: tuple[Draft, ...] = ()
    probes: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one round brought: the tokens it emitted, of which the first `num_accepted` were the draft's.

    `hidden` (emitted, C) are the target's states, before its last norm, that each was chosen from: for drafters that
    need `HIDDEN`, None where the target tells none; valid until the target's next step.
    `probe_ids` are, for each probe, the target's choice behind the last emitted token before it and behind each of its
    own, barring nothing: for drafters that need `PROBES`.
    """

    emitted_ids: tuple[int, ...]
    num_accepted: int
    draft: Draft
    hidden: Tensor | None = None
    probe_ids: tuple[tuple[int, ...], ...] = ()


class Drafter(Protocol):
    """Proposes tokens; sees every outcome, also those of other drafters' proposals."""

    name: str

    @property
    def needs(self) -> frozenset[str]:
        """What of the target's step it looks at, besides what was emitted: `HIDDEN`, `PROBES`."""

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
