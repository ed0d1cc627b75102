"""Multiplies pairs of bfloat16 by the processor's own instructions (AVX-512 BF16), twice as many a cycle as of float32.

Inputs are rounded to bfloat16, as the weights are; sums stay float32. Only where `HAS_PAIRS` says so.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from decoding.models.cpu.bytes_in_memory import read_word
from decoding.models.cpu.compiling import compiled
from decoding.models.cpu.simd import FLOAT, HAS_PAIRS, INT16, INT32, INT64, LANES, Loop, load, store, vector_of


class _BFloat(ir.Type):  # type: ignore[misc]
    """LLVM's own bfloat16, which llvmlite doesn't name."""

    def _to_string(self) -> str:
        return "bfloat"


REGISTER = 16  # float32 of the widest register
_FLOATS = vector_of(FLOAT, REGISTER)
_NARROW, _PAIRS = ir.VectorType(_BFloat(), REGISTER), ir.VectorType(_BFloat(), 2 * REGISTER)


def add_products(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, total: ir.Value) -> ir.Value:
    """Return, lane by lane, the total plus the two products of the pairs that a and b hold (VDPBF16PS)."""
    function = _declared(builder, "dpbf16ps", _FLOATS, [_FLOATS, _PAIRS, _PAIRS])
    sums = [
        builder.call(function, [before, builder.bitcast(left, _PAIRS), builder.bitcast(right, _PAIRS)])
        for before, left, right in zip(*(_halves(builder, vector) for vector in (total, a, b)), strict=True)
    ]
    return builder.shuffle_vector(*sums, ir.Constant(vector_of(INT32), list(range(LANES))))


@intrinsic
def round_to_pairs(_typing, x, num_vectors, out):
    """Write `num_vectors` times `LANES` float32 at address x to `out` as bfloat16, at least one vector."""

    def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        x, num_vectors, out = arguments
        if HAS_PAIRS:
            function = _declared(builder, "cvtneps2bf16", _NARROW, [_FLOATS])
            loop = Loop(builder, num_vectors, [])
            values = load(builder, x, builder.mul(loop.index, INT64(LANES * 4)), vector_of(FLOAT))
            offset = builder.mul(loop.index, INT64(LANES * 2))
            for half in _halves(builder, values):
                store(builder, builder.bitcast(builder.call(function, [half]), vector_of(INT16, REGISTER)), out, offset)
                offset = builder.add(offset, INT64(REGISTER * 2))
            loop.close([])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 3), codegen


@compiled
def read_rounded(address):
    """Return the bits of the float32 at an address rounded to bfloat16, halves to even."""
    bits = read_word(address)
    if bits & 0x7FFFFFFF > 0x7F800000:
        return bits >> 16 | 0x40  # still not a number
    return bits + 0x7FFF + (bits >> 16 & 1) >> 16


def _halves(builder: ir.IRBuilder, vector: ir.Value) -> list[ir.Value]:
    undefined = ir.Constant(vector.type, ir.Undefined)
    chosen = (range(REGISTER), range(REGISTER, 2 * REGISTER))
    masks = [ir.Constant(vector_of(INT32, REGISTER), list(lanes)) for lanes in chosen]
    return [builder.shuffle_vector(vector, undefined, mask) for mask in masks]


def _declared(builder: ir.IRBuilder, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Value:
    name = f"llvm.x86.avx512bf16.{name}.512"
    return builder.module.globals.get(name) or ir.Function(builder.module, ir.FunctionType(result, arguments), name)
