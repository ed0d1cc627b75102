"""Computes attention whose result for a row depends, to the bit, only on its query and the slots up to it.

Library attention sums over the live length in an order that changes with it, and with the row. Here each block of 64
slots is computed by itself, in one fixed shape, and the blocks' sums are added in a tree over absolute block numbers: a
longer context only adds zeros, and a row's place among the rows changes nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from decoding.kv_cache import BLOCK


class Stored(NamedTuple):
    """Keys and values, in blocks of 64 slots."""

    keys: Tensor
    values: Tensor


def block_mask(start: int, num_rows: int, num_groups: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return a mask (blocks, 1, num_groups * num_rows, 64): 0 where row `start + i` may look, −inf where not.

    `num_groups` query heads share a key head; their rows stand below one another.
    """
    num_blocks = -(-(start + num_rows) // BLOCK)
    slots = torch.arange(num_blocks * BLOCK, device=device).view(num_blocks, 1, 1, BLOCK)
    positions = torch.arange(start, start + num_rows, device=device).repeat(num_groups).view(1, 1, -1, 1)
    mask = torch.zeros(num_blocks, 1, num_groups * num_rows, BLOCK, dtype=dtype, device=device)
    return mask.masked_fill_(slots > positions, -torch.inf)


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Compute softmax attention over the live blocks of a cache.

    Args:
        query: (H, R, D), R = query heads of a key head times rows.
        keys: (blocks, H, 64, D).
        values: (blocks, H, 64, D).
        mask: (blocks, 1, R, 64), see `block_mask`.
        scale: factor of the scores.

    Returns:
        (H, R, D).
    """
    scores = _by_block(query, keys.mT).float().mul_(scale).add_(mask)
    # A maximum doesn't depend on the order of comparisons, so this needs no fixed order.
    weights = scores.sub_(scores.amax(dim=(0, 3), keepdim=True)).exp_()
    mixed = _by_block(weights.to(values.dtype), values)
    return _tree_sum(mixed.float()) / _tree_sum(weights.sum(dim=-1, keepdim=True))


def attend_chains(query: Tensor, main: Stored, tails: Stored, owner: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Compute softmax attention where rows share the first blocks, and each goes on in its own chain's blocks.

    Every row is computed against every chain's blocks, in the shapes of `attend`, and keeps its own chain's.

    Args:
        query: (H, R, D).
        main: keys and values (blocks, H, 64, D) of whole blocks, which every row may look at.
        tails: those of the chains, (chains, tail blocks, H, 64, D).
        owner: (R,) the number of each row's chain.
        mask: (tail blocks, 1, R, 64), 0 where a row may look at its own chain's slots and −inf where not.
        scale: factor of the scores.

    Returns:
        (H, R, D).
    """
    num_main, num_chains, num_tail = len(main.keys), *tails.keys.shape[:2]
    every = torch.arange(len(owner), device=owner.device)

    def own(of_tails: Tensor) -> Tensor:
        """Select each row's own chain: (tail blocks, H, R, …) from (chains * tail blocks, H, R, …)."""
        of_rows = of_tails.unflatten(0, (num_chains, num_tail)).permute(3, 0, 1, 2, 4)
        rows: Tensor = of_rows[every, owner].permute(1, 2, 0, 3)
        return rows

    scores = torch.cat((_by_block(query, main.keys.mT), own(_by_block(query, tails.keys.flatten(0, 1).mT))))
    scores = scores.float().mul_(scale)
    scores[num_main:] += mask
    weights = scores.sub_(scores.amax(dim=(0, 3), keepdim=True)).exp_()
    shares = weights.to(tails.values.dtype)
    of_tails = _by_block(shares[num_main:].repeat(num_chains, 1, 1, 1), tails.values.flatten(0, 1))
    mixed = torch.cat((_by_block(shares[:num_main], main.values), own(of_tails)))
    return _tree_sum(mixed.float()) / _tree_sum(weights.sum(dim=-1, keepdim=True))


def _by_block(left: Tensor, right: Tensor) -> Tensor:
    """Multiply `left`, (H, R, Y) or (blocks, H, R, Y), with `right`, (blocks, H, Y, Z): (blocks, H, R, Z)."""
    num_blocks, heads = right.shape[:2]
    left = left.expand(num_blocks, -1, -1, -1).reshape(num_blocks * heads, *left.shape[-2:])
    return torch.bmm(left, right.flatten(0, 1)).view(num_blocks, heads, left.shape[1], right.shape[-1])


def _tree_sum(parts: Tensor) -> Tensor:
    """Sum over dimension 0 in an order that depends on absolute indices alone; missing ones count as zero."""
    while len(parts) > 1:
        half = len(parts) // 2
        paired = parts[: 2 * half : 2] + parts[1 : 2 * half : 2]
        parts = torch.cat((paired, parts[-1:])) if len(parts) % 2 else paired
    return parts[0]
