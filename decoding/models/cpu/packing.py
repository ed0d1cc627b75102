"""Packs a model's weights for the compiled kernels: panels of outputs side by side, and tables of their addresses.

Packed weights are never written again, so that several models may share them: one with fewer layers is another table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from decoding.models.cpu import job_layout
from decoding.models.cpu.block_packing import alternating, pack_runs
from decoding.models.cpu.block_repacking import Panels
from decoding.models.cpu.quantized_forms import BLOCKS, FORMS
from decoding.models.cpu.simd import AT_ONCE, BFLOAT16, FLOAT32, HAS_PAIRS, LANES, PAIRS
from decoding.models.cpu.thread_team import Table
from decoding.models.torch.decoder import Layer, Weights
from decoding.models.weights.stored_blocks import BlockRows, Matrix, StoredLayer, StoredWeights, shape_of


class Memory:
    """Keeps alive whatever the tables hold addresses of."""

    def __init__(self) -> None:
        self._held: list[object] = []

    def hold(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the array, which now lives as long as this."""
        self._held.append(array)
        return array

    def share(self, other: Memory) -> None:
        """Let another memory live as long as this."""
        self._held.append(other)

    def zeros(self, *shape: int) -> npt.NDArray[Any]:
        """Make a float32 array of zeros that lives as long as this."""
        return self.hold(np.zeros(shape, np.float32))

    def floats(self, values: Tensor) -> int:
        """Return the address of a float32 copy, padded with zeros to whole panels."""
        wide = self.zeros(up(len(values), LANES))
        wide[: len(values)] = values.float().numpy()
        return int(wide.ctypes.data)


# How a layer is computed: layers of one form differ in numbers alone.
Form = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Packed:
    """The packed weights: the layers' and the head's tables, and the columns of the job's table that they decide."""

    layers: Table  # (L, LAYER)
    head: Table  # (MATRIX,)
    head_panels: Panels | None  # what the head's table describes, if it is stored in blocks of one kind
    job: dict[int, int]  # column to value
    widest: int  # outputs of the widest matrix within a layer
    deepest: int  # the most inputs of a matrix
    memory: Memory
    dtype: torch.dtype
    num_parameters: int
    kinds: frozenset[int]  # how matrices are stored, and keys and values
    cache_kind: int  # how keys and values are stored
    forms: Sequence[Form]  # (L,)
    layer_bytes: Sequence[int]  # (L,) of a layer's matrices
    head_bytes: int

    def with_layers(self, kept: Sequence[int]) -> Packed:
        """Return the packed weights of the kept layers only."""
        per_layer = [
            sum(
                int(row[i * job_layout.MATRIX + job_layout.INPUTS] * row[i * job_layout.MATRIX + job_layout.OUTPUTS])
                for i in range(4)
            )
            for row in self.layers
        ]
        left_out = sum(per_layer) - sum(per_layer[i] for i in kept)
        return replace(
            self,
            layers=self.layers[list(kept)],
            num_parameters=self.num_parameters - left_out,
            forms=[self.forms[i] for i in kept],
            layer_bytes=[self.layer_bytes[i] for i in kept],
        )


def pack(weights: Weights | StoredWeights, *, threads: int) -> Packed:
    """Copy weights into panels; matrices that are blocks stay what they are."""
    packing = _Packing(threads=threads)
    memory = packing.memory
    head, embedded, dtype = packing.tables(weights)
    head_panels = packing.head_panels(head)
    _, head_bytes = packing.take_form()  # all layers share the tables
    job = {
        job_layout.ROTARY: memory.hold(torch.view_as_real(weights.rotary).numpy()).ctypes.data,
        job_layout.FINAL_NORM: memory.floats(weights.norm),
        **embedded,
    }
    packing.num_parameters += weights.norm.numel()
    widest = 0
    layers, forms = [], []
    for layer in weights.layers:
        layers.append(packing.layer(layer))
        forms.append(packing.take_form())
        widest = max(widest, shape_of(layer.gate_up)[0])
    # Where weights are rounded, keys and values are, too.
    cache_kind = PAIRS if HAS_PAIRS and packing.kinds & {PAIRS, *FORMS} else FLOAT32
    return Packed(
        np.stack(layers),
        head,
        head_panels,
        job,
        widest,
        packing.deepest,
        memory,
        dtype,
        packing.num_parameters,
        frozenset({*packing.kinds, cache_kind}),
        cache_kind,
        [form for form, _ in forms],
        [num_bytes for _, num_bytes in forms],
        head_bytes,
    )


