"""Gives numba, as functions that it compiles in place, what it lacks: vector code, memory by address, atomic counters.

Addresses are plain integers, strides are in bytes. Knows neither models nor threads.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from decoding.models.cpu.bf16_dot import add_products
from decoding.models.cpu.simd import (
    FLOAT,
    INT32,
    INT64,
    LANES,
    MAX_PANELS,
    MAX_ROWS,
    PAIRS,
    PANELS_FOR,
    STORED,
    Loop,
    as_float,
    broadcast,
    call_vector,
    exp,
    horizontal,
    load,
    maximum,
    splat,
    store,
    vector_of,
)


@intrinsic(prefer_literal=True)
def multiply_tile(_typing, kind, rows, panels, x, x_stride, w, depth_stride, panel_stride, depth, out, out_stride):
    """Multiply matrices that are small enough for the registers.

    For each row r, panel p and lane n it stores the sum over k of x[r, k] * w[p, k, n] to out[r, p * LANES + n], one
    fused multiply-add after the other in the order of k. x and out are float32, strides are in bytes; `rows` is at most
    `MAX_ROWS`, `panels` is 1 or `PANELS_FOR[rows]`. Where weights are pairs, so is x, and `depth` counts them. `kind`
    is a constant, since the code of each kind takes long to compile.
    """
    if not isinstance(kind, types.IntegerLiteral):
        return None
    stored = kind.literal_value

    def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        _, rows, panels, *rest = arguments
        key = builder.add(builder.mul(rows, INT64(MAX_PANELS + 1)), panels)
        end = builder.append_basic_block("tile_done")
        nothing = builder.append_basic_block("no_tile")
        switch = builder.switch(key, nothing)
        for rows in range(1, MAX_ROWS + 1):
            for panels in {1, PANELS_FOR[rows]}:
                block = builder.append_basic_block(f"tile_{rows}_{panels}")
                switch.add_case(INT64(rows * (MAX_PANELS + 1) + panels), block)
                builder.position_at_end(block)
                _tile(builder, stored, rows, panels, *rest)
                builder.branch(end)
        builder.position_at_end(nothing)
        builder.unreachable()
        builder.position_at_end(end)
        return context.get_dummy_value()

    return types.void(kind, *[types.intp] * 10), codegen


def _tile(
    builder: ir.IRBuilder,
    kind: int,
    rows: int,
    panels: int,
    x: ir.Value,
    x_stride: ir.Value,
    w: ir.Value,
    depth_stride: ir.Value,
    panel_stride: ir.Value,
    depth: ir.Value,
    out: ir.Value,
    out_stride: ir.Value,
) -> None:
    x_rows = [builder.add(x, builder.mul(x_stride, INT64(row))) for row in range(rows)]
    w_panels = [builder.add(w, builder.mul(panel_stride, INT64(panel))) for panel in range(panels)]
    loop = Loop(builder, depth, [splat(FLOAT, 0.0)] * (rows * panels))
    w_offset, x_offset = builder.mul(loop.index, depth_stride), builder.mul(loop.index, INT64(4))
    if kind == PAIRS:
        add, weights = add_products, [load(builder, panel, w_offset, vector_of(FLOAT)) for panel in w_panels]
    else:
        add, stored = _multiply_add, vector_of(STORED[kind])
        weights = [as_float(builder, load(builder, panel, w_offset, stored), kind) for panel in w_panels]
    sums = []
    for row in range(rows):
        factor = broadcast(builder, load(builder, x_rows[row], x_offset, FLOAT))
        before = loop.carried[row * panels : (row + 1) * panels]
        sums += [add(builder, factor, weights[panel], before[panel]) for panel in range(panels)]
    loop.close(sums)
    for row in range(rows):
        for panel in range(panels):
            offset = builder.add(builder.mul(out_stride, INT64(row)), INT64(panel * LANES * 4))
            store(builder, sums[row * panels + panel], out, offset)


def _multiply_add(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, total: ir.Value) -> ir.Value:
    return call_vector(builder, "fma", a, b, total)


@intrinsic
def sum_of_squares(_typing, x, num_vectors):
    """Return the sum of squares of `num_vectors` times `LANES` float32 at address x, at least one vector."""

    def codegen(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        x, num_vectors = arguments
        loop = Loop(builder, num_vectors, [splat(FLOAT, 0.0)])
        values = load(builder, x, builder.mul(loop.index, INT64(LANES * 4)), vector_of(FLOAT))
        total = call_vector(builder, "fma", values, values, loop.carried[0])
        loop.close([total])
        return horizontal(builder, total, builder.fadd)

    return types.float32(types.intp, types.intp), codegen


@intrinsic
def largest(_typing, x, num_vectors):
    """Return the largest of `num_vectors` times `LANES` float32 at address x, at least one vector."""

    def codegen(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        x, num_vectors = arguments
        loop = Loop(builder, num_vectors, [splat(FLOAT, float("-inf"))])
        values = load(builder, x, builder.mul(loop.index, INT64(LANES * 4)), vector_of(FLOAT))
        best = maximum(builder, values, loop.carried[0])
        loop.close([best])
        return horizontal(builder, best, lambda a, b: maximum(builder, a, b))

    return types.float32(types.intp, types.intp), codegen


@intrinsic
def exponentiate(_typing, x, num_vectors, shift):
    """Replace `num_vectors` times `LANES` float32 at address x by exp(x - shift); return their sum."""

    def codegen(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        x, num_vectors, shift = arguments
        shifts = broadcast(builder, shift)
        loop = Loop(builder, num_vectors, [splat(FLOAT, 0.0)])
        offset = builder.mul(loop.index, INT64(LANES * 4))
        values = exp(builder, builder.fsub(load(builder, x, offset, vector_of(FLOAT)), shifts))
        store(builder, values, x, offset)
        total = builder.fadd(loop.carried[0], values)
        loop.close([total])
        return horizontal(builder, total, builder.fadd)

    return types.float32(types.intp, types.intp, types.float32), codegen


@intrinsic
def gated(_typing, gate, up, out):
    """Compute a vector of SwiGLU, gate / (1 + exp(-gate)) * up (Shazeer 2020, https://arxiv.org/abs/2002.05202)."""

    def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        gate, up, out = arguments
        gates, ups = (load(builder, address, INT64(0), vector_of(FLOAT)) for address in (gate, up))
        negative = builder.fsub(splat(FLOAT, -0.0), gates)
        denominator = builder.fadd(splat(FLOAT, 1.0), exp(builder, negative))
        store(builder, builder.fmul(builder.fdiv(gates, denominator), ups), out, INT64(0))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 3), codegen


