"""Several continuations of one text, evaluated by the target at once: what a round verifies, and what it only looks at.

Where the model has a pass for chains, each has its own contiguous tail of slots, so that slot equals position and every
row is, to the bit, what a step of that chain alone gives (models/placement.py). A tree with a mask over one block of
rows (SpecInfer: Miao et al. 2023, https://arxiv.org/abs/2305.09781) would be the same only up to rounding. Elsewhere
the chains are stepped through one after the other, which a policy has to know (`max_chains`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from torch import Tensor

from decoding.models.language_model import Cache, LanguageModel, StepsChains
from decoding.speculation.drafting import Draft

MOST = 4

EMPTY = Draft()


def max_chains(model: LanguageModel) -> int:
    """How many chains one pass of the model takes; 1 where they are computed one after the other."""
    return int(getattr(model, "max_chains", 1))


class Step:
    """The target's rows behind what is pending for each chain of a draft, of which one is kept in the end.

    `candidates` are the draft and its rivals, each with its logits (1 + drafted, V) behind the last pending token and
    behind each of its own; `probe_logits` the same of its probes.
    """

    def __init__(self, target: LanguageModel, cache: Cache, pending: Sequence[int], draft: Draft) -> None:
        """`draft` as `tidy` leaves it."""
        chains = (draft, *draft.rivals)
        self._target, self._cache, self._pending = target, cache, pending
        self._chains = [[*pending, *token_ids] for token_ids in (*(c.token_ids for c in chains), *draft.probes)]
        self._kept, self._num_kept = 0, 0
        logits = self._compute()
        if len(pending) > 1:
            logits = [rows[len(pending) - 1 :] for rows in logits]
        self.candidates = list(zip(chains, logits, strict=False))
        self.probe_logits = logits[len(chains) :]

    def keep(self, number: int, num_accepted: int) -> None:
        """Commit what was pending and the first tokens of a candidate."""
        self._kept, self._num_kept = number, num_accepted
        kept = self._chains[number][: len(self._pending) + num_accepted]
        if self._is_one_pass:
            cast(StepsChains, self._target).keep_chain(number, len(kept))
        elif number:
            self._target.step(kept, self._cache)
        self._cache.commit(kept)

    def hidden(self) -> Tensor | None:
        """(1 + accepted, C) of what was kept, from the last pending token on; None where the target tells none."""
        found = self._target.hidden()
        if found is None:
            return None
        before = sum(map(len, self._chains[: self._kept])) if self._is_one_pass else 0
        first = before + len(self._pending) - 1
        return found[first : first + 1 + self._num_kept]

    def _compute(self) -> list[Tensor]:
        target, cache, chains = self._target, self._cache, self._chains
        self._is_one_pass = 1 < len(chains) <= max_chains(target)
        if self._is_one_pass:
            return cast(StepsChains, target).step_chains(chains, cache)
        # The first comes last, so that the cache and the hidden states are its own: it is the likeliest to be kept.
        others = [target.step(chain, cache).clone() for chain in chains[1:]]
        return [target.step(chains[0], cache), *others]


def tidy(draft: Draft, target: LanguageModel, num_pending: int, room: int) -> Draft:
    """What of a draft, its rivals and its probes is tokens and fits: drafts are advice, good or bad."""
    limit = max(0, min(target.step_width - num_pending, room - 1))
    vocabulary = target.shape.vocabulary
    if not draft.rivals and not draft.probes:
        token_ids = _valid(draft.token_ids, limit, vocabulary)
        return replace(draft, token_ids=token_ids, scores=draft.scores[: len(token_ids)]) if token_ids else EMPTY
    rows_left = target.step_width if max_chains(target) > 1 else MOST * target.step_width
    chains: list[Draft] = []
    for chain in (draft, *draft.rivals):
        token_ids = _valid(chain.token_ids, limit, vocabulary)
        is_new = not any(known.token_ids[: len(token_ids)] == token_ids for known in chains)
        if len(chains) < MOST and (not chains or is_new) and (not chains or num_pending + len(token_ids) <= rows_left):
            chains.append(replace(chain, token_ids=token_ids, scores=chain.scores[: len(token_ids)], rivals=()))
            rows_left -= num_pending + len(token_ids)
    probes: list[tuple[int, ...]] = []
    for probe in draft.probes:
        token_ids = _valid(probe, limit, vocabulary)
        if len(chains) + len(probes) < MOST and num_pending + len(token_ids) <= rows_left:
            probes.append(token_ids)
            rows_left -= num_pending + len(token_ids)
    first, *rivals = chains
    if not first.token_ids:
        first = rivals.pop(0) if rivals else EMPTY
    return replace(first, rivals=tuple(rivals), probes=tuple(probes))


def leading(draft: Draft, number: int) -> Draft:
    """Of a draft and its rivals the one of that number, 0 being the draft itself, with all others as its rivals."""
    if number == 0:
        return draft
    chains = [replace(draft, rivals=(), probes=()), *draft.rivals]
    first = chains.pop(number)
    return replace(first, rivals=tuple(chains), probes=draft.probes)


def _valid(token_ids: Sequence[int], limit: int, vocabulary: int) -> tuple[int, ...]:
    """The tokens up to the first that is none, at most `limit`."""
    cut = tuple(token_ids[:limit])
    return cut[: next((i for i, token_id in enumerate(cut) if not 0 <= token_id < vocabulary), None)]
