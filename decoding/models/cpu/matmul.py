"""Multiplies matrices in the CPU kernels, and computes the norms before that.

Each number is one chain of fused multiply-adds in the order of the inputs, whatever else is computed beside it.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from decoding.models.cpu.bf16_dot import round_to_pairs
from decoding.models.cpu.compiling import compiled, compiled_at_once
from decoding.models.cpu.intrinsics import call_matmul, multiply_tile, read_int, sum_of_squares
from decoding.models.cpu.job_layout import (
    ADDRESS,
    BIAS,
    INPUTS,
    KIND,
    MAX_TASKS,
    MULTIPLY,
    RUN,
    RUN_END,
    RUN_KIND,
    RUN_SCALES,
    RUN_SCALES_STRIDE,
    RUN_VALUES,
    RUN_VALUES_STRIDE,
)
from decoding.models.cpu.quantized_forms import BLOCKS, PANEL
from decoding.models.cpu.quantized_rows import GROUP, RECORD_BYTES, round_rows
from decoding.models.cpu.simd import AT_ONCE, ITEM_BYTES, LANES, MAX_ROWS, PAIRS, PANELS_FOR
from decoding.models.cpu.vector_loops import add_to, scale_by


@compiled
def padded(size):
    """Round `size` up to whole panels."""
    return (size + LANES - 1) // LANES * LANES


@compiled
def task_panels(num_panels, num_rows):
    """Return the panels of a task: as many as a tile takes at once, more for large matrices, so that tasks stay few."""
    return max(PANELS_FOR[min(num_rows, MAX_ROWS)], num_panels // MAX_TASKS)


@cache
def multiply_address(kind: int) -> int:
    """Return the address of the function that multiplies with weights of a kind; it is compiled at first use."""

    @compiled_at_once(10)
    def multiply(x, x_stride, num_rows, w, depth_stride, panel_stride, depth, num_panels, out, out_stride):
        """Compute out (num_rows, num_panels * LANES) = x (num_rows, depth) times panels (num_panels, depth, LANES)."""
        row = 0
        while row < num_rows:
            rows = min(num_rows - row, MAX_ROWS)
            panel = 0
            while panel < num_panels:
                panels = PANELS_FOR[rows]
                if num_panels - panel < panels:
                    panels = 1
                multiply_tile(
                    kind,
                    rows,
                    panels,
                    x + row * x_stride,
                    x_stride,
                    w + panel * panel_stride,
                    depth_stride,
                    panel_stride,
                    depth,
                    out + row * out_stride + panel * LANES * 4,
                    out_stride,
                )
                panel += panels
            row += rows

    return multiply


@compiled
def item(kind, lanes, inputs, output, number):
    """Return the index of the weight of an output's input in a matrix of panels of so many lanes."""
    side = AT_ONCE[kind]
    depth = (inputs + side - 1) // side
    return ((output // lanes * depth + number // side) * lanes + output % lanes) * side + number % side


@compiled
def taken_stride(matrix, x_stride):
    """Return the bytes from row to row of x in the matrix's own form."""
    if matrix[KIND] == BLOCKS:
        return matrix[INPUTS] + matrix[INPUTS] // GROUP * RECORD_BYTES
    return padded(matrix[INPUTS]) * 2 if matrix[KIND] == PAIRS else x_stride


@compiled
def take(matrix, x, x_stride, num_rows, rounded):
    """Return the address of rows of x, padded with zeros to whole panels, in the matrix's own form.

    To be multiplied with pairs they are rounded to bfloat16, as the weights are; with blocks, to eight bits.
    """
    stride = taken_stride(matrix, x_stride)
    if matrix[KIND] == BLOCKS:
        round_rows(x, x_stride, num_rows, matrix[INPUTS], rounded, stride)
        return rounded
    if matrix[KIND] != PAIRS:
        return x
    for row in range(num_rows):
        round_to_pairs(x + row * x_stride, padded(matrix[INPUTS]) // LANES, rounded + row * stride)
    return rounded


@compiled
def project_blocks(job, run, inputs, x, x_stride, num_rows, first, num_panels, out, out_stride):
    """Compute rounded rows times panels of a matrix whose first run lies at an address."""
    begin = 0
    while num_panels > 0:
        end = read_int(run + RUN_END * 8)
        if first < end:
            count = min(num_panels, end - first)
            values = read_int(run + RUN_VALUES * 8) + (first - begin) * read_int(run + RUN_VALUES_STRIDE * 8)
            scales = read_int(run + RUN_SCALES * 8) + (first - begin) * read_int(run + RUN_SCALES_STRIDE * 8)
            call_matmul(
                job[MULTIPLY + read_int(run + RUN_KIND * 8)], x, x_stride, num_rows, values, scales, inputs,
                count * (LANES // PANEL), out, out_stride, 0,
            )  # fmt: skip
            first += count
            num_panels -= count
            out += count * LANES * 4
        begin = end
        run += RUN * 8


@compiled
def project(job, matrix, x, x_stride, num_rows, first, num_panels, out, out_stride):
    """Compute x, as `take` gave it, times panels `first` to `first + num_panels`, with biases."""
    kind = matrix[KIND]
    if kind == BLOCKS:
        project_blocks(job, matrix[ADDRESS], matrix[INPUTS], x, x_stride, num_rows, first, num_panels, out, out_stride)
    else:
        depth = (matrix[INPUTS] + AT_ONCE[kind] - 1) // AT_ONCE[kind]
        depth_stride = LANES * ITEM_BYTES[kind] * AT_ONCE[kind]
        panel_stride = depth_stride * depth
        call_matmul(
            job[MULTIPLY + kind], x, x_stride, num_rows, matrix[ADDRESS] + first * panel_stride, depth_stride,
            panel_stride, depth, num_panels, out, out_stride,
        )  # fmt: skip
    if matrix[BIAS]:
        for row in range(num_rows):
            add_to(out + row * out_stride, matrix[BIAS] + first * LANES * 4, num_panels)


@compiled
def normalise(x, x_stride, num_rows, width, weight, eps, out, out_stride):
    """Apply the RMS norm to rows (Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467); padding stays 0."""
    for row in range(num_rows):
        source, target = x + row * x_stride, out + row * out_stride
        scale = np.float32(1.0) / np.sqrt(sum_of_squares(source, padded(width) // LANES) / np.float32(width) + eps)
        scale_by(source, scale, weight, target, padded(width) // LANES)
