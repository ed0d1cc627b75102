"""Multiplies rounded rows with quantised weights: compiled functions by kind of weights and path."""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from decoding.models.cpu import integer_dots
from decoding.models.cpu.compiling import compiled_at_once
from decoding.models.cpu.integer_dots import PATHS
from decoding.models.cpu.quantized_forms import FORMS, PANEL
from decoding.models.cpu.quantized_rows import GROUP
from decoding.models.cpu.quantized_tile import Operands, tile
from decoding.models.cpu.simd import INT64

_NAMES = tuple(PATHS)
PANELS_AT_ONCE = 4  # chosen: all rows are multiplied with so many before the next, to read them from memory once


@intrinsic(prefer_literal=True)
def multiply_quantized_tile(
    _typing, kind, path, rows, x, x_stride, records, values, scales, groups, out, out_stride
):  # fmt: skip
    """Compute the tile of quantized_tile.py; kind and path are constants, and the path takes so many rows."""
    if not isinstance(kind, types.IntegerLiteral) or not isinstance(path, types.IntegerLiteral):
        return None
    form, by = FORMS[kind.literal_value], PATHS[_NAMES[path.literal_value]]

    def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        _, _, rows, *rest = arguments
        end, nothing = builder.append_basic_block("tile_done"), builder.append_basic_block("no_tile")
        switch = builder.switch(rows, nothing)
        for num_rows in range(1, by.max_rows + 1):
            block = builder.append_basic_block(f"tile_{num_rows}")
            switch.add_case(INT64(num_rows), block)
            builder.position_at_end(block)
            tile(builder, by, form, num_rows, Operands(*rest))
            builder.branch(end)
        builder.position_at_end(nothing)
        builder.unreachable()
        builder.position_at_end(end)
        return context.get_dummy_value()

    return types.void(kind, path, *[types.intp] * 9), codegen


def multiply_address(kind: int) -> int:
    """Return the address of the function that multiplies with weights of a kind, by this processor's best path."""
    return address_by(kind, integer_dots.HERE[0])


@cache
def address_by(kind: int, path_name: str) -> int:
    """Return the address of the function for a kind and a path; it is compiled at first use.

    The function takes rounded rows: (x, x_stride, num_rows, values, scales, inputs, num_panels, out, out_stride, 0).
    """
    form, path = FORMS[kind], _NAMES.index(path_name)
    max_rows = PATHS[path_name].max_rows
    group_bytes, span_groups, span_bytes = form.group_bytes, form.span_groups, form.span_bytes

    @compiled_at_once(10)
    def multiply(x, x_stride, num_rows, values, scales, inputs, num_panels, out, out_stride, _unused):
        """Compute out (num_rows, num_panels * 16) = rounded rows times that many panels."""
        groups = inputs // GROUP
        values_stride, scales_stride = groups * group_bytes, groups // span_groups * span_bytes
        num_tiles = (num_rows + max_rows - 1) // max_rows
        for first in range(0, num_panels, PANELS_AT_ONCE):
            count = min(PANELS_AT_ONCE, num_panels - first)
            row = 0
            for number in range(num_tiles):
                # Tiles have about equally many rows: 9 become 5 and 4 rather than 8 and 1.
                rows = (num_rows - row + num_tiles - number - 1) // (num_tiles - number)
                for panel in range(first, first + count):
                    multiply_quantized_tile(
                        kind, path, rows, x + row * x_stride, x_stride, x + row * x_stride + inputs,
                        values + panel * values_stride, scales + panel * scales_stride, groups,
                        out + row * out_stride + panel * PANEL * 4, out_stride,
                    )  # fmt: skip
                row += rows

    return multiply
