"""Searches for the scale and offset with which a group of weights is nearest to whole numbers, 16 groups side by side.

Weights lie transposed: the first of all 16 groups, then the second of all, and so on. Whatever a processor's vectors
are, each number is one fixed chain of operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from decoding.models.cpu.compiling import compiled
from decoding.models.cpu.simd import FLOAT, INT64, Loop, broadcast, call_vector, load, maximum, splat, store, vector_of

LANES = 16  # groups side by side
LINE = 4 * LANES  # bytes of a number of each
# The rows of a table of 16 columns, one for each group: sums over its weights, and the best fit so far.
WEIGHT, SUM, SQUARES, LOWEST, INVERSE, ERROR, SCALE, OFFSET, TABLE = range(9)

_ROUNDER = 12582912.0  # 1.5 * 2^23: added and taken away again it rounds to the nearest whole number, halves to even
_LEAST_SPREAD = 2.0**-100  # below it, a group's weights count as equal
# chosen: so many scales are tried, from one below the whole range's to one above, as many as llama.cpp tries.
TRIALS = 20
REFITS = 3  # chosen: after them hardly a number moves


@dataclass(frozen=True, slots=True)
class _Build:
    """The code of one function under construction."""

    builder: ir.IRBuilder
    table: ir.Value

    def row(self, number: int) -> ir.Value:
        return load(self.builder, self.table, INT64(number * LINE), vector_of(FLOAT, LANES))

    def put(self, number: int, value: ir.Value) -> None:
        store(self.builder, value, self.table, INT64(number * LINE))

    def whole(self, values: ir.Value, bounds: tuple[ir.Value, ir.Value]) -> ir.Value:
        """Round to whole numbers within bounds, which must be less than 2^22."""
        builder, (low, high) = self.builder, bounds
        bounded = maximum(builder, values, low)
        bounded = builder.select(builder.fcmp_ordered("<", bounded, high), bounded, high)
        rounder = splat(FLOAT, _ROUNDER, LANES)
        return builder.fsub(builder.fadd(bounded, rounder), rounder)


@intrinsic(prefer_literal=True)
def fit(_typing, has_offset, x, importance, num, low, high, table):
    """Round with the table's `LOWEST` and `INVERSE`; fit a scale, and an offset, to that; keep it if it is the best.

    The whole numbers are from `low` to `high`. A literal 1 as `has_offset` allows any offset, 2 none above zero.
    """
    if not isinstance(has_offset, types.IntegerLiteral):
        return None
    offsets = has_offset.literal_value

    def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        _, x, importance, num, low, high, table = arguments
        build = _Build(builder, table)
        bounds = broadcast(builder, low, LANES), broadcast(builder, high, LANES)
        lowest, inverse = build.row(LOWEST), build.row(INVERSE)
        nothing = splat(FLOAT, 0.0, LANES)
        loop = Loop(builder, num, [nothing] * 3)
        at = builder.mul(loop.index, INT64(LINE))
        value, weight = (load(builder, start, at, vector_of(FLOAT, LANES)) for start in (x, importance))
        number = build.whole(builder.fmul(builder.fsub(value, lowest), inverse), bounds)
        weighted = builder.fmul(weight, number)
        sums = [
            builder.fadd(loop.carried[0], weighted),
            call_vector(builder, "fma", weighted, number, loop.carried[1]),
            call_vector(builder, "fma", weighted, value, loop.carried[2]),
        ]
        loop.close(sums)
        _keep_better(build, sums, offsets)
        return context.get_dummy_value()

    return types.void(has_offset, *[types.intp] * 3, *[types.float32] * 2, types.intp), codegen


def _keep_better(build: _Build, sums: list[ir.Value], offsets: int) -> None:
    """Solve the two equations of least squares from the sums of numbers, of their squares and of products."""
    builder, (numbers, squares, products) = build.builder, sums
    zero, one = splat(FLOAT, 0.0, LANES), splat(FLOAT, 1.0, LANES)

    def over(a: ir.Value, b: ir.Value) -> ir.Value:
        return builder.fdiv(a, builder.select(builder.fcmp_ordered(">", b, zero), b, one))

    scale, offset = over(products, squares), zero
    if offsets:
        weight, total = build.row(WEIGHT), build.row(SUM)
        divisor = builder.fsub(builder.fmul(weight, squares), builder.fmul(numbers, numbers))
        with_offset = over(builder.fsub(builder.fmul(weight, products), builder.fmul(total, numbers)), divisor)
        its_offset = over(builder.fsub(builder.fmul(squares, total), builder.fmul(numbers, products)), divisor)
        is_fit = builder.fcmp_ordered(">", divisor, zero)
        if offsets == 2:
            is_fit = builder.and_(is_fit, builder.fcmp_ordered("<=", its_offset, zero))
        scale, offset = builder.select(is_fit, with_offset, scale), builder.select(is_fit, its_offset, offset)
    error = builder.fsub(build.row(SQUARES), builder.fmul(scale, products))
    if offsets:
        error = builder.fsub(error, builder.fmul(offset, build.row(SUM)))
    is_better = builder.fcmp_ordered("<", error, build.row(ERROR))
    for row, value in ((ERROR, error), (SCALE, scale), (OFFSET, offset)):
        build.put(row, builder.select(is_better, value, build.row(row)))


@intrinsic
def error_of(_typing, x, importance, num, low, high, table):
    """Write to `ERROR` the weighted squares that remain with the table's `SCALE`, `INVERSE` and `OFFSET`."""

    def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        x, importance, num, low, high, table = arguments
        build = _Build(builder, table)
        bounds = broadcast(builder, low, LANES), broadcast(builder, high, LANES)
        scale, inverse, offset = (build.row(row) for row in (SCALE, INVERSE, OFFSET))
        loop = Loop(builder, num, [splat(FLOAT, 0.0, LANES)])
        at = builder.mul(loop.index, INT64(LINE))
        value, weight = (load(builder, start, at, vector_of(FLOAT, LANES)) for start in (x, importance))
        less = builder.fsub(value, offset)
        number = build.whole(builder.fmul(less, inverse), bounds)
        rest = builder.fsub(less, builder.fmul(scale, number))
        total = call_vector(builder, "fma", builder.fmul(weight, rest), rest, loop.carried[0])
        loop.close([total])
        build.put(ERROR, total)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 3, *[types.float32] * 2, types.intp), codegen


