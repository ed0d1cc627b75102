"""Computes the rotary frequencies that a model's config.json asks for: plain, or stretched as Llama 3 does.

Reads both forms of transformers: `rope_theta` with `rope_scaling`, and `rope_parameters`. Expects numbers that
`model_config.py` has checked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from decoding.errors import ModelError
from decoding.models.folder.model_config import ROPE_KINDS, rope_kind, rope_settings

DEFAULT_THETA = 10_000.0


def inverse_frequencies(config: Mapping[str, Any], head_dim: int) -> Tensor:
    """Return (head_dim / 2,) float64 frequencies. Raises `ModelError` for an unsupported kind of scaling."""
    rope = rope_settings(config)
    theta = float(rope.get("rope_theta") or config.get("rope_theta") or DEFAULT_THETA)
    plain = theta ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    kind = rope_kind(rope)
    if kind == "default":
        return plain
    if kind == "linear":
        return plain / _number(rope, "factor")
    if kind == "llama3":
        return _llama3(plain, rope)
    if kind == "factors":
        return plain / _factors(rope, len(plain))
    raise ModelError(f"config.json: rotary scaling {kind!r} is not supported (one of {', '.join(ROPE_KINDS)} is)")


def _llama3(plain: Tensor, rope: Mapping[str, Any]) -> Tensor:
    """Stretch long waves, keep short ones, and blend those between (Llama 3.1, https://arxiv.org/abs/2407.21783)."""
    factor, low, high = (_number(rope, key) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    original = _number(rope, "original_max_position_embeddings")
    wave = 2 * math.pi / plain
    smooth = ((original / wave - low) / (high - low)).clamp(0, 1)
    return (1 - smooth) * plain / factor + smooth * plain


def _factors(rope: Mapping[str, Any], count: int) -> Tensor:
    """Return the divisors of the frequencies, for a file that gives these and not the method behind them."""
    factors = rope.get("factors")
    if factors is None or len(factors) != count:
        raise ModelError(f"rotary scaling 'factors' needs a list of {count} numbers")
    return torch.tensor(factors, dtype=torch.float64)


def _number(rope: Mapping[str, Any], key: str) -> float:
    value = rope.get(key)
    if value is None:
        raise ModelError(f"config.json: rotary scaling {rope_kind(rope)!r} needs a number {key}")
    return float(value)
