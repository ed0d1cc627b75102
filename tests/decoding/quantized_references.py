"""What panels and products of quantised weights must be, computed plainly: numpy, float64 and one FMA at a time."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from decoding.models.cpu.block_repacking import Panels
from decoding.models.cpu.quantized_forms import FORMS, PANEL, Scales
from decoding.models.cpu.quantized_rows import GROUP, RECORD_BYTES

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


def values_of(panels: Panels) -> Numbers:
    """(outputs with padding, groups, 32) values less their bias."""
    form, groups = FORMS[panels.kind], panels.inputs // GROUP
    lines = panels.values.reshape(panels.num_panels, groups, form.bits, PANEL, 4).astype(np.int64)
    if form.bits == 8:
        steps = [lines[:, :, step] for step in range(8)]
    else:
        steps = [(lines[:, :, step // 2] >> 4 * (step % 2)) & 15 for step in range(8)]
    if form.bits == 5:
        steps = [low | ((lines[:, :, 4] >> step) & 1) << 4 for step, low in enumerate(steps)]
    if form.bits == 6:
        steps = [low | ((lines[:, :, 4 + step // 4] >> 2 * (step % 4)) & 3) << 4 for step, low in enumerate(steps)]
    values = np.stack(steps, axis=2)  # (panels, groups, steps, outputs, 4)
    return values.transpose(0, 3, 1, 2, 4).reshape(-1, groups, GROUP) - form.bias


def scales_of(panels: Panels) -> tuple[Floats, Floats]:
    """(outputs with padding, groups, halves) scales and (outputs with padding, groups) offsets, exact."""
    form = FORMS[panels.kind]
    spans = panels.scales.reshape(panels.num_panels, -1, form.span_bytes)
    num_halves = 2 if form.has_offsets else 1
    halves = np.ascontiguousarray(spans[..., -num_halves * 2 * PANEL :]).view(np.float16).astype(np.float32)
    halves = halves.reshape(*spans.shape[:2], 1, num_halves, PANEL)
    scales, offsets = halves[..., :1, :], halves[..., 1:, :]
    if form.span_groups > 1:
        factors = spans[..., : -num_halves * 2 * PANEL].view(np.int8).reshape(*spans.shape[:2], 8, 2, PANEL)
        if form.scales == Scales.FACTORS:
            scales, offsets = scales * factors[..., :1, :], offsets * factors[..., 1:, :]
        else:
            scales = scales * factors
    if not form.has_offsets:
        offsets = np.zeros((*scales.shape[:3], 1, PANEL), np.float32)

    def by_output(numbers: Floats) -> Floats:
        return numbers.astype(np.float32).transpose(0, 4, 1, 2, 3).reshape(
            panels.num_panels * PANEL, panels.inputs // GROUP, -1
        )  # fmt: skip

    return by_output(scales), by_output(offsets)[..., 0]


def dense(panels: Panels) -> Floats:
    """The matrix (outputs, inputs) as float32."""
    values, (scales, offsets) = values_of(panels), scales_of(panels)
    scales = np.repeat(scales, GROUP // scales.shape[2], axis=2)
    numbers = values.astype(np.float32) * scales + offsets[..., None]
    return numbers.reshape(len(values), -1)[: panels.outputs]


def _taken_apart(rows: npt.NDArray[np.uint8], inputs: int) -> tuple[Numbers, Floats, Floats]:
    records = np.ascontiguousarray(rows[:, inputs:]).reshape(len(rows), -1, RECORD_BYTES)
    numbers = np.ascontiguousarray(rows[:, :inputs]).view(np.int8).astype(np.int64).reshape(len(rows), -1, GROUP)
    floats = records[..., :8].copy().view(np.float32)
    return numbers, floats[..., 0], floats[..., 1]


def near_product(
    panels: Panels, rows: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Rounded rows times the matrix in float64, (R, outputs with padding), and the sum of all parts' sizes."""
    numbers, row_scales, _ = _taken_apart(rows, panels.inputs)
    x = (numbers * row_scales[..., None].astype(np.float64)).reshape(len(rows), -1)
    values, (scales, offsets) = values_of(panels), scales_of(panels)
    scales = np.repeat(scales, GROUP // scales.shape[2], axis=2).astype(np.float64)
    scaled, offset = values * scales, np.broadcast_to(offsets[..., None].astype(np.float64), values.shape)
    flat, flat_offset = scaled.reshape(len(values), -1), offset.reshape(len(values), -1)
    return x @ (flat + flat_offset).T, np.abs(x) @ (np.abs(flat) + np.abs(flat_offset)).T


def exact_product(panels: Panels, rows: npt.NDArray[np.uint8], outputs: list[int]) -> Floats:
    """The chain of operations that quantized_tile.py promises, one by one, for some outputs: (R, outputs)."""
    fma = _fused_multiply_add()
    numbers, row_scales, scaled_sums = _taken_apart(rows, panels.inputs)
    values, (scales, offsets) = values_of(panels), scales_of(panels)
    parts = scales.shape[2]
    result = np.zeros((len(rows), len(outputs)), np.float32)
    for row in range(len(rows)):
        for at, output in enumerate(outputs):
            total = np.float32(0)
            for group in range(panels.inputs // GROUP):
                products = numbers[row, group] * values[output, group]
                for part, whole in enumerate(products.reshape(parts, -1).sum(axis=1)):
                    total = fma(np.float32(whole), scales[output, group, part] * row_scales[row, group], total)
                if FORMS[panels.kind].has_offsets:
                    total = fma(offsets[output, group], scaled_sums[row, group], total)
            result[row, at] = total
    return result


def _fused_multiply_add() -> Callable[..., np.float32]:
    """The C library's, which rounds once; without it a float64 in between rounds twice, hardly ever otherwise."""
    name = ctypes.util.find_library("m")
    if not name:
        return lambda a, b, c: np.float32(np.float64(a) * np.float64(b) + np.float64(c))
    function = ctypes.CDLL(name).fmaf
    function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float] * 3
    return lambda *numbers: np.float32(function(*numbers))
