"""Gives numba loops over vectors of float32: numba alone computes number by number, since addresses may overlap."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from decoding.models.cpu.simd import FLOAT, INT64, LANES, Loop, broadcast, load, store, vector_of


@intrinsic
def add_to(_typing, target, source, num_vectors):
    """Add `num_vectors` times `LANES` float32 at address source to those at target, at least one vector."""

    def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        target, source, num_vectors = arguments
        loop = Loop(builder, num_vectors, [])
        offset = builder.mul(loop.index, INT64(LANES * 4))
        values, others = (load(builder, address, offset, vector_of(FLOAT)) for address in (target, source))
        store(builder, builder.fadd(values, others), target, offset)
        loop.close([])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 3), codegen


@intrinsic
def scale_by(_typing, x, scale, weights, out, num_vectors):
    """Write x times a scale times weights, `num_vectors` times `LANES` float32, to out, at least one vector."""

    def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        x, scale, weights, out, num_vectors = arguments
        scales = broadcast(builder, scale)
        loop = Loop(builder, num_vectors, [])
        offset = builder.mul(loop.index, INT64(LANES * 4))
        values, by = (load(builder, address, offset, vector_of(FLOAT)) for address in (x, weights))
        store(builder, builder.fmul(builder.fmul(values, scales), by), out, offset)
        loop.close([])
        return context.get_dummy_value()

    return types.void(types.intp, types.float32, *[types.intp] * 3), codegen
