"""Our forward pass of the Llama family on a CPU: the tables and memory that the compiled kernels work on.

Any number of rows gives the same bits for each of them (passes.py), so nothing is padded, a prompt is read in pieces
of any length, and whatever was computed once may be used again.
Dimension letters: T rows, V vocabulary, L layers, N query heads, H key heads, D head size, C width of the model.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from decoding.kv_cache import KVCache
from decoding.models.cpu import products, tables
from decoding.models.cpu.team import Table, Team, give_way_address
from decoding.models.cpu.vectors import BFLOAT16, FLOAT32, INT_8, LANES, MAX_ROWS
from decoding.models.decoder import Layer, Shape, Weights

STEP_WIDTH = 16
PREFILL_WIDTH = 64


class Slots:
    """Keys and values of one sequence in float32; the system gives memory to pages only when they are written."""

    def __init__(self, shape: Shape) -> None:
        self.capacity = _up(shape.max_len, tables.SLOTS)
        stores = (shape.layers, shape.kv_heads, self.capacity)
        # By blocks of 64 slots, the same number of all slots of a block side by side.
        self.keys = np.zeros((*stores, shape.head_dim), np.float32)
        self.values = np.zeros((*stores, _up(shape.head_dim, LANES)), np.float32)

    @property
    def num_bytes(self) -> int:
        """Memory that keys and values can take."""
        return self.keys.nbytes + self.values.nbytes


class CpuDecoder:
    """A model that computes 1 to `prefill_width` rows at a time into a cache."""

    def __init__(
        self,
        shape: Shape,
        weights: Weights,
        *,
        threads: int,
        quantize: str = "none",
    ) -> None:
        """`quantize` "int8" stores all matrices but the embedding in int8, with a factor for each output."""
        self.shape = shape
        self.chunk = 1
        self.has_own_threads = True
        self.step_width = STEP_WIDTH
        self.prefill_width = PREFILL_WIDTH
        self.device = torch.device("cpu")
        self.dtype = weights.embedding.dtype
        self.num_parameters = weights.num_parameters
        self._memory = _Memory()
        self._is_int8 = quantize == "int8"
        self._logits = self._memory.zeros(STEP_WIDTH, _up(len(weights.head), LANES))
        self._hidden = self._memory.zeros(PREFILL_WIDTH, _up(shape.width, LANES))
        self._num_stepped = 0
        tables = self._tables(weights)
        self._job = tables[0]
        scratch = [self._scratch() for _ in range(threads)]
        self._team = Team(*tables, np.float32(shape.norm_eps), scratch, self._memory)
        weakref.finalize(self, self._team.close)

    def new_cache(self) -> KVCache[Slots]:
        """An empty cache for one sequence."""
        slots = Slots(self.shape)
        return KVCache(slots, capacity=slots.capacity)

    def step(self, token_ids: Sequence[int], cache: KVCache[Slots]) -> Tensor:
        """Logits (T, V) after each of 1 to `step_width` tokens that follow the cache's end; commits nothing.

        They are valid until the next call.
        """
        self._run(token_ids, cache, num_logit_rows=len(token_ids))
        self._num_stepped = len(token_ids)
        return torch.from_numpy(self._logits[: len(token_ids), : self.shape.vocabulary])

    def prefill(self, token_ids: Sequence[int], cache: KVCache[Slots]) -> None:
        """Compute 1 to `prefill_width` tokens and commit them."""
        self._run(token_ids, cache, num_logit_rows=0)
        cache.commit(token_ids, by_chunk=True)

    def advance(self, token_ids: Sequence[int], cache: KVCache[Slots]) -> Tensor:
        """Compute and commit 1 to `prefill_width` tokens; logits (V,) after the last, valid until the next call."""
        self._run(token_ids, cache, num_logit_rows=1)
        cache.commit(token_ids)
        return torch.from_numpy(self._logits[0, : self.shape.vocabulary])

    def hidden(self) -> Tensor:
        """(T, C) of the last step's rows, before the last norm, valid until the next call."""
        return torch.from_numpy(self._hidden[: self._num_stepped, : self.shape.width])

    def _run(self, token_ids: Sequence[int], cache: KVCache[Slots], *, num_logit_rows: int) -> None:
        num_rows, start = len(token_ids), len(cache)
        if not 0 < num_rows <= PREFILL_WIDTH or num_logit_rows > STEP_WIDTH:
            raise IndexError(f"{num_rows} rows, logits of {num_logit_rows}")
        # The kernels look nowhere: what is out of bounds here would be read from somebody else's memory.
        if min(token_ids) < 0 or max(token_ids) >= self.shape.vocabulary or start + num_rows > cache.capacity:
            raise IndexError(f"tokens {min(token_ids)} to {max(token_ids)} or slot {start + num_rows} out of bounds")
        job = self._job
        self._tokens[:num_rows] = token_ids
        self._counters.fill(0)
        job[tables.NUM_ROWS], job[tables.START], job[tables.NUM_LOGIT_ROWS] = num_rows, start, num_logit_rows
        job[tables.CAPACITY] = cache.capacity
        job[tables.KEYS], job[tables.VALUES] = cache.store.keys.ctypes.data, cache.store.values.ctypes.data
        self._team.run()

    def _tables(self, weights: Weights) -> tuple[Table, Table, Table]:
        """The job, the layers and the head, as tables.py describes them."""
        shape, memory = self.shape, self._memory
        inner = _up((shape.heads + 2 * shape.kv_heads) * shape.head_dim, LANES)
        buffer_width = max(inner, len(weights.layers[0].gate_up) + LANES)
        self._tokens = memory.hold(np.zeros(PREFILL_WIDTH, np.int64))
        num_phases = 2 + tables.PHASES * shape.layers
        self._counters = memory.hold(np.zeros(2 * num_phases * tables.COUNTER_BYTES // 8, np.int64))
        head = self._matrix(weights.head)
        stored = None if weights.is_tied and not self._is_int8 else memory.hold(_stored(weights.embedding))
        job = np.zeros(tables.JOB, np.int64)
        for column, value in {
            tables.NUM_LAYERS: shape.layers,
            tables.WIDTH: shape.width,
            tables.HEADS: shape.heads,
            tables.KV_HEADS: shape.kv_heads,
            tables.HEAD_DIM: shape.head_dim,
            tables.BUFFER_STRIDE: buffer_width * 4,
            tables.TOKENS: self._tokens.ctypes.data,
            tables.ROTARY: memory.hold(torch.view_as_real(weights.rotary).numpy()).ctypes.data,
            tables.FINAL_NORM: memory.floats(weights.norm),
            tables.HIDDEN: self._hidden.ctypes.data,
            tables.BUFFER: memory.zeros(PREFILL_WIDTH, buffer_width).ctypes.data,
            tables.MIXED: memory.zeros(PREFILL_WIDTH, shape.heads * shape.head_dim).ctypes.data,
            tables.LOGITS: self._logits.ctypes.data,
            tables.COUNTERS: self._counters.ctypes.data,
            tables.GIVE_WAY: give_way_address(),
            tables.MULTIPLY: products.multiply_address,
            tables.EMBEDDING: head[tables.ADDRESS] if stored is None else stored.ctypes.data,
            tables.EMBEDDING_KIND: head[tables.KIND] if stored is None else _kind(weights.embedding.dtype),
            tables.EMBEDDING_LANES: LANES if stored is None else 1,
        }.items():
            job[column] = value
        return job, np.stack([self._layer(layer) for layer in weights.layers]), head

    def _layer(self, layer: Layer) -> Table:
        row = np.zeros(tables.LAYER, np.int64)
        row[tables.QKV : tables.QKV + tables.MATRIX] = self._matrix(layer.qkv, layer.qkv_bias)
        row[tables.OUT : tables.OUT + tables.MATRIX] = self._matrix(layer.out)
        row[tables.GATE_UP : tables.GATE_UP + tables.MATRIX] = self._matrix(_alternating(layer.gate_up))
        row[tables.DOWN : tables.DOWN + tables.MATRIX] = self._matrix(layer.down)
        norms = (layer.input_norm, layer.post_norm, layer.query_norm, layer.key_norm)
        row[tables.INPUT_NORM :] = [0 if norm is None else self._memory.floats(norm) for norm in norms]
        return row

    def _matrix(self, weights: Tensor, bias: Tensor | None = None) -> Table:
        """Pack (outputs, inputs) weights by panels; returns the row that describes them."""
        outputs, inputs = weights.shape
        row = np.zeros(tables.MATRIX, np.int64)
        kind = INT_8 if self._is_int8 else _kind(weights.dtype)
        if self._is_int8:
            factors = (weights.float().abs().amax(dim=1) / 127).clamp_min(1e-12)
            weights = (weights.float() / factors.unsqueeze(1)).round().to(torch.int8)
            row[tables.FACTORS] = self._memory.floats(factors)
        wide = torch.zeros(_up(outputs, LANES), inputs, dtype=weights.dtype)
        wide[:outputs] = weights
        panels = wide.view(-1, LANES, inputs).transpose(1, 2).contiguous()
        row[tables.ADDRESS] = self._memory.hold(_stored(panels)).ctypes.data
        row[tables.KIND], row[tables.INPUTS], row[tables.OUTPUTS] = kind, inputs, outputs
        row[tables.BIAS] = 0 if bias is None else self._memory.floats(bias)
        return row

    def _scratch(self) -> Table:
        shape, memory = self.shape, self._memory
        mine = np.zeros(tables.THREAD, np.int64)
        mine[tables.NORMED] = memory.zeros(PREFILL_WIDTH, _up(shape.width, LANES)).ctypes.data
        mine[tables.SCORES] = memory.zeros(MAX_ROWS, _up(shape.max_len, tables.SLOTS)).ctypes.data
        mine[tables.QUERIES] = memory.zeros(MAX_ROWS, shape.head_dim).ctypes.data
        tile = max(PREFILL_WIDTH * tables.TILE_PANELS * LANES, MAX_ROWS * _up(shape.head_dim, LANES))
        mine[tables.TILE] = memory.zeros(tile).ctypes.data
        return mine


class _Memory:
    """Keeps alive whatever the tables hold addresses of."""

    def __init__(self) -> None:
        self._held: list[npt.NDArray[Any]] = []

    def hold(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        self._held.append(array)
        return array

    def zeros(self, *shape: int) -> npt.NDArray[Any]:
        return self.hold(np.zeros(shape, np.float32))

    def floats(self, values: Tensor) -> int:
        """The address of a float32 copy, padded with zeros to whole panels."""
        wide = self.zeros(_up(len(values), LANES))
        wide[: len(values)] = values.float().numpy()
        return int(wide.ctypes.data)


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def _kind(dtype: torch.dtype) -> int:
    return BFLOAT16 if dtype == torch.bfloat16 else FLOAT32


def _stored(weights: Tensor) -> npt.NDArray[Any]:
    """The tensor's own memory as numpy sees it, which knows no bfloat16; half precision is kept in float32."""
    weights = (weights.float() if weights.dtype == torch.float16 else weights).contiguous()
    return (weights.view(torch.int16) if weights.dtype == torch.bfloat16 else weights).numpy()


def _alternating(gate_up: Tensor) -> Tensor:
    """Rows of (2F, C) weights, first all gates, then all ups, as a panel of gates, a panel of ups, and so on."""
    gate, up = gate_up.chunk(2)
    padding = torch.zeros(-len(gate) % LANES, gate.shape[1], dtype=gate.dtype)
    halves = [torch.cat((half, padding)).view(-1, LANES, gate.shape[1]) for half in (gate, up)]
    return torch.stack(halves, dim=1).flatten(0, 2)
