"""Sets the acceptance rate by decree, so that rounds can be timed at real size without real weights or likely drafts.

The target still computes every row; only its choice at a drafted token's place is overruled. The output is not the
target's own text, and only its time means anything.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch

from decoding.models.language_model import Cache, LanguageModel, steps_chains
from decoding.speculation.drafting import NOTHING, PER_PROPOSAL, Chain, Draft, DraftRequest, Outcome


class SyntheticTarget:
    """A target that agrees with each drafted token at a set rate, whatever its logits say."""

    def __init__(self, inner: LanguageModel, acceptance: float) -> None:
        self._inner = inner
        self._acceptance = acceptance
        self._random = random.Random(0)  # noqa: S311 - no secret

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    @torch.inference_mode()
    def step(self, token_ids: Sequence[int], cache: Cache) -> torch.Tensor:
        """Compute the target's logits (T, V) and overrule its choices.

        Tokens that were pending are overruled too, but nobody looks at the rows before them.
        """
        decree = self._decree(token_ids)  # before the step, which a copy to the device would wait for
        return _overruled(self._inner.step(token_ids, cache), decree)

    @torch.inference_mode()
    def step_chains(self, chains: Sequence[Sequence[int]], cache: Cache) -> list[torch.Tensor]:
        """Compute the target's logits of several chains and overrule its choices."""
        decrees = [self._decree(chain) for chain in chains]
        assert steps_chains(self._inner)
        found = self._inner.step_chains(chains, cache)
        return [_overruled(logits, decree) for logits, decree in zip(found, decrees, strict=True)]

    def _decree(self, token_ids: Sequence[int]) -> torch.Tensor:
        """Return each token but the first, and the logit that it is to get: (2, T - 1) float64."""
        values = [torch.inf if self._random.random() < self._acceptance else -torch.inf for _ in token_ids[1:]]
        return torch.tensor([token_ids[1:], values], dtype=torch.float64, device=self._inner.device)


def _overruled(logits: torch.Tensor, decree: torch.Tensor) -> torch.Tensor:
    following, values = decree
    rows = torch.arange(len(following), device=logits.device)
    logits[rows, following.long()] = values.to(logits.dtype)
    return logits


class FreeDrafter:
    """Proposes random tokens that cost nothing and fill the step: the bound for any drafter at that rate."""

    name = "free"
    cost = PER_PROPOSAL
    needs = NOTHING

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._random = random.Random(1)  # noqa: S311 - no secret

    num_unread = 0

    def begin(self, request: DraftRequest) -> None:
        """Do nothing, since there is nothing to learn from a request."""

    def observe(self, outcome: Outcome) -> None:
        """Do nothing, since there is nothing to learn from an outcome."""

    def propose(self, budget: int) -> Draft:
        """Propose as many tokens as the budget allows."""
        token_ids = tuple(self._random.randrange(self._vocabulary) for _ in range(budget))
        return Draft((Chain(token_ids, self.name),))

    def close(self) -> None:
        """Do nothing, since nothing is kept."""
