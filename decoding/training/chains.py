"""Measures how far guesses of several tokens agree with a target's own text: what chains of proposals are worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from decoding.training import evaluate_draft
from decoding.training.on_policy import Continue
from decoding.training.pretrain import hidden_states


class Continuation(NamedTuple):
    """A prompt, the target's continuation, (N,) on the CPU, and both together, (1, L) on the target's device."""

    prompt: list[int]
    wanted: Tensor
    whole: Tensor


def write_on(teacher: PreTrainedModel, prompts: Sequence[list[int]], go_on: Continue) -> list[Continuation]:
    """Have the target continue every prompt."""
    written = []
    for prompt in prompts:
        ids = torch.tensor([prompt], device=teacher.device)
        wanted = go_on(ids, evaluate_draft.NEW_TOKENS).to(teacher.device)
        written.append(Continuation(prompt, wanted[0].cpu(), torch.cat([ids, wanted], dim=1)))
    return written


@torch.no_grad()
def agreement(draft: PreTrainedModel, written: Sequence[Continuation]) -> evaluate_draft.Agreement:
    """Compare a draft that guesses token by token with the target's continuation of every prompt."""
    draft.eval()
    stood: list[bool] = []
    num_steps = 0
    for prompt, wanted, whole in written:
        with torch.autocast(draft.device.type, dtype=torch.bfloat16):
            guessed = draft.lm_head(hidden_states(draft, whole.to(draft.device))[0, len(prompt) - 1 : -1]).argmax(-1)
        found: list[bool] = (guessed.cpu() == wanted).tolist()
        stood += found
        num_steps += evaluate_draft.steps_for(found)
    return evaluate_draft.Agreement(share=sum(stood) / len(stood), tokens_per_step=len(stood) / num_steps)


def agreement_of(right: Sequence[Sequence[int]]) -> evaluate_draft.Agreement:
    """Return the agreement of guesses.

    Args:
        right: for each prompt and each place of its continuation, how many of the tokens guessed from there are right.
    """
    num_steps = 0
    for places in right:
        at = 0
        while at < len(places):
            at += places[at] + 1
            num_steps += 1
    found = [count for places in right for count in places]
    share = sum(count > 0 for count in found) / len(found)
    return evaluate_draft.Agreement(share=share, tokens_per_step=len(found) / num_steps)
