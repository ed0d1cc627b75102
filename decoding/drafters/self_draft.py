"""Drafts with the target itself, some of its layers left out.

Self-speculative decoding by skipping layers: Zhang et al. 2023 (https://arxiv.org/abs/2309.08168). It needs no other
weights and no training, only a cache of its own. Which layers are left out is decided once for each model, by how
little each of them changes what the model chooses (as SWIFT does while it runs: Xia et al. 2024,
https://arxiv.org/abs/2410.06916).
"""

from __future__ import annotations

from collections.abc import Sequence

from decoding.drafters.draft_model import DraftModel
from decoding.models.language_model import LanguageModel, SkipsLayers

SHARE_KEPT = 0.5
NUM_COMPARED = 32


def skip_layers(target: SkipsLayers, sample_ids: Sequence[int]) -> LanguageModel:
    """Return the target with half of its layers.

    Args:
        target: stays as it is.
        sample_ids: some text of the kind that it is going to generate; choices at its last tokens are compared.
    """
    num_layers = target.num_layers
    sample_ids = list(sample_ids[-(target.shape.max_len - 1) :]) or [0, 0]  # a tokenizer may have no token for the text
    wanted = _choices(target, sample_ids)
    kept = list(range(num_layers))
    agreements = {
        index: _agreement(
            _choices(target.with_layers([i for i in kept if i != index], is_trial=True), sample_ids), wanted
        )
        for index in kept
    }
    num_left_out = num_layers - max(1, int(num_layers * SHARE_KEPT))
    dispensable = sorted(kept, key=lambda index: -agreements[index])[:num_left_out]
    return target.with_layers([index for index in kept if index not in dispensable])


def self_draft(reduced: LanguageModel) -> DraftModel:
    """Return the drafter of a model that `skip_layers` has made."""
    return DraftModel(reduced, reduced.new_cache(), name="self")


def _choices(model: LanguageModel, ids: Sequence[int]) -> list[int]:
    """Return the model's choices behind each of the last tokens."""
    cache = model.new_cache()
    first = max(1, len(ids) - NUM_COMPARED)
    for start in range(0, first, model.prefill_width):
        model.advance(ids[start : min(first, start + model.prefill_width)], cache)
    return [int(model.advance([token_id], cache).argmax()) for token_id in ids[first:]]


def _agreement(choices: Sequence[int], wanted: Sequence[int]) -> float:
    return sum(a == b for a, b in zip(choices, wanted, strict=True)) / len(wanted)
