"""Multiplies few rows with rounded weights, in Triton: bytes are read once and widened in registers.

A tile of weights lies whole in memory (`quantize.py`), so that a program reads one stretch. The inputs are cut into
parts by the matrix's sizes, never by the number of rows, and their sums are added in order: a row's bits don't depend
on its place or its neighbours.

Dimension letters: T rows, N outputs, K inputs.
"""

# No `from __future__ import annotations`: Triton looks at the annotations of its functions.

from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

from decoding.models.quantize import TILE_INPUTS, TILE_OUTPUTS, QuantizedMatrix

_OUTPUTS, _INPUTS = tl.constexpr(TILE_OUTPUTS), tl.constexpr(TILE_INPUTS)
_HALF = tl.constexpr(TILE_INPUTS // 2)

FEW_ROWS = 16  # a matrix unit takes no fewer, and a step has as many
MANY_ROWS = 64
# chosen: so many programs keep a large GPU's processors busy, and each adds up so many tiles at least.
PROGRAMS = 256
FEWEST_TILES = 2
# GPUs widen fp8 themselves from this version on. For others its bits are put where float16 has them, which gives
# numbers that are 256 times too small.
HAS_FP8 = (8, 9)
NATIVE, SHIFTED = "fp8", "fp8 shifted"
_SHIFTED_FACTOR = tl.constexpr(256.0)


@triton.jit
def _widen(tile, KIND: tl.constexpr, wide: tl.constexpr):
    """Return weights of eight bits in another type, exactly."""
    if KIND == "fp8":
        return tile.to(tl.float8e4nv, bitcast=True).to(wide)
    if KIND == "fp8 shifted":
        bits = tile.to(tl.uint16)
        return (((bits & 0x80) << 8) | ((bits & 0x7F) << 7)).to(tl.float16, bitcast=True).to(wide)
    return tile.to(wide)


@triton.jit
def _multiply(
    rows, data, factors, bias, output, num_rows, num_inputs, num_outputs, num_deep, deep_each,
    KIND: tl.constexpr, ROWS: tl.constexpr, IS_WHOLE: tl.constexpr, HAS_BIAS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Multiply one tile of outputs, part of the inputs and tile of rows in each program.

    Parts are left in float32, without factors; in int4 the factors are in already.
    """
    column, part, row = tl.program_id(0), tl.program_id(1), tl.program_id(2) * ROWS + tl.arange(0, ROWS)
    wide = rows.dtype.element_ty
    across = tl.arange(0, _OUTPUTS)
    outputs = column * _OUTPUTS + across
    is_row = (row < num_rows)[:, None]
    source = rows + row.to(tl.int64)[:, None] * num_inputs
    sums = tl.zeros((ROWS, _OUTPUTS), tl.float32)
    first = part * deep_each
    for deep in range(first, tl.minimum(first + deep_each, num_deep)):
        tile = column.to(tl.int64) * num_deep + deep
        if KIND == "int4":
            inside = tl.arange(0, _HALF)
            packed = tl.load(data + tile * _OUTPUTS * _HALF + across[:, None] * _HALF + inside[None, :])
            low = deep * _INPUTS + inside
            high = low + _HALF
            left = tl.load(source + low[None, :], mask=is_row & (low < num_inputs)[None, :], other=0.0)
            right = tl.load(source + high[None, :], mask=is_row & (high < num_inputs)[None, :], other=0.0)
            place = factors + deep * 2 * tl.num_programs(0) * _OUTPUTS + outputs
            weights = ((packed & 15).to(tl.int8) - 8).to(wide)
            product = tl.dot(left, tl.trans(weights), input_precision=PRECISION)
            sums += product * tl.load(place).to(tl.float32)[None, :]
            weights = ((packed >> 4).to(tl.int8) - 8).to(wide)
            product = tl.dot(right, tl.trans(weights), input_precision=PRECISION)
            sums += product * tl.load(place + tl.num_programs(0) * _OUTPUTS).to(tl.float32)[None, :]
        else:
            inside = tl.arange(0, _INPUTS)
            packed = tl.load(data + tile * _OUTPUTS * _INPUTS + across[:, None] * _INPUTS + inside[None, :])
            at = deep * _INPUTS + inside
            left = tl.load(source + at[None, :], mask=is_row & (at < num_inputs)[None, :], other=0.0)
            sums = tl.dot(left, tl.trans(_widen(packed, KIND, wide)), sums, input_precision=PRECISION)
    is_there = is_row & (outputs < num_outputs)[None, :]
    if IS_WHOLE:
        sums = _finish(sums, factors, bias, outputs, num_outputs, KIND, HAS_BIAS)
    at = (part.to(tl.int64) * num_rows + row)[:, None] * num_outputs + outputs[None, :]
    tl.store(output + at, sums.to(output.dtype.element_ty), mask=is_there)


@triton.jit
def _finish(sums, factors, bias, outputs, num_outputs, KIND: tl.constexpr, HAS_BIAS: tl.constexpr):
    """Multiply with the factors and add the bias."""
    if KIND != "int4":
        scale = tl.load(factors + outputs)
        if KIND == "fp8 shifted":
            scale *= _SHIFTED_FACTOR
        sums *= scale[None, :]
    if HAS_BIAS:
        sums += tl.load(bias + outputs, mask=outputs < num_outputs, other=0.0).to(tl.float32)[None, :]
    return sums


@triton.jit
def _add_parts(
    parts, factors, bias, output, num_rows, num_outputs,
    KIND: tl.constexpr, PARTS: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """Add up the parts of one row and tile of outputs in each program."""
    row, outputs = tl.program_id(0).to(tl.int64), tl.program_id(1) * _OUTPUTS + tl.arange(0, _OUTPUTS)
    is_there = outputs < num_outputs
    sums = tl.zeros((_OUTPUTS,), tl.float32)
    for part in range(PARTS):
        sums += tl.load(parts + (part * num_rows + row) * num_outputs + outputs, mask=is_there, other=0.0)
    whole = tl.reshape(_finish(sums[None, :], factors, bias, outputs, num_outputs, KIND, HAS_BIAS), (_OUTPUTS,))
    tl.store(output + row * num_outputs + outputs, whole.to(output.dtype.element_ty), mask=is_there)


def project(rows: Tensor, matrix: QuantizedMatrix, bias: Tensor | None = None, *, kind: str = "") -> Tensor:
    """Return (T, N) of (T, K) rows, in their own type; `kind` says how fp8 is widened, "" as this GPU does it best."""
    with torch.cuda.device(rows.device) if rows.is_cuda else nullcontext():
        return _project(rows.contiguous(), matrix, bias, kind)


def _project(rows: Tensor, matrix: QuantizedMatrix, bias: Tensor | None, kind: str) -> Tensor:
    num_rows, num_outputs = len(rows), matrix.outputs
    num_columns, num_deep = matrix.data.shape[:2]
    num_parts = min(max(1, PROGRAMS // num_columns), max(1, num_deep // FEWEST_TILES))
    deep_each = triton.cdiv(num_deep, num_parts)
    num_parts = triton.cdiv(num_deep, deep_each)
    kind = kind or _kind_here(matrix)
    has_bias, is_whole = bias is not None, num_parts == 1
    output = rows.new_empty(num_rows, num_outputs)
    parts = output if is_whole else rows.new_empty(num_parts, num_rows, num_outputs, dtype=torch.float32)
    height = FEW_ROWS if num_rows <= FEW_ROWS else MANY_ROWS
    _multiply[(num_columns, num_parts, triton.cdiv(num_rows, height))](
        rows, matrix.data, matrix.factors, bias if has_bias else rows, parts,
        num_rows, matrix.inputs, num_outputs, num_deep, deep_each,
        KIND=kind, ROWS=height, IS_WHOLE=is_whole, HAS_BIAS=has_bias,
        PRECISION="ieee" if rows.dtype == torch.float32 else "tf32", num_warps=4, num_stages=4,
    )  # fmt: skip
    if not is_whole:
        _add_parts[(num_rows, num_columns)](
            parts, matrix.factors, bias if has_bias else rows, output, num_rows, num_outputs,
            KIND=kind, PARTS=num_parts, HAS_BIAS=has_bias, num_warps=1,
        )  # fmt: skip
    return output


def _kind_here(matrix: QuantizedMatrix) -> str:
    if matrix.kind != "fp8":
        return matrix.kind
    if not matrix.data.is_cuda:
        return SHIFTED
    return NATIVE if torch.cuda.get_device_capability(matrix.data.device) >= HAS_FP8 else SHIFTED
