"""Attention whose result for a row depends, to the bit, only on its query and the slots up to it.

Library attention sums over the live length in an order that changes with it, and with the row. Here each block of 64
slots is computed by itself, in one fixed shape, and the blocks' sums are added in a tree over absolute block numbers:
a longer context only adds zeros, and a row's place among the rows changes nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from decoding.kv_cache import BLOCK


def block_mask(start: int, num_rows: int, num_groups: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """0 where row `start + i` may look, −inf where not: (blocks, 1, num_groups * num_rows, 64).

    `num_groups` query heads share a key head; their rows stand below one another.
    """
    num_blocks = -(-(start + num_rows) // BLOCK)
    slots = torch.arange(num_blocks * BLOCK, device=device).view(num_blocks, 1, 1, BLOCK)
    positions = torch.arange(start, start + num_rows, device=device).repeat(num_groups).view(1, 1, -1, 1)
    mask = torch.zeros(num_blocks, 1, num_groups * num_rows, BLOCK, dtype=dtype, device=device)
    return mask.masked_fill_(slots > positions, -torch.inf)


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Softmax attention over the live blocks of a cache.

    Args:
        query: (H, R, D), R = query heads of a key head times rows.
        keys: (blocks, H, 64, D).
        values: (blocks, H, 64, D).
        mask: (blocks, 1, R, 64), see `block_mask`.
        scale: factor of the scores.

    Returns:
        (H, R, D).
    """
    num_blocks, heads, _, head_dim = keys.shape
    rows = query.shape[1]
    flat = (num_blocks * heads, rows, -1)
    scores = torch.bmm(query.expand(num_blocks, -1, -1, -1).reshape(flat), keys.flatten(0, 1).transpose(1, 2))
    scores = scores.view(num_blocks, heads, rows, BLOCK).float().mul_(scale).add_(mask)
    # The largest score of a row is the same number whatever the order it is looked for in.
    weights = scores.sub_(scores.amax(dim=(0, 3), keepdim=True)).exp_()
    mixed = torch.bmm(weights.view(flat).to(values.dtype), values.flatten(0, 1)).view(num_blocks, heads, rows, head_dim)
    return _tree_sum(mixed.float()) / _tree_sum(weights.sum(dim=-1, keepdim=True))


def _tree_sum(parts: Tensor) -> Tensor:
    """Sum over dimension 0 in an order that depends on absolute indices alone; missing ones count as zero."""
    while len(parts) > 1:
        half = len(parts) // 2
        paired = parts[: 2 * half : 2] + parts[1 : 2 * half : 2]
        parts = torch.cat((paired, parts[-1:])) if len(parts) % 2 else paired
    return parts[0]
