"""Repacks matrices that are stored in blocks for the kernels: runs of panels, one for each part of a matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from decoding.errors import ModelError
from decoding.models.cpu import job_layout
from decoding.models.cpu.block_repacking import NotFiniteError, Panels, block_types, in_turns
from decoding.models.cpu.quantized_forms import PANEL
from decoding.models.cpu.simd import LANES
from decoding.models.weights.stored_blocks import BlockRows

Hold = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]


def can_pack(parts: Sequence[BlockRows]) -> bool:
    """Return whether the kernels can multiply with these rows, one part below the other."""
    whole_panels = all(part.outputs % LANES == 0 for part in parts[:-1])
    return whole_panels and all(part.type_name in block_types() for part in parts)


@dataclass(frozen=True, slots=True)
class Runs:
    """A matrix in runs: the address of their table, and each run."""

    address: int
    panels: Sequence[Panels]


def pack_runs(parts: Sequence[Sequence[BlockRows]], hold: Hold, threads: int = 1) -> Runs:
    """Repack the parts of a matrix, each of one or more matrices in turns; `hold` keeps what the addresses point to.

    Raises `ModelError` if a block has a scale that is not finite.
    """
    every = [_repacked(part, threads) for part in parts]
    table = hold(np.zeros((len(every), job_layout.RUN), np.int64))
    end = 0
    for row, panels in zip(table, every, strict=True):
        count = panels.num_panels * PANEL // LANES
        end += count
        row[job_layout.RUN_END], row[job_layout.RUN_KIND] = end, panels.kind
        row[job_layout.RUN_VALUES] = hold(panels.values).ctypes.data
        row[job_layout.RUN_SCALES] = hold(panels.scales).ctypes.data
        row[job_layout.RUN_VALUES_STRIDE] = panels.values.nbytes // count
        row[job_layout.RUN_SCALES_STRIDE] = panels.scales.nbytes // count
    return Runs(int(table.ctypes.data), every)


def _repacked(part: Sequence[BlockRows], threads: int) -> Panels:
    first = part[0]
    raw = [matrix.rows.reshape(-1) for matrix in part]
    try:
        return in_turns(raw, first.type_name, first.outputs, first.inputs, LANES, threads)
    except NotFiniteError:
        sources = " or ".join(matrix.source for matrix in part)
        raise ModelError(f"{sources} holds numbers that are not finite, so the weights are damaged") from None


def alternating(gate: BlockRows, up: BlockRows) -> list[tuple[BlockRows, ...]]:
    """Arrange two matrices as a panel of gates, a panel of ups, and so on: in one part if they have equal types."""
    if gate.type_name == up.type_name:
        return [(gate, up)]
    return [
        (replace(matrix, rows=matrix.rows[first : first + LANES]),)
        for first in range(0, gate.outputs, LANES)
        for matrix in (gate, up)
    ]
