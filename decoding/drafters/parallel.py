"""Drafts several tokens in one pass of a small model: mask tokens behind the text each stand for a token to come.

PARD: An et al. 2025 (https://arxiv.org/abs/2504.18583). The last token of the text and k - 1 masks behind it are k rows
of one step, which predict k tokens. The masks' slots are never kept, so the cache holds the text alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from torch import Tensor

from decoding.drafters.draft_cache import DraftCache
from decoding.drafters.draft_from_logits import draft_of, guesses, least_on
from decoding.models.language_model import Cache
from decoding.models.parallel import ParallelModel
from decoding.speculation.drafting import EMPTY, NOTHING, PER_PROPOSAL, Draft, DraftRequest, Outcome
from decoding.speculation.sampling import barred

ROOM: Final = 2  # chosen: so many more tokens are asked for than the model was sure of the last time


class ParallelDrafter:
    """A small model with a cache of its own, which catches up lazily when it is asked."""

    name = "parallel"
    cost = PER_PROPOSAL
    needs = NOTHING

    def __init__(self, parallel: ParallelModel, cache: Cache) -> None:
        self._parallel = parallel
        self._model = parallel.model
        self._text = DraftCache(cache)
        self._least = least_on(parallel.model.device.type)
        self._reach = parallel.num_tokens

    @property
    def num_bytes(self) -> int:
        """The memory of its keys and values in bytes."""
        return self._text.num_bytes

    @property
    def num_unread(self) -> int:
        """The number of tokens that the cache doesn't hold yet."""
        return self._text.num_unread

    def branch_from(self, other: ParallelDrafter, prompt_ids: Sequence[int]) -> None:
        """Take over what the same drafter of another session has read of this prompt."""
        self._text.copy_beginning(other._text, prompt_ids)

    def begin(self, request: DraftRequest) -> None:
        """Keep the part of the cache that the new prompt begins with."""
        self._text.begin(request)
        self._reach = self._parallel.num_tokens

    def observe(self, outcome: Outcome) -> None:
        """Append emitted tokens; the cache never held drafted ones."""
        self._text.append(outcome.emitted_ids)

    def propose(self, budget: int) -> Draft:
        """Propose tokens up to where the model is not sure of itself, in one pass; few masks if the last had too many.

        On a CPU a mask takes as long as a token: six tokens of the shipped draft's size 0.33 ms, and two 0.14.
        """
        # A mask at the model's last position would stand for a token beyond its length.
        room = self._model.shape.max_len - len(self._text.ids)
        num_tokens = min(budget, self._parallel.num_tokens, room, self._reach)
        if num_tokens < 1:
            return EMPTY
        logits = self._read(num_tokens)
        sampling = self._text.request.sampling
        if sampling.branch and sampling.branch_at >= len(self._text.ids):
            return EMPTY  # the target takes another token than the likeliest there
        if (allowed := self._text.allowed_next()) is not None:
            # Only the first row is used: healing depends on the text before a token, which the other rows don't know.
            logits = barred(logits[:1], allowed)
        found = guesses(logits, sampling, len(self._text.ids))
        draft = draft_of(found, self.name, self._least, are_independent=True)
        if self._model.device.type == "cpu":
            self._reach = len(draft.leading.token_ids) + ROOM
        return draft

    def close(self) -> None:
        """Do nothing: the cache stays for the next request."""

    def _read(self, num_tokens: int) -> Tensor:
        """Return logits (num_tokens, V) of the tokens to come; commit the text, and no mask."""
        pending = self._text.pending
        width = self._model.capabilities.step_width - (num_tokens - 1)
        while len(pending) > width:
            part = pending[: min(self._model.prefill_width, len(pending) - 1)]
            self._model.advance(part, self._text.cache)
            del pending[: len(part)]
        masks = [self._parallel.mask_id] * (num_tokens - 1)
        logits = self._model.step([*pending, *masks], self._text.cache)[len(pending) - 1 :]
        self._text.cache.commit(pending)
        return logits[:, : self._parallel.num_real_ids]