class _Packing:
    """Packs matrix after matrix, and notes what the kernels need to know of all."""

    def __init__(self, *, threads: int) -> None:
        self.memory = Memory()
        self.kinds: set[int] = set()
        self.num_parameters = self.deepest = 0
        self._threads = threads
        self._last_panels: Sequence[Panels] = ()
        self._form: list[int] = []
        self._num_bytes = 0

    def tables(self, weights: Weights | StoredWeights) -> tuple[Table, dict[int, int], torch.dtype]:
        """Pack embedding and head; return the row that describes the head, the embedding's columns, and its dtype.

        None of the two is held while the next is read.
        """
        stored = [weights.embedding, weights.head] if isinstance(weights, Weights) else weights.tables
        tables = iter(stored)
        if weights.is_tied:
            return self._tied_tables(next(tables))
        columns, dtype = self._embedding(next(tables))
        return self.matrix(next(tables), None), columns, dtype

    def head_panels(self, head: Table) -> Panels | None:
        """Return the panels of the head, which was packed last, if they are blocks of one kind."""
        return self._last_panels[0] if head[job_layout.KIND] == BLOCKS and len(self._last_panels) == 1 else None

    def _tied_tables(self, table: Matrix) -> tuple[Table, dict[int, int], torch.dtype]:
        """Embeddings lie where the head does."""
        row = self.matrix(table, None)
        if not isinstance(table, Tensor):
            return row, _in_panels(self._last_panels[0]), torch.float32
        columns = {
            job_layout.EMBEDDING: int(row[job_layout.ADDRESS]),
            job_layout.EMBEDDING_KIND: int(row[job_layout.KIND]),
            job_layout.EMBEDDING_LANES: LANES,
        }
        return row, columns, table.dtype

    def _embedding(self, table: Matrix) -> tuple[dict[int, int], torch.dtype]:
        self.num_parameters += prod(shape_of(table))
        if isinstance(table, Tensor):
            return self._in_rows(table), table.dtype
        return _in_panels(pack_runs([table], self.memory.hold, self._threads).panels[0]), torch.float32

    def _in_rows(self, table: Tensor) -> dict[int, int]:
        return {
            job_layout.EMBEDDING: self.memory.hold(_stored(table)).ctypes.data,
            job_layout.EMBEDDING_KIND: _kind(table.dtype),
            job_layout.EMBEDDING_LANES: 1,
        }

    def take_form(self) -> tuple[Form, int]:
        """Return the form of what was packed since the last call, and the size of its matrices."""
        form, num_bytes = tuple(self._form), self._num_bytes
        self._form, self._num_bytes = [], 0
        return form, num_bytes

    def layer(self, layer: Layer | StoredLayer) -> Table:
        """Return the row that describes a layer."""
        row = np.zeros(job_layout.LAYER, np.int64)
        matrices = {
            job_layout.QKV: self.matrix(layer.qkv, layer.qkv_bias),
            job_layout.OUT: self.matrix(layer.out, None),
            job_layout.GATE_UP: self._gate_up(layer.gate_up),
            job_layout.DOWN: self.matrix(layer.down, None),
        }
        for column, described in matrices.items():
            row[column : column + job_layout.MATRIX] = described
        norms = (layer.input_norm, layer.post_norm, layer.query_norm, layer.key_norm)
        row[job_layout.INPUT_NORM :] = [0 if norm is None else self.memory.floats(norm) for norm in norms]
        self._form += [0 if norm is None else len(norm) for norm in norms]
        self.num_parameters += sum(norm.numel() for norm in norms if norm is not None)
        return row

    def matrix(self, weights: Matrix, bias: Tensor | None) -> Table:
        """Pack (outputs, inputs) weights by panels; return the row that describes them."""
        row = self._described(weights)
        self._form.append(bias is not None)
        if bias is not None:
            row[job_layout.BIAS] = self.memory.floats(bias)
            self.num_parameters += len(bias)
        if isinstance(weights, Tensor):
            self._dense(row, weights)
        else:
            self._blocks(row, [(part,) for part in weights])
        return row

    def _gate_up(self, weights: Matrix) -> Table:
        """Pack (2F, C) weights, first all gates, then all ups, as a panel of gates, a panel of ups, and so on."""
        row = self._described(weights)
        row[job_layout.OUTPUTS] = 2 * up(shape_of(weights)[0] // 2, LANES)
        if isinstance(weights, Tensor):
            self._dense(row, _alternating(weights))
        else:
            self._blocks(row, alternating(*weights))
        return row

    def _described(self, weights: Matrix) -> Table:
        row = np.zeros(job_layout.MATRIX, np.int64)
        row[job_layout.OUTPUTS], row[job_layout.INPUTS] = outputs, inputs = shape_of(weights)
        self.deepest = max(self.deepest, inputs)
        self.num_parameters += outputs * inputs
        self._form += [outputs, inputs]
        return row

    def _blocks(self, row: Table, parts: Sequence[Sequence[BlockRows]]) -> None:
        runs = pack_runs(parts, self.memory.hold, self._threads)
        row[job_layout.ADDRESS], row[job_layout.KIND] = runs.address, BLOCKS
        self.kinds.update(panels.kind for panels in runs.panels)
        self._form += [number for panels in runs.panels for number in (panels.kind, panels.num_panels)]
        self._num_bytes += sum(panels.values.nbytes + panels.scales.nbytes for panels in runs.panels)
        self._last_panels = runs.panels

    def _dense(self, row: Table, weights: Tensor) -> None:
        outputs, inputs = weights.shape
        kind = _kind(weights.dtype)
        if kind == BFLOAT16 and HAS_PAIRS:
            kind = PAIRS
        side = AT_ONCE[kind]
        wide = torch.zeros(up(outputs, LANES), up(inputs, side), dtype=weights.dtype)
        wide[:outputs, :inputs] = weights
        panels = wide.view(-1, LANES, wide.shape[1] // side, side).transpose(1, 2).contiguous()
        stored = self.memory.hold(_stored(panels))
        self._num_bytes += stored.nbytes
        row[job_layout.ADDRESS], row[job_layout.KIND] = stored.ctypes.data, kind
        self.kinds.add(kind)
        self._form.append(kind)


def _in_panels(panels: Panels) -> dict[int, int]:
    return {
        job_layout.EMBEDDING: panels.values.ctypes.data,
        job_layout.EMBEDDING_SCALES: panels.scales.ctypes.data,
        job_layout.EMBEDDING_KIND: panels.kind,
    }


def up(size: int, unit: int) -> int:
    """Return the least multiple of `unit` that is no less than `size`."""
    return -(-size // unit) * unit


def _kind(dtype: torch.dtype) -> int:
    return BFLOAT16 if dtype == torch.bfloat16 else FLOAT32


def _stored(weights: Tensor) -> npt.NDArray[Any]:
    """Return the tensor's memory as a numpy array, which knows no bfloat16; half precision is kept in float32."""
    weights = (weights.float() if weights.dtype == torch.float16 else weights).contiguous()
    return (weights.view(torch.int16) if weights.dtype == torch.bfloat16 else weights).numpy()


def _alternating(gate_up: Tensor) -> Tensor:
    """Reorder (2F, C) weights from all gates, then all ups, to a panel of gates, a panel of ups, and so on."""
    gate, up_half = gate_up.chunk(2)
    padding = torch.zeros(-len(gate) % LANES, gate.shape[1], dtype=gate.dtype)
    halves = [torch.cat((half, padding)).view(-1, LANES, gate.shape[1]) for half in (gate, up_half)]
    return torch.stack(halves, dim=1).flatten(0, 2)
