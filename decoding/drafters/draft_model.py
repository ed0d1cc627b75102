"""Drafts with a small model of the same tokenizer.

Speculative decoding: Leviathan et al. 2023 (https://arxiv.org/abs/2211.17192), Chen et al. 2023
(https://arxiv.org/abs/2302.01318). The draft is chosen as the target chooses, with the same noise and the same tokens
barred, and ends where the model is not sure of itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeGuard

import torch

from decoding.drafters.draft_cache import DraftCache, Shorten
from decoding.models.language_model import Cache, DraftsAhead, LanguageModel, drafts_ahead
from decoding.speculation.drafting import EMPTY, NOTHING, Chain, Draft, Drafter, DraftingCost, DraftRequest, Outcome
from decoding.speculation.sampling import barred, choose

NOT_TIMED: Final[Mapping[int, float]] = {}
MAX_DRAFT = 4
MAX_AHEAD = 8  # chosen: for models that draft several tokens in one call
MIN_PROBABILITY = 0.4
FEW_TOKENS = 8  # a pass over fewer tokens takes about as long


class DraftModel:
    """A decoder with a cache of its own, which catches up lazily when it is asked."""

    needs = NOTHING

    def __init__(
        self,
        model: LanguageModel,
        cache: Cache,
        *,
        name: str = "draft",
        step_ms: Mapping[int, float] = NOT_TIMED,
        shorten: Shorten = list,
    ) -> None:
        """Make a drafter.

        Args:
            model: drafts.
            cache: of that model, empty.
            name: by which the policy knows the drafter.
            step_ms: the time of a pass of the model by its number of rows, as far as it was measured.
            shorten: returns what the model sees of a prompt.
        """
        self.name = name
        widest = max(step_ms, default=1)
        self.cost = DraftingCost(
            is_per_token=True, token_ms=step_ms.get(1, 0.0), read_ms=step_ms.get(widest, 0.0) / widest
        )
        self._model = model
        self._text = DraftCache(cache, shorten)

    @property
    def num_bytes(self) -> int:
        """The memory of its keys and values in bytes."""
        return self._text.num_bytes

    @property
    def num_unread(self) -> int:
        """The number of tokens that the cache doesn't hold yet."""
        return self._text.num_unread

    def branch_from(self, other: DraftModel, prompt_ids: Sequence[int]) -> None:
        """Take over what the same drafter of another session has read of this prompt."""
        self._text.copy_beginning(other._text, prompt_ids)

    def begin(self, request: DraftRequest) -> None:
        """Keep the part of the cache that the new prompt begins with."""
        self._text.begin(request)

    def observe(self, outcome: Outcome) -> None:
        """Append emitted tokens; keys and values of a refused draft are dropped."""
        self._text.append(outcome.emitted_ids)

    def read_ahead(self, ms: float) -> bool:
        """Read what the cache lacks of the text but its last token, for about so long; return whether there is more."""
        missing = self._text.pending[:-1]
        width = max(FEW_TOKENS, int(ms / self.cost.read_ms) if self.cost.read_ms else 0)
        part = missing[: min(width, self._model.prefill_width)]
        if part:
            self._model.advance(part, self._text.cache)
        return len(part) < len(missing)

    def propose(self, budget: int) -> Draft:
        """Propose a few tokens, one small step each."""
        text = self._text
        room = text.cache.capacity - len(text.ids)
        drafted: list[int] = []
        pending = text.pending
        if min(budget, room) > 0 and drafts_ahead(self._model) and self._is_greedy():
            return self._ahead(self._model, pending, min(budget, MAX_AHEAD, room))
        for _ in range(min(budget, MAX_DRAFT, room)):
            logits = self._barred(self._read(pending), drafted)
            token_id = next(iter(choose(logits[None], self._text.request.sampling, text.position + len(drafted))))
            if float(logits.float().softmax(dim=-1)[token_id]) < MIN_PROBABILITY:
                break
            drafted.append(token_id)
            pending = [token_id]
        return self._draft(drafted)

    def close(self) -> None:
        """Do nothing: the cache stays for the next request."""

    def _is_greedy(self) -> bool:
        """Return whether the likeliest token is the choice: greedy, and nothing is barred any more."""
        return self._text.request.sampling.temperature == 0 and self._text.allowed_next() is None

    def _ahead(self, model: DraftsAhead, pending: list[int], num_tokens: int) -> Draft:
        width = model.prefill_width
        if more := (len(pending) - 1) // width * width:
            self._read(pending[:more])
        found = model.draft_ahead(pending[more:], self._text.cache, num_tokens, MIN_PROBABILITY, self._text.target_ids)
        sure = next((i for i, (_, share) in enumerate(found) if share < MIN_PROBABILITY), len(found))
        return self._draft([token_id for token_id, _ in found[:sure]])

    def _draft(self, token_ids: Sequence[int]) -> Draft:
        return Draft((Chain(tuple(token_ids), self.name),)) if token_ids else EMPTY

    def _read(self, pending: list[int]) -> torch.Tensor:
        """Return logits (V,) after the pending tokens."""
        while True:
            part, pending = pending[: self._model.prefill_width], pending[self._model.prefill_width :]
            logits = self._model.advance(part, self._text.cache)
            if not pending:
                return logits

    def _barred(self, logits: torch.Tensor, drafted: list[int]) -> torch.Tensor:
        """Return the logits (V,) of tokens that healing allows, −inf elsewhere."""
        allowed = self._text.allowed_next(drafted)
        return logits if allowed is None else barred(logits, allowed)


def is_draft_model(drafter: Drafter) -> TypeGuard[DraftModel]:
    """Return whether a drafter is a draft model."""
    return isinstance(drafter, DraftModel)
