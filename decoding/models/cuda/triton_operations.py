"""Implements the operations of a layer by Triton kernels; imported only where a GPU computes."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
from torch import Tensor

from decoding.models.cuda import kernels
from decoding.models.cuda.operations import Splits, Spot
from decoding.models.torch.decoder import Layer, Shape

FEW_QUERIES = 16  # a matrix unit takes no fewer
MOST_QUERIES = 128  # chosen: the most of one program, whose sums stay in registers
GATE_BLOCK = 1024


class _Tails(NamedTuple):
    """The arguments of a kernel about the tails of chains; placeholders where there are none."""

    keys: Tensor
    values: Tensor
    offset: int
    are_there: bool

    @classmethod
    def of(cls, spot: Spot, index: int) -> _Tails:
        if spot.tails is None:
            return cls(spot.blocks.keys, spot.blocks.values, 0, are_there=False)
        return cls(spot.tails.keys, spot.tails.values, index * spot.tails.keys.stride(0), are_there=True)


class TritonOperations:
    """The kernels as `Operations`. Head sizes are powers of two from 16 on, see `fits`."""

    @staticmethod
    def fits(shape: Shape) -> bool:
        """Return whether the kernels can compute a model of this shape."""
        head_dim = shape.head_dim
        return head_dim >= FEW_QUERIES and head_dim & (head_dim - 1) == 0 and shape.heads % shape.kv_heads == 0

    def add_norm(self, hidden: Tensor, delta: Tensor | None, weight: Tensor, eps: float) -> Tensor:
        """Add and normalise by a kernel; see `Operations`."""
        num_rows, width = hidden.shape
        normed = torch.empty_like(hidden)
        wide = triton.next_power_of_2(width)
        kernels.add_norm[(num_rows,)](
            hidden, hidden if delta is None else delta, weight, normed, width, eps,
            HAS_DELTA=delta is not None, WIDE=wide, num_warps=8 if wide > 2048 else 4,
        )  # fmt: skip
        return normed

    def rotate_and_write(
        self, qkv: Tensor, shape: Shape, layer: Layer, index: int, spot: Spot, rotary: Tensor
    ) -> Tensor:
        """Rotate and write by a kernel; see `Operations`."""
        store, has_norm = spot.blocks, layer.query_norm is not None
        tails = _Tails.of(spot, index)
        query = torch.empty(len(qkv), shape.heads, shape.head_dim, dtype=store.keys.dtype, device=qkv.device)
        kernels.rotate_and_write[(len(qkv), shape.heads + 2 * shape.kv_heads)](
            qkv, query, spot.words, torch.view_as_real(rotary),
            layer.query_norm if has_norm else qkv, layer.key_norm if has_norm else qkv,
            tails.keys, tails.values, index * store.keys.stride(0), tails.offset, shape.norm_eps,
            HEADS=shape.heads, KV_HEADS=shape.kv_heads, HEAD_DIM=shape.head_dim, HAS_NORM=has_norm,
            IS_CHAINS=tails.are_there, num_warps=1,
        )  # fmt: skip
        return query

    def attend(self, query: Tensor, shape: Shape, index: int, spot: Spot, splits: Splits) -> Tensor:
        """Attend by kernels; see `Operations`.

        There is a program for each piece of the whole capacity; many end at once.
        """
        store, tails = spot.blocks, _Tails.of(spot, index)
        num_rows, heads, head_dim = query.shape
        num_members = num_rows * heads // shape.kv_heads
        num_pieces = splits.count(store.capacity)
        most = MOST_QUERIES if num_pieces > 1 else MOST_QUERIES // 2
        queries = max(FEW_QUERIES, min(most, triton.next_power_of_2(num_members)))
        mixed = query.new_empty(num_pieces, num_rows, heads, head_dim, dtype=torch.float32)
        highest, total = query.new_empty(2, num_pieces, num_rows, heads, dtype=torch.float32)
        pieces = {"NEAR": splits.near, "NUM_NEAR": splits.num_near, "FAR": splits.far}
        kernels.attend_piece[(num_pieces, shape.kv_heads, triton.cdiv(num_members, queries))](
            query, spot.words, tails.keys, tails.values, mixed, highest, total,
            index * store.keys.stride(0), tails.offset, head_dim**-0.5, num_rows,
            HEADS=heads, KV_HEADS=shape.kv_heads, HEAD_DIM=head_dim, QUERIES=queries, **pieces,
            PRECISION="ieee" if query.dtype == torch.float32 else "tf32", IS_CHAINS=tails.are_there,
            num_warps=8 if queries > 64 else 4,
        )  # fmt: skip
        output = torch.empty_like(query)
        kernels.combine[(num_rows, heads)](
            mixed, highest, total, spot.words, output, num_rows,
            HEADS=heads, HEAD_DIM=head_dim, **pieces, IS_CHAINS=tails.are_there, num_warps=1,
        )  # fmt: skip
        return output.view(num_rows, -1)

    def gate(self, gate_up: Tensor) -> Tensor:
        """Apply the gate by a kernel; see `Operations`."""
        num_rows, width = len(gate_up), gate_up.shape[1] // 2
        output = gate_up.new_empty(num_rows, width)
        kernels.gate[(num_rows, triton.cdiv(width, GATE_BLOCK))](gate_up, output, width, WIDE=GATE_BLOCK, num_warps=4)
        return output
