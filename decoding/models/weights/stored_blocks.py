"""Holds weights as a GGUF file stores them, for kernels that multiply with blocks as they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRows:
    """A matrix (outputs, inputs), each row in blocks of one type of `gguf/tensor_types.py`.

    `source` names its file and tensor, for people. Its scales may be no finite numbers, which whoever packs it finds.
    """

    type_name: str
    inputs: int
    rows: NDArray[np.uint8]  # (outputs, bytes of a row)
    source: str = ""

    @property
    def outputs(self) -> int:
        """The number of rows."""
        return len(self.rows)


# The types that the kernels multiply with as they are.
KEPT_TYPES: Final = frozenset({"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "Q4_K", "Q5_K", "Q6_K"})


# Several parts are one below the other, with equal inputs.
Matrix = Tensor | tuple[BlockRows, ...]


def shape_of(matrix: Matrix) -> tuple[int, int]:
    """Return the numbers of outputs and inputs."""
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
    """All weights, as in `torch/decoder.py`.

    Tables and layers may be read from the file as they are asked for, once and in order: the tables first, and each is
    valid until the next is asked for, so that blocks and their copy are never all in memory.
    """

    tables: Iterable[Matrix]  # the embedding, of one part if it is blocks, and the head unless it is the same
    layers: Iterable[StoredLayer]
    norm: Tensor
    rotary: Tensor
    is_tied: bool
