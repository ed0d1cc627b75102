"""Defines the operations of a layer besides matrix products: the form of kernels, and an implementation in plain torch.

The kernels are compared with the plain one, and a machine without a GPU rehearses the rest with it.

Dimension letters: T rows, N query heads, H key heads, D head size, C width of the model, F width of the feed-forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from decoding.kv_cache import BLOCK, Blocks
from decoding.models.torch.attention import Stored, attend, attend_chains, block_mask
from decoding.models.torch.decoder import Layer, Shape
from decoding.models.torch.row_placement import TAIL_BLOCKS, Tails

# The items of `Spot.words`.
START, NUM_REAL, KEYS, VALUES, TOKENS = range(5)


@dataclass(slots=True)
class Spot:
    """The places of a pass's rows. `words` lie on the device, so that one recording serves every spot and session.

    They are the first row's position, how many rows are real and not padding, the addresses of the cache's keys and
    values, and the rows' tokens. `store` is that cache during a pass: its shape is needed, and code that computes with
    tensors instead of addresses uses it. Where rows are of several chains (`language_model.StepsChains`), `tails` has
    the memory for their keys and values, and `words` also has, behind the tokens, each row's distance from the first
    position, and the number of its chain.
    """

    words: Tensor  # (4 + T,) int64, of chains (4 + 3 T,)
    store: Blocks | None = None
    tails: Tails | None = None

    @property
    def num_rows(self) -> int:
        """The number of rows, T."""
        return (len(self.words) - TOKENS) // (1 if self.tails is None else 3)

    @property
    def tokens(self) -> Tensor:
        """The token ids (T,)."""
        return self.words[TOKENS : TOKENS + self.num_rows]

    @property
    def offsets(self) -> Tensor:
        """The distances (T,) of chains' rows from the first position."""
        return self.words[TOKENS + self.num_rows : TOKENS + 2 * self.num_rows]

    @property
    def owners(self) -> Tensor:
        """The numbers (T,) of the rows' chains."""
        return self.words[TOKENS + 2 * self.num_rows :]

    @property
    def blocks(self) -> Blocks:
        """The cache of the pass."""
        assert self.store is not None
        return self.store


