"""How the target's own choice at each position comes out of its logits. Pure functions on tensors.

At temperature 0 it is the largest logit. Above, the noise of a position depends on (seed, position) alone, so that a
choice is the same whichever step computed it: a drafted token stands exactly where the target would have sampled it,
and speculative output equals plain output token for token when sampled, too.
Gumbel-max trick: Gumbel 1954; for shared noise see Leviathan et al. 2022 (https://arxiv.org/abs/2211.17192), appendix.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """`temperature` 0 is greedy. `top_p` keeps the likeliest tokens whose probabilities sum to it."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


def choose(logits: Tensor, sampling: Sampling, position: int) -> list[int]:
    """The target's token after each row.

    Args:
        logits: (T, V) float, row i predicts the token at `position` + i.
        sampling: how to choose.
        position: absolute position of the first predicted token.
    """
    if sampling.temperature == 0:
        chosen: list[int] = logits.argmax(dim=-1).tolist()
        return chosen
    scaled = _keep_top_p((logits.float() / sampling.temperature).log_softmax(dim=-1), sampling.top_p)
    noise = torch.stack([_exponential(logits.shape[-1], sampling.seed, position + i) for i in range(len(logits))])
    # argmax(p / E) with E exponential is the Gumbel-max trick, less one logarithm.
    sampled: list[int] = (scaled.exp() / noise.to(scaled.device)).argmax(dim=-1).tolist()
    return sampled


def _keep_top_p(log_probs: Tensor, top_p: float) -> Tensor:
    if top_p >= 1:
        return log_probs
    ordered, order = log_probs.sort(dim=-1, descending=True)
    before = ordered.exp().cumsum(dim=-1) - ordered.exp()
    is_cut = before >= top_p
    is_cut[..., 0] = False
    return torch.full_like(log_probs, -torch.inf).scatter(-1, order, ordered.masked_fill(is_cut, -torch.inf))


def _exponential(size: int, seed: int, position: int) -> Tensor:
    generator = torch.Generator().manual_seed((seed * 1_000_003 + position) % 2**63)
    return torch.empty(size).exponential_(generator=generator)
