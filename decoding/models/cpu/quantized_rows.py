"""Rounds rows of float32 to whole numbers of eight bits, for products with weights of four to eight bits.

A row is rounded in groups of 32 inputs as a function of itself alone, so that its neighbours change no bit of it. A
rounded row is its numbers, then a record for each group: the scale, the scale times the sum of the group's numbers
(both float32), and the sums of the group and of its first half with their signs turned (int32).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from decoding.models.cpu.compiling import compiled
from decoding.models.cpu.simd import (
    FLOAT,
    INT8,
    INT32,
    INT64,
    Loop,
    broadcast,
    horizontal,
    load,
    splat,
    store,
    vector_of,
)

GROUP = 32  # so many inputs share a scale
RECORD_BYTES = 16
# The offsets of the parts of a group's record.
SCALE, SCALED_SUM, LESS_SUM, LESS_LOW_SUM = 0, 4, 8, 12

LARGEST = 127
_LEAST = 2.0**-100  # a group of nothing but smaller numbers counts as zeros: 127 / 2^-126 would be infinite
_ROUNDER = 12582912.0  # 1.5 * 2^23: after it is added, the lowest bits are the nearest whole number, halves to even


def row_bytes(inputs: int) -> int:
    """Return the bytes of a rounded row; `inputs` are a multiple of `GROUP`."""
    return inputs + inputs // GROUP * RECORD_BYTES


@intrinsic
def round_groups(_typing, x, num_groups, out, records):
    """Round so many groups of float32 at address x, at least one, to `out`, and write their records.

    A group with a number that isn't finite gets a NaN as its scale, and zeros.
    """

    def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        x, num_groups, out, records = arguments
        loop = Loop(builder, num_groups, [])
        values = load(builder, x, builder.mul(loop.index, INT64(GROUP * 4)), vector_of(FLOAT, GROUP))
        whole, scale = _rounded(builder, values)
        narrow = builder.trunc(whole, vector_of(INT8, GROUP))
        store(builder, narrow, out, builder.mul(loop.index, INT64(GROUP)))
        low, high = (_sum(builder, whole, first) for first in (0, GROUP // 2))
        total = builder.add(low, high)
        scaled = builder.fmul(scale, builder.sitofp(total, FLOAT))
        record = builder.add(records, builder.mul(loop.index, INT64(RECORD_BYTES)))
        for offset, value in (
            (SCALE, scale),
            (SCALED_SUM, scaled),
            (LESS_SUM, builder.neg(total)),
            (LESS_LOW_SUM, builder.neg(low)),
        ):
            store(builder, value, record, INT64(offset))
        loop.close([])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), codegen


def _rounded(builder: ir.IRBuilder, values: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return a group's whole numbers and its scale."""
    # Read as whole numbers, the bits of absolute values have the order of the values; infinities and NaNs are largest.
    bits = builder.and_(builder.bitcast(values, vector_of(INT32, GROUP)), splat(INT32, 0x7FFFFFFF, GROUP))
    most = horizontal(builder, bits, lambda a, b: builder.select(builder.icmp_signed(">", a, b), a, b))
    is_finite = builder.icmp_signed("<", most, INT32(_bits(np.inf)))
    is_some = builder.icmp_signed(">=", most, INT32(_bits(_LEAST)))
    most = builder.bitcast(most, FLOAT)
    inverse = builder.fdiv(FLOAT(LARGEST), most)
    scaled = builder.fmul(values, broadcast(builder, inverse, GROUP))
    shifted = builder.fadd(scaled, splat(FLOAT, _ROUNDER, GROUP))
    whole = builder.sub(builder.bitcast(shifted, vector_of(INT32, GROUP)), splat(INT32, _bits(_ROUNDER), GROUP))
    kept = builder.select(builder.and_(is_finite, is_some), INT32(-1), INT32(0))
    whole = builder.and_(whole, broadcast(builder, kept, GROUP))
    scale = builder.select(is_some, builder.fdiv(most, FLOAT(LARGEST)), FLOAT(0.0))
    return whole, builder.select(is_finite, scale, FLOAT(float("nan")))


def _bits(value: float) -> int:
    return int(np.float32(value).view(np.int32))


def _sum(builder: ir.IRBuilder, whole: ir.Value, first: int) -> ir.Value:
    """Return the sum of half a group's whole numbers."""
    undefined = ir.Constant(whole.type, ir.Undefined)
    lanes = ir.Constant(vector_of(INT32, GROUP // 2), list(range(first, first + GROUP // 2)))
    return horizontal(builder, builder.shuffle_vector(whole, undefined, lanes), builder.add)


@compiled
def round_rows(x, x_stride, num_rows, inputs, out, out_stride):
    """Round so many rows of `inputs` float32, a multiple of `GROUP`, from address x to `out`; strides are in bytes."""
    for row in range(num_rows):
        target = out + row * out_stride
        round_groups(x + row * x_stride, inputs // GROUP, target, target + inputs)


def rounded_plainly(x: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return the result of `round_rows` for rows (R, inputs), computed by numpy: rows of bytes."""
    groups = x.reshape(len(x), -1, GROUP)
    most = np.abs(groups).max(axis=2)
    is_finite, is_some = np.isfinite(most), most >= np.float32(_LEAST)
    kept = is_finite & is_some
    inverse = np.float32(LARGEST) / np.where(kept, most, np.float32(1))
    whole = np.rint(np.where(kept[..., None], groups, np.float32(0)) * inverse[..., None]).astype(np.int32)
    records = np.zeros((*most.shape, RECORD_BYTES // 4), np.int32)
    floats = records.view(np.float32)
    scale = np.where(is_some, most / np.float32(LARGEST), np.float32(0))
    floats[..., SCALE // 4] = np.where(is_finite, scale, np.float32(np.nan))
    floats[..., SCALED_SUM // 4] = floats[..., SCALE // 4] * whole.sum(axis=2).astype(np.float32)
    records[..., LESS_SUM // 4] = -whole.sum(axis=2)
    records[..., LESS_LOW_SUM // 4] = -whole[..., : GROUP // 2].sum(axis=2)
    numbers = whole.astype(np.int8).reshape(len(x), -1).view(np.uint8)
    return np.concatenate((numbers, records.reshape(len(x), -1).view(np.uint8)), axis=1)
