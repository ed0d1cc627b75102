"""Weights as a GGUF file stores them, for kernels that multiply with blocks as they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRows:
    """A matrix (outputs, inputs), each row in blocks of one type of `gguf/tensor_types.py`."""

    type_name: str
    inputs: int
    rows: NDArray[np.uint8]  # (outputs, bytes of a row)

    @property
    def outputs(self) -> int:
        """The number of rows."""
        return len(self.rows)


# Several stand one below the other; each has the same inputs.
Matrix = Tensor | tuple[BlockRows, ...]


def shape_of(matrix: Matrix) -> tuple[int, int]:
    """Outputs and inputs."""
    if isinstance(matrix, Tensor):
        return matrix.shape[0], matrix.shape[1]
    return sum(part.outputs for part in matrix), matrix[0].inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLayer:
    """A `torch/decoder.py` layer whose matrices may be blocks; the parts of `gate_up` are the gate and the up half."""

    input_norm: Tensor
    qkv: Matrix
    qkv_bias: Tensor | None
    query_norm: Tensor | None
    key_norm: Tensor | None
    out: Matrix
    post_norm: Tensor
    gate_up: Matrix
    down: Matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWeights:
    """All that was learnt, as in `torch/decoder.py`. Embedding and head may be one object.

    Layers may be read from the file as they are asked for, once, so that blocks and their copy are never all there.
    """

    embedding: Matrix  # one part, if blocks
    layers: Iterable[StoredLayer]
    norm: Tensor
    head: Matrix
    rotary: Tensor

    @property
    def is_tied(self) -> bool:
        """Whether embedding and head are one."""
        return self.head is self.embedding