@compiled
def side_by_side(values, first, count, num, x):
    """Transpose `count` groups of `num` weights from group `first` on; what is left of 16 columns becomes 0."""
    for lane in range(LANES):
        for number in range(num):
            x[number, lane] = values[(first + lane) * num + number] if lane < count else np.float32(0.0)


@compiled
def search(offsets, values, num, low, high, by_size, scales, offsets_found):
    """Find the scale of each group of `num` weights, and its offset if `offsets` is more than 0.

    `by_size` more than 0 counts a weight's error by its size.
    """
    x, importance = np.empty((num, LANES), np.float32), np.empty((num, LANES), np.float32)
    table = np.zeros((TABLE, LANES), np.float32)
    where = table.ctypes.data
    num_groups = len(scales)
    for first in range(0, num_groups, LANES):
        count = min(LANES, num_groups - first)
        side_by_side(values, first, count, num, x)
        spread = np.zeros(LANES, np.float32)
        _prepare(offsets, x, num, by_size, importance, table, spread)
        steps = np.float32(high - low) if offsets else np.float32(-low)
        for trial in range(-1, TRIALS + REFITS):
            for lane in range(LANES):
                if trial >= TRIALS:
                    scale = table[SCALE, lane]
                    table[INVERSE, lane] = np.float32(1.0) / scale if scale != 0 else np.float32(0.0)
                    table[LOWEST, lane] = table[OFFSET, lane]
                else:
                    more = np.float32(2 * (trial + 1) / TRIALS - 1) if trial >= 0 else np.float32(0.0)
                    table[INVERSE, lane] = (steps + more) / spread[lane] if spread[lane] != 0 else np.float32(0.0)
            if offsets == 0:
                fit(0, x.ctypes.data, importance.ctypes.data, num, low, high, where)
            elif offsets == 1:
                fit(1, x.ctypes.data, importance.ctypes.data, num, low, high, where)
            else:
                fit(2, x.ctypes.data, importance.ctypes.data, num, low, high, where)
        for lane in range(count):
            scales[first + lane] = table[SCALE, lane]
            offsets_found[first + lane] = table[OFFSET, lane]


