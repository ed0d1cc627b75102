"""Evaluates several continuations of one text with the target at once: chains to verify, and probes.

Where the model has a pass for chains, each has its own contiguous tail of slots, so that slot equals position and every
row is, to the bit, what a step of that chain alone gives (models/torch/row_placement.py). A tree with a mask over one
block of rows (SpecInfer: Miao et al. 2023, https://arxiv.org/abs/2305.09781) would be equal only up to rounding.
Elsewhere each chain is a step of its own, which a policy has to know (`max_chains`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from decoding.models.language_model import Cache, LanguageModel, steps_chains
from decoding.speculation.drafting import NO_TOKENS, PROBE, VERIFY, Chain, Draft
from decoding.speculation.sampling import Sampling, barred, choose
from decoding.speculation.verify import Verdict, verify
from decoding.text.token_healing import Healing

MOST = 4
PLAIN = Draft((NO_TOKENS,))


class Step:
    """The target's rows behind the pending tokens for each chain of a draft, of which one is kept in the end.

    `logits` (1 + drafted, V) are, for each chain, those behind the last pending token and behind each of its own.
    """

    def __init__(self, target: LanguageModel, cache: Cache, pending: Sequence[int], draft: Draft) -> None:
        """`draft` must come from `sanitise`."""
        self._target, self._cache, self._pending, self._draft = target, cache, pending, draft
        self._tails = [[*pending, *chain.token_ids] for chain in draft.chains]
        is_one_pass = 1 < len(self._tails) <= target.capabilities.max_chains
        self._together = target if is_one_pass and steps_chains(target) else None
        self._kept, self._num_kept = 0, 0
        self.logits = self._compute()
        if len(pending) > 1:
            self.logits = [rows[len(pending) - 1 :] for rows in self.logits]

    def judge(self, path: Sequence[int], sampling: Sampling, healing: Healing | None) -> list[Verdict]:
        """Return the target's verdict on each chain. Logits of tokens that healing bars are overwritten.

        Nothing of a probe is accepted; its verdict holds what the target chooses behind each of its tokens, barring
        nothing.
        """
        position = len(self._cache) + len(self._pending)
        verdicts: list[Verdict] = []
        for chain, logits in zip(self._draft.chains, self.logits, strict=True):
            if chain.role == PROBE:
                verdicts.append(Verdict(0, tuple(choose(logits, sampling, position))))
                continue
            if healing is not None:
                _bar(logits, healing, path, chain.token_ids)
            verdicts.append(verify(chain.token_ids, choose(logits, sampling, position)))
        return verdicts

    def commit(self, number: int, num_accepted: int) -> None:
        """Commit the pending tokens and the first tokens of a chain."""
        self._kept, self._num_kept = number, num_accepted
        kept = self._tails[number][: len(self._pending) + num_accepted]
        if self._together is not None:
            self._together.keep_chain(number, len(kept))
        elif number:
            self._target.step(kept, self._cache)
        self._cache.commit(kept)

    def hidden(self) -> Tensor | None:
        """Return (1 + accepted, C) hidden states of the kept rows, from the last pending token on, or None."""
        found = self._target.hidden()
        if found is None:
            return None
        before = 0 if self._together is None else sum(map(len, self._tails[: self._kept]))
        first = before + len(self._pending) - 1
        return found[first : first + 1 + self._num_kept]

    def _compute(self) -> list[Tensor]:
        if self._together is not None:
            return self._together.step_chains(self._tails, self._cache)
        # The first chain is computed last, so that cache and hidden states are its own: it is the likeliest to be kept.
        first, *others = self._tails
        computed = [self._target.step(tail, self._cache).clone() for tail in others]
        return [self._target.step(first, self._cache), *computed]


def sanitise(draft: Draft, limit: int, num_pending: int, target: LanguageModel) -> Draft:
    """Keep the valid chains of a draft that fit, probes last. Drafts are advice, so they are checked here.

    The first is always one to verify, if only one without tokens.

    Args:
        draft: as a drafter proposed it.
        limit: the most tokens of a chain.
        num_pending: tokens that stand before those of each chain.
        target: the model that is to evaluate them.
    """
    if not draft.chains:
        return PLAIN
    vocabulary = target.shape.vocabulary
    valid = [chain.cut(_num_valid(chain.token_ids[:limit], vocabulary)) for chain in draft.chains]
    verified = [chain for chain in valid if chain.role == VERIFY and chain.token_ids]
    probes = [chain for chain in valid if chain.role == PROBE and chain.token_ids]
    step_width = target.capabilities.step_width
    rows_left = step_width if steps_chains(target) else MOST * step_width
    kept: list[Chain] = []
    for chain in (*(verified or [NO_TOKENS]), *probes):
        num_rows = num_pending + len(chain.token_ids)
        # A chain that another one begins with is verified along with that one.
        is_new = chain.role == PROBE or not any(chain.is_beginning_of(other) for other in kept)
        if is_new and num_rows <= rows_left and len(kept) < MOST:
            kept.append(chain)
            rows_left -= num_rows
    return Draft(tuple(kept))


def promoted(draft: Draft, number: int) -> Draft:
    """Return the draft with the chain of that number as its first."""
    return Draft((draft.chains[number], *draft.chains[:number], *draft.chains[number + 1 :])) if number else draft


def _num_valid(token_ids: Sequence[int], vocabulary: int) -> int:
    """Return how many tokens come before the first invalid id."""
    return next((i for i, token_id in enumerate(token_ids) if not 0 <= token_id < vocabulary), len(token_ids))


@torch.inference_mode()
def _bar(logits: Tensor, healing: Healing, path: Sequence[int], draft_ids: Sequence[int]) -> None:
    """Bar in place, in each row, the tokens that may not follow the path to it.

    A row behind a drafted token that was barred is never looked at.
    """
    for row in range(len(logits)):
        allowed = healing.allowed_next([*path, *draft_ids[:row]])
        if allowed is None:
            return
        logits[row] = barred(logits[row], allowed)
