"""Drafts with a small model of the same tokenizer.

Speculative decoding: Leviathan et al. 2022 (https://arxiv.org/abs/2211.17192), Chen et al. 2023
(https://arxiv.org/abs/2302.01318). The draft is greedy and ends where the model is not sure of itself.
"""

from __future__ import annotations

import torch

from decoding.drafting import Draft, DraftRequest, Outcome
from decoding.kv_cache import KVCache
from decoding.models.decoder import Decoder

MAX_DRAFT = 4
MIN_PROBABILITY = 0.4


class DraftModel:
    """A decoder with a cache of its own, which catches up lazily when it is asked."""

    name = "draft"

    def __init__(self, model: Decoder, cache: KVCache) -> None:
        self._model = model
        self._cache = cache
        self._ids: list[int] = []

    def begin(self, request: DraftRequest) -> None:
        """Keep of the cache what the new prompt begins with."""
        self._ids = list(request.prompt_ids)
        self._cache.roll_back(min(self._cache.common_prefix_len(self._ids), len(self._ids) - 1))

    def observe(self, outcome: Outcome) -> None:
        """Append what was emitted; keys and values of a refused draft are dropped."""
        self._ids += outcome.emitted_ids
        self._cache.roll_back(min(self._cache.common_prefix_len(self._ids), len(self._ids) - 1))

    def propose(self, budget: int) -> Draft:
        """Up to four tokens, one small step each."""
        room = self._cache.capacity - len(self._ids)
        drafted: list[int] = []
        pending = self._ids[len(self._cache) :]
        for _ in range(min(budget, MAX_DRAFT, room)):
            probabilities = self._read(pending)
            probability, token_id = probabilities.max(dim=-1)
            if float(probability) < MIN_PROBABILITY:
                break
            drafted.append(int(token_id))
            pending = drafted[-1:]
        return Draft(tuple(drafted), self.name if drafted else "")

    def close(self) -> None:
        """The cache stays for the next request."""

    def _read(self, pending: list[int]) -> torch.Tensor:
        """Next-token probabilities (V,) after the pending tokens."""
        while True:
            part, pending = pending[: self._model.chunk], pending[self._model.chunk :]
            hidden = self._model.forward(part, self._cache)
            self._cache.commit(part)
            if not pending:
                return self._model.logits(hidden[-1:])[0].float().softmax(dim=-1)
