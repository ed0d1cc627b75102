"""Runs a draft model's greedy loop: each token is chosen and fed back on the device, and all are fetched at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from decoding.kv_cache import Blocks, KVCache
from decoding.models.cuda.operations import NUM_REAL, TOKENS, Spot
from decoding.models.cuda.passes import Pass, PassRunner, Recorded, fill
from decoding.models.torch.stage import Outputs

MOST_AHEAD = 32


class GreedyDraft:
    """Drafts with the passes of one model."""

    def __init__(self, runner: PassRunner) -> None:
        self._runner = runner
        self._first: Recorded = {}
        self._next = Pass(Spot(torch.zeros(TOKENS + 1, dtype=torch.int64, device=runner.device)))
        self._count = torch.zeros(1, dtype=torch.int64, device=runner.device)
        self._found = torch.zeros(MOST_AHEAD, 2, dtype=torch.float64, device=runner.device)

    @torch.inference_mode()
    def draft(self, token_ids: Sequence[int], cache: KVCache[Blocks], num_tokens: int) -> list[tuple[int, float]]:
        """Return tokens and their probabilities; write slots and commit nothing."""
        runner, following = self._runner, self._next
        following.spot.store = cache.store
        try:
            if following.replay is None and num_tokens > 1:
                fill(following.spot, [0], cache)
                following.replay = runner.record(self._compute_next)
            width = runner.width_for(len(token_ids))
            runner.run(width, Outputs.LAST, token_ids, cache, self._first, self._begin)
            for _ in range(num_tokens - 1):
                assert following.replay is not None
                following.replay()
        finally:
            following.spot.store = None
        return [(int(token_id), share) for token_id, share in self._found[:num_tokens].tolist()]

    def _begin(self, done: Pass) -> None:
        """Place the next pass behind the last real row of the first one."""
        words, following = done.spot.words, self._next.spot.words
        following[:TOKENS].copy_(words[:TOKENS])
        following[:1] += words[NUM_REAL : NUM_REAL + 1]
        following[NUM_REAL : NUM_REAL + 1].fill_(1)
        self._count.zero_()
        self._choose(done)

    def _compute_next(self) -> None:
        self._runner.compute(self._next, Outputs.LAST)
        self._next.spot.words[:1] += 1
        self._choose(self._next)

    def _choose(self, done: Pass) -> None:
        assert done.logits is not None
        logits = done.logits.float()
        best = logits.argmax(dim=-1)
        share = (logits.amax(dim=-1) - logits.logsumexp(dim=-1)).exp()
        self._next.spot.words[TOKENS:].copy_(best)
        self._found.index_copy_(0, self._count, torch.stack((best.double(), share.double()), dim=1))
        self._count += 1
