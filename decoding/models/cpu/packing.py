"""A model's weights in the form that the compiled kernels read: panels of outputs side by side, and tables of where.

What is packed is never written again, so that several models may share it: one with fewer layers is another table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from decoding.models.cpu import job_layout
from decoding.models.cpu.simd import AT_ONCE, BFLOAT16, FLOAT32, HAS_PAIRS, INT_8, LANES, PAIRS
from decoding.models.cpu.thread_team import Table
from decoding.models.torch.decoder import Layer, Weights


class Memory:
    """Keeps alive whatever the tables hold addresses of."""

    def __init__(self) -> None:
        self._held: list[object] = []

    def hold(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The array, which now lives as long as this."""
        self._held.append(array)
        return array

    def share(self, other: Memory) -> None:
        """Let another memory live as long as this."""
        self._held.append(other)

    def zeros(self, *shape: int) -> npt.NDArray[Any]:
        """A new float32 array."""
        return self.hold(np.zeros(shape, np.float32))

    def floats(self, values: Tensor) -> int:
        """The address of a float32 copy, padded with zeros to whole panels."""
        wide = self.zeros(up(len(values), LANES))
        wide[: len(values)] = values.float().numpy()
        return int(wide.ctypes.data)


@dataclass(frozen=True, slots=True)
class Packed:
    """Where the weights lie: the layers' and the head's tables, and what of the job's table they decide."""

    layers: Table  # (L, LAYER)
    head: Table  # (MATRIX,)
    job: dict[int, int]  # column to value
    widest: int  # outputs of the widest matrix within a layer
    deepest: int  # the most inputs of a matrix
    memory: Memory
    dtype: torch.dtype
    num_parameters: int

    @property
    def kinds(self) -> set[int]:
        """How matrices are stored."""
        in_layers = self.layers[:, [i * job_layout.MATRIX + job_layout.KIND for i in range(4)]]
        return {int(self.head[job_layout.KIND]), *in_layers.flatten().tolist()}

    def with_layers(self, kept: Sequence[int]) -> Packed:
        """The same weights less the layers that are not kept."""
        per_layer = [
            sum(
                int(row[i * job_layout.MATRIX + job_layout.INPUTS] * row[i * job_layout.MATRIX + job_layout.OUTPUTS])
                for i in range(4)
            )
            for row in self.layers
        ]
        left_out = sum(per_layer) - sum(per_layer[i] for i in kept)
        return replace(self, layers=self.layers[list(kept)], num_parameters=self.num_parameters - left_out)


def pack(weights: Weights, quantize: str) -> Packed:
    """Copy weights into panels; `quantize` "int8" stores all but the embedding in int8, a factor for each output."""
    memory, is_int8 = Memory(), quantize == "int8"
    head = _matrix(memory, weights.head, None, is_int8=is_int8)
    stored = None if weights.is_tied and not is_int8 else memory.hold(_stored(weights.embedding))
    layers = [_layer(memory, layer, is_int8=is_int8) for layer in weights.layers]
    job = {
        job_layout.ROTARY: memory.hold(torch.view_as_real(weights.rotary).numpy()).ctypes.data,
        job_layout.FINAL_NORM: memory.floats(weights.norm),
        job_layout.EMBEDDING: head[job_layout.ADDRESS] if stored is None else stored.ctypes.data,
        job_layout.EMBEDDING_KIND: head[job_layout.KIND] if stored is None else _kind(weights.embedding.dtype),
        job_layout.EMBEDDING_LANES: LANES if stored is None else 1,
    }
    return Packed(
        np.stack(layers),
        head,
        job,
        len(weights.layers[0].gate_up),
        max(weights.head.shape[1], *(matrix.shape[1] for matrix in (weights.layers[0].out, weights.layers[0].down))),
        memory,
        weights.embedding.dtype,
        weights.num_parameters,
    )


def _layer(memory: Memory, layer: Layer, *, is_int8: bool) -> Table:
    row = np.zeros(job_layout.LAYER, np.int64)
    matrices = {
        job_layout.QKV: (layer.qkv, layer.qkv_bias),
        job_layout.OUT: (layer.out, None),
        job_layout.GATE_UP: (_alternating(layer.gate_up), None),
        job_layout.DOWN: (layer.down, None),
    }
    for column, (weights, bias) in matrices.items():
        row[column : column + job_layout.MATRIX] = _matrix(memory, weights, bias, is_int8=is_int8)
    norms = (layer.input_norm, layer.post_norm, layer.query_norm, layer.key_norm)
    row[job_layout.INPUT_NORM :] = [0 if norm is None else memory.floats(norm) for norm in norms]
    return row


def _matrix(memory: Memory, weights: Tensor, bias: Tensor | None, *, is_int8: bool) -> Table:
    """Pack (outputs, inputs) weights by panels; returns the row that describes them."""
    outputs, inputs = weights.shape
    row = np.zeros(job_layout.MATRIX, np.int64)
    kind = INT_8 if is_int8 else _kind(weights.dtype)
    if is_int8:
        factors = (weights.float().abs().amax(dim=1) / 127).clamp_min(1e-12)
        weights = (weights.float() / factors.unsqueeze(1)).round().to(torch.int8)
        row[job_layout.FACTORS] = memory.floats(factors)
    if kind == BFLOAT16 and HAS_PAIRS:
        kind = PAIRS
    side = AT_ONCE[kind]
    wide = torch.zeros(up(outputs, LANES), up(inputs, side), dtype=weights.dtype)
    wide[:outputs, :inputs] = weights
    panels = wide.view(-1, LANES, wide.shape[1] // side, side).transpose(1, 2).contiguous()
    row[job_layout.ADDRESS] = memory.hold(_stored(panels)).ctypes.data
    row[job_layout.KIND], row[job_layout.INPUTS], row[job_layout.OUTPUTS] = kind, inputs, outputs
    row[job_layout.BIAS] = 0 if bias is None else memory.floats(bias)
    return row


def up(size: int, unit: int) -> int:
    """The least multiple of `unit` that is no less than `size`."""
    return -(-size // unit) * unit


def _kind(dtype: torch.dtype) -> int:
    return BFLOAT16 if dtype == torch.bfloat16 else FLOAT32


def _stored(weights: Tensor) -> npt.NDArray[Any]:
    """The tensor's own memory as numpy sees it, which knows no bfloat16; half precision is kept in float32."""
    weights = (weights.float() if weights.dtype == torch.float16 else weights).contiguous()
    return (weights.view(torch.int16) if weights.dtype == torch.bfloat16 else weights).numpy()


def _alternating(gate_up: Tensor) -> Tensor:
    """Rows of (2F, C) weights, first all gates, then all ups, as a panel of gates, a panel of ups, and so on."""
    gate, up_half = gate_up.chunk(2)
    padding = torch.zeros(-len(gate) % LANES, gate.shape[1], dtype=gate.dtype)
    halves = [torch.cat((half, padding)).view(-1, LANES, gate.shape[1]) for half in (gate, up_half)]
    return torch.stack(halves, dim=1).flatten(0, 2)
