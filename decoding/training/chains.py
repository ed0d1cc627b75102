"""How far guesses of several tokens reach along what a target writes by itself: what chains of proposals are worth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from decoding.training import gains
from decoding.training.distill import continue_greedily


def continuation(teacher: PreTrainedModel, prompt: list[int]) -> tuple[Tensor, Tensor]:
    """The prompt with the teacher's greedy continuation, (1, L) on its device; the continuation (N,) on the CPU."""
    ids = torch.tensor([prompt], device=teacher.device)
    wanted = continue_greedily(teacher, ids, gains.NEW_TOKENS)
    return torch.cat([ids, wanted], dim=1), wanted[0].cpu()


def agreement_of(right: Sequence[Sequence[int]]) -> gains.Agreement:
    """What guesses are worth.

    Args:
        right: for each prompt and each place of its continuation, how many of the tokens guessed from there stand.
    """
    num_steps = 0
    for places in right:
        at = 0
        while at < len(places):
            at += places[at] + 1
            num_steps += 1
    found = [count for places in right for count in places]
    share = sum(count > 0 for count in found) / len(found)
    return gains.Agreement(share=share, tokens_per_step=len(found) / num_steps)
