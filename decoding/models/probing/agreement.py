"""Measures how often two models choose the same token behind a text: what rounding weights changes. Knows no text."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from decoding.models.language_model import LanguageModel


@torch.inference_mode()
def choices(model: LanguageModel, token_ids: Sequence[int]) -> list[int]:
    """Return the likeliest next token behind each of a sequence's tokens."""
    cache = model.new_cache()
    chosen: list[int] = []
    for start in range(0, min(len(token_ids), model.shape.max_len), model.capabilities.step_width):
        piece = list(token_ids[start : start + model.capabilities.step_width])
        chosen += model.step(piece, cache).argmax(dim=-1).tolist()
        cache.commit(piece)
    return chosen


def percent_alike(ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]) -> float:
    """Return the percentage of equal choices of two models, over all sequences."""
    pairs = [pair for mine, other in zip(ours, theirs, strict=True) for pair in zip(mine, other, strict=True)]
    return round(100 * sum(mine == other for mine, other in pairs) / max(1, len(pairs)), 2)
