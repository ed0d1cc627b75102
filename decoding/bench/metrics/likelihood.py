"""Computes the target's own logits along a given text: likelihoods, and how near a call was. Knows only token ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from decoding.models.language_model import Cache, LanguageModel
from decoding.speculation.speculate import read_prompt


@torch.inference_mode()
def logits_before(
    target: LanguageModel, cache: Cache, prompt_ids: Sequence[int], token_ids: Sequence[int]
) -> Iterator[Tensor]:
    """Yield, for each of the tokens that follow the prompt, the logits (V,) in float32 that it was chosen from."""
    for _ in read_prompt(target, cache, prompt_ids):
        pass
    # The last token is left out: its logits are for a token that isn't asked about.
    pending = [*prompt_ids[len(cache) :], *token_ids[:-1]]
    while pending:
        part, pending = pending[: target.capabilities.step_width], pending[target.capabilities.step_width :]
        first = len(prompt_ids) - 1 - len(cache)  # the row of the prompt's last token, if it is among these
        logits = target.step(part, cache).float()
        cache.commit(part)
        yield from logits[max(0, first) :]


def logit_gap(target: LanguageModel, before_ids: Sequence[int], ours: int, theirs: int) -> float:
    """Return by how much the target's logit for one token exceeds another's; small where the last bits decided."""
    (logits,) = logits_before(target, target.new_cache(), before_ids, [ours])
    return round(float(logits[ours] - logits[theirs]), 4)