@compiled
def _prepare(offsets, x, num, by_size, importance, table, spread):
    """Fill the table's sums of 16 groups, and how far their weights are spread: from the lowest, or from zero."""
    for lane in range(LANES):
        least = most = x[0, lane]
        squares = np.float32(0.0)
        for number in range(num):
            value = x[number, lane]
            least, most = min(least, value), max(most, value)
            squares += value * value
        mean = np.sqrt(squares / np.float32(num))
        if offsets == 2:
            least = min(least, np.float32(0.0))
        table[LOWEST, lane] = least if offsets else np.float32(0.0)
        # Without an offset, the weight that is largest by size gets the lowest number, of which there is one more.
        spread[lane] = most - least if offsets else -(least if -least > most else most)
        if abs(spread[lane]) < _LEAST_SPREAD:
            spread[lane] = np.float32(0.0)
        total = weight = squares = np.float32(0.0)
        for number in range(num):
            value = x[number, lane]
            mine = mean + abs(value) if by_size else np.float32(1.0)
            importance[number, lane] = mine
            weight += mine
            total += mine * value
            squares += mine * value * value
        table[WEIGHT, lane], table[SUM, lane], table[SQUARES, lane] = weight, total, squares
        # The first fit is a scale of 0: the best for equal weights.
        offset = total / weight if offsets and weight > 0 else np.float32(0.0)
        if offsets == 2:
            offset = min(offset, np.float32(0.0))
        table[SCALE, lane], table[OFFSET, lane] = np.float32(0.0), offset
        table[ERROR, lane] = squares - offset * total


@compiled
def nearest_factors(offsets, values, num, low, high, by_size, unit, offset_unit, most, factors, offset_factors):
    """Improve whole factors of scales, and of offsets if there are some, by trying their neighbours.

    A group's scale is its factor times its `unit`, and its offset the other factor times `offset_unit`; factors are at
    most `most`, and those of offsets at least 0.
    """
    x, importance = np.empty((num, LANES), np.float32), np.empty((num, LANES), np.float32)
    table, spread = np.zeros((TABLE, LANES), np.float32), np.zeros(LANES, np.float32)
    best = np.empty(LANES, np.float32)
    chosen, offset_chosen = np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    reach = 1 if offsets else 0
    for first in range(0, len(factors), LANES):
        count = min(LANES, len(factors) - first)
        side_by_side(values, first, count, num, x)
        _prepare(offsets, x, num, by_size, importance, table, spread)
        best[:] = np.inf
        for step in range(-1, 2):
            for offset_step in range(-reach, reach + 1):
                for lane in range(count):
                    factor = min(max(factors[first + lane] + step, 0 if offsets else -most - 1), most)
                    scale = np.float32(factor) * unit[first + lane]
                    table[SCALE, lane] = scale
                    table[INVERSE, lane] = np.float32(1.0) / scale if scale != 0 else np.float32(0.0)
                    offset = min(max(offset_factors[first + lane] + offset_step, 0), most)
                    table[OFFSET, lane] = np.float32(offset) * offset_unit[first + lane]
                error_of(x.ctypes.data, importance.ctypes.data, num, low, high, table.ctypes.data)
                for lane in range(count):
                    if table[ERROR, lane] < best[lane]:
                        best[lane] = table[ERROR, lane]
                        chosen[lane] = factors[first + lane] + step
                        offset_chosen[lane] = offset_factors[first + lane] + offset_step
        for lane in range(count):
            if best[lane] < np.inf:
                factors[first + lane] = min(max(chosen[lane], 0 if offsets else -most - 1), most)
                offset_factors[first + lane] = min(max(offset_chosen[lane], 0), most)


@compiled
def whole_numbers(values, num, low, high, scales, offsets, numbers):
    """Write each weight's whole number as a byte, by its group's scale and offset; return the squares that remain."""
    total = 0.0
    for group in range(len(scales)):
        scale, offset = scales[group], offsets[group]
        inverse = np.float32(1.0) / scale if scale != 0 else np.float32(0.0)
        for at in range(group * num, (group + 1) * num):
            number = np.rint((values[at] - offset) * inverse)
            number = min(max(number, np.float32(low)), np.float32(high))
            numbers[at] = np.int8(number)
            rest = np.float64(values[at]) - (np.float64(scale) * number + offset)
            total += rest * rest
    return total