@dataclass(frozen=True, slots=True)
class Splits:
    """How the slots of a cache are cut, by absolute slot numbers, into pieces that are attended to in parallel.

    The first `num_near` pieces have `near` slots, the others `far`: a short context is spread over many processors, and
    a long one has not too many pieces to add up. Where a piece begins never depends on the length.
    """

    near: int
    num_near: int
    far: int

    def count(self, num_slots: int) -> int:
        """Return how many pieces hold so many slots."""
        edge = self.near * self.num_near
        if num_slots <= edge:
            return -(-num_slots // self.near)
        return self.num_near - (edge - num_slots) // self.far


STEP_SPLITS: Final = Splits(near=64, num_near=16, far=256)


def whole(capacity: int) -> Splits:
    """Return one piece for all slots: enough rows keep a GPU busy without any cuts."""
    return Splits(near=-(-capacity // BLOCK) * BLOCK, num_near=1, far=BLOCK)


class Operations(Protocol):
    """Operations that are row-invariant: a row's result depends on its values, its position and the slots up to it."""

    def add_norm(self, hidden: Tensor, delta: Tensor | None, weight: Tensor, eps: float) -> Tensor:
        """Add `delta` (T, C) to `hidden` (T, C) in place; return its root mean square norm, times `weight` (C,)."""

    def rotate_and_write(
        self, qkv: Tensor, shape: Shape, layer: Layer, index: int, spot: Spot, rotary: Tensor
    ) -> Tensor:
        """Rotate queries and keys by their positions' angles, and write keys and values of real rows into the cache.

        Args:
            qkv: (T, (N + 2H) D).
            shape: of the model.
            layer: whose query and key norms count, where it has any.
            index: the layer's number.
            spot: the rows' places.
            rotary: (positions, 1, D / 2) complex.

        Returns:
            Queries (T, N, D) in the cache's dtype.
        """

    def attend(self, query: Tensor, shape: Shape, index: int, spot: Spot, splits: Splits) -> Tensor:
        """Return softmax attention (T, N D) of `query` (T, N, D) over the slots up to each row.

        It has the cache's dtype.
        """

    def gate(self, gate_up: Tensor) -> Tensor:
        """Return SiLU of the first half of (T, 2F) times the second: (T, F)."""


class TorchOperations:
    """Operations by torch, for any device on which the places can be read; they can't be recorded."""

    def add_norm(self, hidden: Tensor, delta: Tensor | None, weight: Tensor, eps: float) -> Tensor:
        """Add and normalise by torch; see `Operations`."""
        if delta is not None:
            hidden += delta
        return F.rms_norm(hidden, weight.shape, weight, eps)

    def rotate_and_write(
        self, qkv: Tensor, shape: Shape, layer: Layer, index: int, spot: Spot, rotary: Tensor
    ) -> Tensor:
        """Rotate and write by torch; see `Operations`."""
        heads, kv_heads = shape.heads, shape.kv_heads
        start, num_real = int(spot.words[START]), int(spot.words[NUM_REAL])
        rows = qkv.view(len(qkv), heads + 2 * kv_heads, shape.head_dim)
        query, key, value = (part.float() for part in rows.split((heads, kv_heads, kv_heads), dim=1))
        if layer.query_norm is not None and layer.key_norm is not None:
            query = F.rms_norm(query, (shape.head_dim,), layer.query_norm.float(), shape.norm_eps)
            key = F.rms_norm(key, (shape.head_dim,), layer.key_norm.float(), shape.norm_eps)
        if spot.tails is None:
            # Padding rows may stand behind the table's last position, so they take the last real row's.
            positions = torch.arange(start, start + len(rows), device=qkv.device).clamp_(max=start + num_real - 1)
        else:
            positions = start + spot.offsets
        turned = torch.view_as_complex(torch.cat((query, key), dim=1).unflatten(-1, (-1, 2)).contiguous())
        turned = torch.view_as_real(turned * rotary[positions]).flatten(-2)
        store = spot.blocks
        blocks, slots = positions[:num_real] // BLOCK, positions[:num_real] % BLOCK
        key, value = turned[:num_real, heads:].to(store.keys.dtype), value[:num_real].to(store.values.dtype)
        if spot.tails is None:
            store.keys[index][blocks, :, slots] = key
            store.values[index][blocks, :, slots] = value
        else:
            num_main, in_block = divmod(start, BLOCK)
            owners, tail_blocks = spot.owners[:num_real], blocks - num_main
            for stored, tail, written in (
                (store.keys, spot.tails.keys[index], key),
                (store.values, spot.tails.values[index], value),
            ):
                tail[:, 0, :, :in_block] = stored[index, num_main, :, :in_block]
                tail[owners, tail_blocks, :, slots] = written
        return turned[:, :heads].to(store.keys.dtype)

    def attend(self, query: Tensor, shape: Shape, index: int, spot: Spot, splits: Splits) -> Tensor:
        """Attend in blocks of 64, whatever the splits; see `Operations`."""
        start, num_rows = int(spot.words[START]), len(query)
        groups, scale = shape.heads // shape.kv_heads, shape.head_dim**-0.5
        keys, values = spot.blocks.keys[index], spot.blocks.values[index]
        rows = query.transpose(0, 1).reshape(shape.kv_heads, -1, shape.head_dim)
        if spot.tails is None:
            mask = block_mask(start, num_rows, groups, query.device, torch.float32)[: len(keys)]
            mixed = attend(rows, keys[: len(mask)], values[: len(mask)], mask, scale)
        else:
            num_main, in_block = divmod(start, BLOCK)
            slots = torch.arange(TAIL_BLOCKS * BLOCK, device=query.device).view(TAIL_BLOCKS, 1, 1, BLOCK)
            is_behind = slots > (in_block + spot.offsets).repeat(groups).view(1, 1, -1, 1)
            mask = torch.zeros(is_behind.shape, device=query.device).masked_fill_(is_behind, -torch.inf)
            main = Stored(keys[:num_main], values[:num_main])
            tails = Stored(spot.tails.keys[index], spot.tails.values[index])
            mixed = attend_chains(rows, main, tails, spot.owners.repeat(groups), mask, scale)
        mixed = mixed.view(shape.heads, num_rows, shape.head_dim).transpose(0, 1).reshape(num_rows, -1)
        return mixed.to(query.dtype)

    def gate(self, gate_up: Tensor) -> Tensor:
        """Apply the gate by torch; see `Operations`."""
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate) * up
