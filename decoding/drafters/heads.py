"""Drafts with extra heads on the target's own hidden state: no model to keep in step, no prompt to read.

Medusa: Cai et al. 2024 (https://arxiv.org/abs/2401.10774), verified as every other draft; models/heads.py describes the
heads. Before the first token of an answer there is no hidden state to start from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from decoding.drafters.draft_from_logits import Guess, draft_of, guesses, least_on
from decoding.models.heads import Guessable, Heads
from decoding.speculation.drafting import EMPTY, HIDDEN, PER_PROPOSAL, Draft, DraftRequest, Outcome

NEEDS: Final = frozenset((HIDDEN,))


class HeadsDrafter:
    """Starts from the hidden state in which the target chose its last token."""

    name = "heads"
    cost = PER_PROPOSAL
    needs = NEEDS
    num_unread = 0

    def __init__(self, heads: Heads) -> None:
        self._heads = heads
        self._least = least_on(heads.device.type)
        self._request = DraftRequest(prompt_ids=())
        self._hidden: Tensor | None = None  # (C,)
        self._emitted: list[int] = []
        self._among: Guessable | None = None

    def begin(self, request: DraftRequest) -> None:
        """Forget the last answer's hidden state."""
        self._request = request
        self._among = None
        self._hidden = None
        self._emitted = []

    def observe(self, outcome: Outcome) -> None:
        """Keep the hidden state that the last token was chosen from."""
        self._emitted += outcome.emitted_ids
        if outcome.emitted_ids:
            self._hidden = None if outcome.hidden is None else outcome.hidden[-1].clone()

    def propose(self, budget: int) -> Draft:
        """Propose a token of each head, up to where they are not sure of themselves."""
        healing = self._request.healing
        if self._hidden is None or (healing is not None and healing.allowed_next(self._emitted) is not None):
            return EMPTY
        return draft_of(self._guesses(self._hidden, budget), self.name, self._least)

    def close(self) -> None:
        """Do nothing, since nothing outlives a request."""
        self._hidden = None

    def _guesses(self, hidden: Tensor, budget: int) -> Iterator[Guess]:
        heads, sampling = self._heads, self._request.sampling
        if self._among is None:
            self._among = heads.hold(self._request.prompt_ids)
        among = self._among
        position = len(self._request.prompt_ids) + len(self._emitted)
        state, token_id = heads.begin(hidden), self._emitted[-1]
        for number in range(min(budget, len(heads))):
            state, logits = heads.go_on(state, number, token_id, among)
            if sampling.temperature > 0:  # noise depends on the token's id, so the whole vocabulary has a place
                whole = torch.full((heads.vocabulary,), -torch.inf, device=logits.device)
                whole[torch.from_numpy(among.ids).to(logits.device)] = logits.float()
                guess = next(guesses(whole[None], sampling, position + number))
            else:
                found = next(guesses(logits[None], sampling, position + number))
                guess = found._replace(
                    token_id=int(among.ids[found.token_id]), second_id=int(among.ids[found.second_id])
                )
            yield guess
            token_id = guess.token_id
