"""Rounds the matrices of a model to blocks of four or eight bits as they are read, and says which type each gets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from decoding.models.gguf.tensor_types import TYPES
from decoding.models.loading.layer_reading import EMBEDDING, HEAD
from decoding.models.torch.decoder import Layer, Shape, Weights
from decoding.models.weights.stored_blocks import KEPT_TYPES, BlockRows, Matrix, StoredLayer, StoredWeights
from decoding.models.weights.tensors import Tensors

# Called with a type's name and float32 (outputs, inputs): blocks, and the sum of the squares by which they miss.
RoundRows = Callable[[str, npt.NDArray[np.float32]], tuple[npt.NDArray[np.uint8], float]]

KINDS: Final = ("int4", "int8")
GROUP: Final = 32
SPAN: Final = 256
CHUNK_WEIGHTS: Final = 2**20  # chosen: a thread rounds so many at a time, so that float32 copies stay small
# chosen: a matrix that rounding would take more of than this share of its norm stays as it is. Four bits take about
# 0.07 of a trained one's; more means numbers too small or too large for a block's scales.
MAX_SHARE: Final = 0.2
VALUES: Final = "self_attn.v_proj"
BYTES_OF: Final[Mapping[str, float]] = {kind.name: kind.num_bytes / kind.num_weights for kind in TYPES.values()}


def type_for(kind: str, name: str, shape: tuple[int, ...]) -> str:
    """Return the type of blocks that a tensor is rounded to, "" if it stays as it is.

    Four bits are a mixture: the head and the small matrices of values get six or eight.

    Args:
        kind: one of `KINDS`.
        name: of the tensor, as in a Hugging Face folder.
        shape: of the tensor; the blocks lie along its last dimension.
    """
    if len(shape) != 2 or shape[1] % GROUP:
        return ""
    if kind == "int8":
        return "Q8_0"
    has_spans = shape[1] % SPAN == 0
    if name in (EMBEDDING, HEAD) or VALUES in name:
        return "Q6_K" if has_spans else "Q8_0"
    return "Q4_K" if has_spans else "Q4_1"


class RoundedTensors:
    """Reads tensors like `weights.tensors.Tensors`; its matrices are rounded to blocks whenever they are read."""

    def __init__(self, tensors: Tensors, kind: str, round_rows: RoundRows, threads: int) -> None:
        self._tensors, self._kind = tensors, kind
        self._round_rows, self._threads = round_rows, threads

    @property
    def names(self) -> list[str]:
        """The names of all tensors."""
        return self._tensors.names

    def take(self, name: str) -> Tensor:
        """Read a tensor as it is. Raises `ModelError`."""
        return self._tensors.take(name)

    def in_own_dtype(self, name: str) -> Tensor:
        """Read a tensor in the dtype that its file has, or in float32. Raises `ModelError`."""
        return self._tensors.in_own_dtype(name)

    def reuse_memory(self) -> None:
        """Let the next blocks of the file be read to where the last ones are."""
        self._tensors.reuse_memory()

    def blocks(self, name: str) -> BlockRows | None:
        """Read a matrix and round it; return None if it stays as it is. Blocks of a file stay the same."""
        kept = self._tensors.blocks(name)
        if kept is not None and kept.type_name in KEPT_TYPES:
            return kept
        type_name = type_for(self._kind, name, self._tensors.shape(name))
        if not type_name:
            return None
        matrix = self._tensors.in_own_dtype(name)
        return round_matrix(matrix, type_name, self._round_rows, self._threads)


def round_matrix(matrix: Tensor, type_name: str, round_rows: RoundRows, threads: int) -> BlockRows | None:
    """Round (outputs, inputs) to blocks; return None if that would change the matrix too much."""
    outputs, inputs = matrix.shape
    step = max(1, CHUNK_WEIGHTS // inputs)

    def rounded(first: int) -> tuple[npt.NDArray[np.uint8], float, float]:
        values = matrix[first : first + step].float().numpy()
        blocks, missed = round_rows(type_name, values)
        return blocks, missed, float(np.square(values, dtype=np.float64).sum())

    with ThreadPoolExecutor(threads) as pool:
        pieces = list(pool.map(rounded, range(0, outputs, step)))
    missed, whole = (math.fsum(piece[place] for piece in pieces) for place in (1, 2))
    if not missed <= MAX_SHARE**2 * whole:  # not so either where one of them is infinite or no number
        return None
    return BlockRows(type_name=type_name, inputs=inputs, rows=np.concatenate([blocks for blocks, *_ in pieces]))


def round_weights(weights: Weights, shape: Shape, kind: str, round_rows: RoundRows, threads: int) -> StoredWeights:
    """Round weights that are in memory; their layers are rounded as they are asked for."""

    def matrix(whole: Tensor, **sizes: int) -> Matrix:
        """Round a matrix in its parts, which have names and numbers of outputs."""
        parts = []
        for name, part in zip(sizes, whole.split(list(sizes.values())), strict=True):
            type_name = type_for(kind, name, tuple(part.shape))
            rounded = round_matrix(part, type_name, round_rows, threads) if type_name else None
            if rounded is None:
                return whole
            parts.append(rounded)
        return tuple(parts)

    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim

    def rounded_layer(layer: Layer) -> StoredLayer:
        half = len(layer.gate_up) // 2
        return StoredLayer(
            input_norm=layer.input_norm,
            qkv=matrix(layer.qkv, **{"q": queries, "k": keys, VALUES: keys}),
            qkv_bias=layer.qkv_bias,
            query_norm=layer.query_norm,
            key_norm=layer.key_norm,
            out=matrix(layer.out, out=len(layer.out)),
            post_norm=layer.post_norm,
            gate_up=matrix(layer.gate_up, gate=half, up=half),
            down=matrix(layer.down, down=len(layer.down)),
        )

    tables = {EMBEDDING: weights.embedding} if weights.is_tied else {EMBEDDING: weights.embedding, HEAD: weights.head}
    return StoredWeights(
        tables=(matrix(table, **{name: len(table)}) for name, table in tables.items()),
        layers=map(rounded_layer, weights.layers),
        norm=weights.norm,
        rotary=weights.rotary,
        is_tied=weights.is_tied,
    )
