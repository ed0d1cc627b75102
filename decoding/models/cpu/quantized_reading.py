"""Reads single rows of a matrix that lies in quantised panels: the embeddings of tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from decoding.models.cpu.compiling import compiled
from decoding.models.cpu.intrinsics import write_float
from decoding.models.cpu.quantized_forms import FIRST_KIND, FORMS, LINE_BYTES, PANEL, STEP, STEPS, Scales
from decoding.models.cpu.quantized_rows import GROUP
from decoding.models.cpu.quantized_tile import widened_halves
from decoding.models.cpu.simd import INT8, INT16, INT32, INT64, load, vector_of

# These tables are indexed by kind, for compiled code.
_BITS = tuple(form.bits for form in FORMS.values())
_BIASES = tuple(form.bias for form in FORMS.values())
_SPAN_GROUPS = tuple(form.span_groups for form in FORMS.values())
_SPAN_BYTES = tuple(form.span_bytes for form in FORMS.values())
_HAS_OFFSETS = tuple(form.has_offsets for form in FORMS.values())
_HALF_GROUPS = tuple(form.scales == Scales.HALF_GROUPS for form in FORMS.values())


@intrinsic
def read_byte(_typing, address):
    """Read the unsigned byte at an address."""

    def codegen(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        return builder.zext(load(builder, arguments[0], INT64(0), INT8), INT64)

    return types.intp(types.intp), codegen


@intrinsic
def read_half(_typing, address):
    """Read the finite half-precision number at an address, as float32."""

    def codegen(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        half = load(builder, arguments[0], INT64(0), vector_of(INT16, 1))
        return builder.extract_element(widened_halves(builder, half), INT32(0))

    return types.float32(types.intp), codegen


@compiled
def value_of(bits, group, lane, number):
    """Return the stored value of an input of an output, from a group's lines at an address."""
    step, place = number // STEP, lane * STEP + number % STEP
    if bits == 8:
        return read_byte(group + step * LINE_BYTES + place)
    value = read_byte(group + step // 2 * LINE_BYTES + place) >> 4 * (step % 2) & 15
    above = group + STEPS // 2 * LINE_BYTES + place
    if bits == 5:
        value |= (read_byte(above) >> step & 1) << 4
    if bits == 6:
        value |= (read_byte(above + step // 4 * LINE_BYTES) >> 2 * (step % 4) & 3) << 4
    return value


@compiled
def factor_of(address):
    """Return the signed byte at an address as float32."""
    value = read_byte(address)
    return np.float32(value - 256 if value > 127 else value)


@compiled
def widen_row(kind, values, scales, inputs, output, target):
    """Write an output's weights as float32 to `target`: exactly the numbers that its blocks stand for."""
    kind -= FIRST_KIND
    bits, span_groups, span_bytes = _BITS[kind], _SPAN_GROUPS[kind], _SPAN_BYTES[kind]
    groups, lane = inputs // GROUP, output % PANEL
    values += output // PANEL * groups * LINE_BYTES * bits
    scales += output // PANEL * (groups // span_groups) * span_bytes
    for group in range(groups):
        span = scales + group // span_groups * span_bytes
        factors = span + group % span_groups * 2 * PANEL + lane
        halves = span + 2 * lane
        if span_groups > 1:
            halves += span_groups * 2 * PANEL
        scale, offset = read_half(halves), np.float32(0.0)
        if _HAS_OFFSETS[kind]:
            offset = read_half(halves + 2 * PANEL)
        if span_groups > 1 and not _HALF_GROUPS[kind]:
            scale, offset = scale * factor_of(factors), offset * factor_of(factors + PANEL)
        for number in range(GROUP):
            value = np.float32(value_of(bits, values + group * LINE_BYTES * bits, lane, number) - _BIASES[kind])
            by = scale
            if _HALF_GROUPS[kind]:
                by *= factor_of(factors + number // (GROUP // 2) * PANEL)
            write_float(target + 4 * (group * GROUP + number), value * by + offset)
