"""Builds the tile of a product of rounded rows with quantised weights from instructions of LLVM, for any processor.

For each number there is one chain of operations, which no shape of tile and no path changes. Group after group of 32
inputs: the sum of products in whole numbers is exact; it is turned to float32, and a fused multiply-add adds it times
(weight's scale times row's scale); where weights have offsets, another adds the offset times (row's scale times the sum
of its numbers). Where half groups have scales, the first half comes first.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from decoding.models.cpu.integer_dots import Path, Sums, start
from decoding.models.cpu.quantized_forms import LINE_BYTES, PANEL, STEP, STEPS, Form, Scales
from decoding.models.cpu.quantized_rows import GROUP, LESS_LOW_SUM, LESS_SUM, RECORD_BYTES, SCALE, SCALED_SUM
from decoding.models.cpu.simd import (
    FLOAT,
    INT8,
    INT16,
    INT32,
    INT64,
    Loop,
    broadcast,
    call_vector,
    load,
    splat,
    store,
    vector_of,
)

AHEAD_BYTES = 8192  # measured: 2048 costs a fifth with 4 rows, and nothing is won behind 8192 (Zen 4)
_HALF = ir.HalfType()


@dataclass(frozen=True, slots=True)
class Operands:
    """The addresses of a tile's numbers; the stride is in bytes. `out` is float32, 16 outputs side by side."""

    x: ir.Value
    x_stride: ir.Value
    records: ir.Value  # of the first row
    values: ir.Value
    scales: ir.Value
    groups: ir.Value
    out: ir.Value
    out_stride: ir.Value


def tile(builder: ir.IRBuilder, path: Path, form: Form, rows: int, operands: Operands) -> None:
    """Compute so many rows times a panel.

    Several panels at once were slower: a processor reads one stream fastest, and it works on several groups anyway.
    """
    work = _Tile(builder, path, form, rows, operands)
    loop = Loop(builder, operands.groups, [splat(FLOAT, 0.0, PANEL)] * rows)
    totals = work.add_group(loop.index, loop.carried)
    loop.close(totals)
    for row, total in enumerate(totals):
        store(builder, total, operands.out, builder.mul(operands.out_stride, INT64(row)))


