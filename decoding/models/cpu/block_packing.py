"""Repacks matrices that are stored in blocks for the kernels: runs of panels, one for each part of a matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from decoding.models.cpu import job_layout
from decoding.models.cpu.block_repacking import Panels, block_types, repacked
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


def pack_runs(parts: Sequence[BlockRows], hold: Hold) -> Runs:
    """Repack the parts of a matrix; `hold` keeps what the addresses point to."""
    every = [repacked(part.rows.reshape(-1), part.type_name, part.outputs, part.inputs, LANES) for part in parts]
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


def alternating(gate: BlockRows, up: BlockRows) -> tuple[BlockRows, ...]:
    """Arrange rows as a panel of gates, a panel of ups, and so on, the last padded with zeros.

    They are one part if both have equal types.
    """
    halves = [_in_panels(part) for part in (gate, up)]
    if gate.type_name == up.type_name:
        rows = np.stack(halves, axis=1).reshape(-1, gate.rows.shape[1])
        return (BlockRows(type_name=gate.type_name, inputs=gate.inputs, rows=rows),)
    return tuple(
        BlockRows(type_name=part.type_name, inputs=part.inputs, rows=panels[number])
        for number in range(len(halves[0]))
        for part, panels in zip((gate, up), halves, strict=True)
    )


def _in_panels(part: BlockRows) -> npt.NDArray[np.uint8]:
    """Return (panels, LANES, bytes of a row), padded with blocks of zeros, which are weights of zero."""
    wide = np.zeros((-(-part.outputs // LANES) * LANES, part.rows.shape[1]), np.uint8)
    wide[: part.outputs] = part.rows
    return wide.reshape(-1, LANES, part.rows.shape[1])
