"""Defines the file form of int8 weights: a matrix and, beside it, a factor for each of its rows.

Symmetric rounding to nearest with absolute maxima: Dettmers et al. 2022, LLM.int8() (https://arxiv.org/abs/2208.07339),
without its outliers, which models of this size don't have. This is how a model lies on the disk; how an engine computes
is another matter (`quantize`). Knows no architecture and no file.
"""

from __future__ import annotations

import torch
from torch import Tensor

# A matrix `w` (outputs, inputs) of int8 has its float32 factors (outputs,) under this name.
FACTORS = ".factors"
PATTERN = "int8-*.safetensors"


def round_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return int8 (outputs, inputs) and float32 factors (outputs,) of a matrix."""
    values = matrix.detach().float().cpu()
    factors = values.abs().amax(dim=1).clamp(min=1e-12) / 127
    return (values / factors[:, None]).round().to(torch.int8), factors


def restore_rows(rounded: Tensor, factors: Tensor) -> Tensor:
    """Return the float32 matrix (outputs, inputs) from `round_rows`."""
    return rounded.float() * factors.float()[:, None]