@intrinsic
def read_weight(_typing, address, kind):
    """Read one stored weight as float32."""

    def codegen(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        address, kind = arguments
        result = builder.alloca(FLOAT)
        switch_end = builder.append_basic_block("read")
        cases = [builder.append_basic_block(f"kind{i}") for i in range(len(STORED))]
        switch = builder.switch(kind, cases[0])
        for i, block in enumerate(cases):
            if i:
                switch.add_case(INT64(i), block)
            builder.position_at_end(block)
            builder.store(as_float(builder, load(builder, address, INT64(0), STORED[i]), i), result)
            builder.branch(switch_end)
        builder.position_at_end(switch_end)
        return builder.load(result)

    return types.float32(types.intp, types.intp), codegen


@intrinsic
def read_float(_typing, address):
    """Read the float32 at an address."""

    def codegen(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        return load(builder, arguments[0], INT64(0), FLOAT)

    return types.float32(types.intp), codegen


@intrinsic
def read_int(_typing, address):
    """Read the int64 at an address."""

    def codegen(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        return load(builder, arguments[0], INT64(0), INT64)

    return types.intp(types.intp), codegen


@intrinsic
def write_float(_typing, address, value):
    """Write a float32 to an address."""

    def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        store(builder, arguments[1], arguments[0], INT64(0))
        return context.get_dummy_value()

    return types.void(types.intp, types.float32), codegen


@intrinsic
def atomic_add(_typing, address, value):
    """Add to the int64 at an address, seen by all threads at once; return its old value."""

    def codegen(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        pointer = builder.inttoptr(arguments[0], INT64.as_pointer())
        return builder.atomic_rmw("add", pointer, arguments[1], "seq_cst")

    return types.intp(types.intp, types.intp), codegen


@intrinsic
def atomic_read(_typing, address):
    """Read the int64 at an address as other threads have left it."""

    def codegen(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        return builder.load_atomic(builder.inttoptr(arguments[0], INT64.as_pointer()), "seq_cst", 8)

    return types.intp(types.intp), codegen


@intrinsic
def give_way(_typing, function):
    """Let another thread run: call the operating system's function without arguments at an address."""

    def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        builder.call(builder.inttoptr(arguments[0], ir.FunctionType(INT32, []).as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.intp), codegen


@intrinsic
def call_matmul(_typing, function, a, b, c, d, e, f, g, h, i, j):
    """Call the compiled function of ten integers at an address.

    The compiler can't see into it, which keeps large code from being compiled anew into each of its callers.
    """

    def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        function, *rest = arguments
        kind = ir.FunctionType(ir.VoidType(), [INT64] * len(rest))
        builder.call(builder.inttoptr(function, kind.as_pointer()), rest)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 11), codegen