class _Tile:
    """The values that the parts of a group's code share."""

    def __init__(self, builder: ir.IRBuilder, path: Path, form: Form, rows: int, operands: Operands) -> None:
        self._builder, self._path, self._form, self._operands = builder, path, form, operands
        self._bias = form.bias - path.bias(form.bits)
        strides = [builder.mul(operands.x_stride, INT64(row)) for row in range(rows)]
        self._x = [builder.add(operands.x, stride) for stride in strides]
        self._records = [builder.add(operands.records, stride) for stride in strides]

    def add_group(self, group: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
        """Return the rows' totals with one more group."""
        builder, form = self._builder, self._form
        x = [builder.add(row, builder.mul(group, INT64(GROUP))) for row in self._x]
        records = [builder.add(row, builder.mul(group, INT64(RECORD_BYTES))) for row in self._records]
        values = _Values(builder, form, builder.add(self._operands.values, builder.mul(group, INT64(form.group_bytes))))
        scales = _Scales(builder, form, self._operands.scales, group, reads_halves=self._path.reads_halves)
        if form.scales == Scales.HALF_GROUPS:
            low = [self._less(record, LESS_LOW_SUM) for record in records]
            high = [builder.sub(self._less(record, LESS_SUM), part) for record, part in zip(records, low, strict=True)]
            parts = [(low, range(STEPS // 2)), (high, range(STEPS // 2, STEPS))]
        else:
            parts = [([self._less(record, LESS_SUM) for record in records], range(STEPS))]
        for part, (less, numbers) in enumerate(parts):
            sums = self._dots(x, values, less, numbers)
            totals = self._scaled(sums, scales.scale(part), records, totals)
        if form.has_offsets:
            offset = scales.offset()
            factors = [self._of_record(record, SCALED_SUM) for record in records]
            pairs = zip(factors, totals, strict=True)
            totals = [call_vector(builder, "fma", offset, factor, total) for factor, total in pairs]
        return totals

    def _less(self, record: ir.Value, offset: int) -> ir.Value:
        """Return the start of a sum, by which the bias is subtracted from every weight."""
        if not self._bias:
            return splat(INT32, 0, PANEL)
        less = load(self._builder, record, INT64(offset), INT32)
        return broadcast(self._builder, self._builder.mul(less, INT32(self._bias)), PANEL)

    def _of_record(self, record: ir.Value, offset: int) -> ir.Value:
        return broadcast(self._builder, load(self._builder, record, INT64(offset), FLOAT), PANEL)

    def _dots(self, x: list[ir.Value], values: _Values, less: list[ir.Value], numbers: range) -> list[ir.Value]:
        builder, path, bits = self._builder, self._path, self._form.bits
        sums: list[Sums] = [start(builder, path, first) for first in less]
        for number in numbers:
            weights = path.weights(builder, values.step(number), bits)
            for row, address in enumerate(x):
                inputs = load(builder, address, INT64(number * STEP), INT32)
                sums[row] = path.add(builder, sums[row], weights, inputs, bits)
        return [path.totals(builder, one) for one in sums]

    def _scaled(
        self, sums: list[ir.Value], scale: ir.Value, records: list[ir.Value], totals: list[ir.Value]
    ) -> list[ir.Value]:
        builder, results = self._builder, []
        for whole, record, total in zip(sums, records, totals, strict=True):
            factor = builder.fmul(scale, self._of_record(record, SCALE))
            results.append(call_vector(builder, "fma", builder.sitofp(whole, factor.type), factor, total))
        return results


class _Values:
    """A panel's values of a group, unpacked step by step."""

    def __init__(self, builder: ir.IRBuilder, form: Form, address: ir.Value) -> None:
        self._builder, self._bits, self._address = builder, form.bits, address
        self._lines: dict[int, ir.Value] = {}

    def step(self, number: int) -> ir.Value:
        """Return 64 bytes, 16 outputs times 4 inputs, none of them negative."""
        builder = self._builder
        if self._bits == 8:
            return self._line(number)
        line = self._line(number // 2)
        low = self._masked(self._shifted(line, 4 * (number % 2)), 0x0F)
        if self._bits == 4:
            return low
        if self._bits == 5:
            high = self._masked(self._shifted(self._line(STEPS // 2), number - 4), 0x10)
        else:
            high = self._masked(self._shifted(self._line(STEPS // 2 + number // 4), 2 * (number % 4) - 4), 0x30)
        return builder.or_(low, high)

    def _line(self, number: int) -> ir.Value:
        if number not in self._lines:
            offset = INT64(number * LINE_BYTES)
            self._lines[number] = load(self._builder, self._address, offset, vector_of(INT8, LINE_BYTES))
            _fetch(self._builder, self._builder.add(self._address, INT64(number * LINE_BYTES + AHEAD_BYTES)))
        return self._lines[number]

    def _shifted(self, line: ir.Value, right: int) -> ir.Value:
        """Shift a line to the right; words are shifted, not bytes, so a mask must remove the neighbours' bits."""
        builder = self._builder
        if not right:
            return line
        words = builder.bitcast(line, vector_of(INT16, LINE_BYTES // 2))
        by = splat(INT16, abs(right), LINE_BYTES // 2)
        words = builder.lshr(words, by) if right > 0 else builder.shl(words, by)
        return builder.bitcast(words, line.type)

    def _masked(self, line: ir.Value, mask: int) -> ir.Value:
        return self._builder.and_(line, splat(INT8, mask, LINE_BYTES))


class _Scales:
    """A panel's scales and offsets of a group, as float32 and exact."""

    def __init__(
        self, builder: ir.IRBuilder, form: Form, panel: ir.Value, group: ir.Value, *, reads_halves: bool
    ) -> None:
        self._builder, self._form, self._reads_halves = builder, form, reads_halves
        if form.span_groups == 1:
            self._address = self._shared = builder.add(panel, builder.mul(group, INT64(form.span_bytes)))
            return
        span = builder.lshr(group, INT64(form.span_groups.bit_length() - 1))
        within = builder.and_(group, INT64(form.span_groups - 1))
        first = builder.add(panel, builder.mul(span, INT64(form.span_bytes)))
        self._address = builder.add(first, builder.mul(within, INT64(2 * PANEL)))
        self._shared = builder.add(first, INT64(form.span_groups * 2 * PANEL))

    def scale(self, part: int) -> ir.Value:
        """Return the scale of the group, or of its first or second half."""
        scale = self._halves(0)
        return scale if self._form.span_groups == 1 else self._builder.fmul(scale, self._factors(part))

    def offset(self) -> ir.Value:
        """Return the offset of the group."""
        offset = self._halves(2 * PANEL)
        return offset if self._form.span_groups == 1 else self._builder.fmul(offset, self._factors(1))

    def _halves(self, offset: int) -> ir.Value:
        builder = self._builder
        halves = load(builder, self._shared, INT64(offset), vector_of(INT16, PANEL))
        if self._reads_halves:
            return builder.fpext(builder.bitcast(halves, vector_of(_HALF, PANEL)), vector_of(FLOAT, PANEL))
        return widened_halves(builder, halves)

    def _factors(self, part: int) -> ir.Value:
        builder = self._builder
        factors = load(builder, self._address, INT64(part * PANEL), vector_of(INT8, PANEL))
        return builder.sitofp(builder.sext(factors, vector_of(INT32, PANEL)), vector_of(FLOAT, PANEL))


def widened_halves(builder: ir.IRBuilder, halves: ir.Value) -> ir.Value:
    """Finite numbers of half precision, as words of 16 bits, as float32: without an instruction made for it.

    Exponent and fraction go to the places of float32's, whose exponents are counted from elsewhere.
    """
    lanes = halves.type.count
    words = builder.zext(halves, vector_of(INT32, lanes))
    size = builder.shl(builder.and_(words, splat(INT32, 0x7FFF, lanes)), splat(INT32, 13, lanes))
    size = builder.fmul(builder.bitcast(size, vector_of(FLOAT, lanes)), splat(FLOAT, 2.0**112, lanes))
    sign = builder.shl(builder.and_(words, splat(INT32, 0x8000, lanes)), splat(INT32, 16, lanes))
    return builder.bitcast(builder.or_(builder.bitcast(size, sign.type), sign), size.type)


def _fetch(builder: ir.IRBuilder, address: ir.Value) -> None:
    """Prefetch the memory at an address."""
    pointer = INT8.as_pointer()
    name = "llvm.prefetch.p0"
    function = builder.module.globals.get(name) or ir.Function(
        builder.module, ir.FunctionType(ir.VoidType(), [pointer, INT32, INT32, INT32]), name
    )
    builder.call(function, [builder.inttoptr(address, pointer), INT32(0), INT32(2), INT32(1)])
