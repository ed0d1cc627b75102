"""Builds the CPU kernels' vector code from instructions of LLVM.

numba alone keeps no sums in registers. Nothing here may be reassociated: each number is one fixed chain of operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir

FLOAT, INT8, INT16, INT32, INT64 = ir.FloatType(), ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)

# The kinds of stored weights. Each stored number is exact in float32.
# Pairs are bfloat16, two inputs of an output side by side, as the processor's dot product of such pairs takes them.
FLOAT32, BFLOAT16, PAIRS = range(3)
ITEM_BYTES = (4, 2, 2)
AT_ONCE = (1, 1, 2)  # inputs of an output side by side
STORED = (FLOAT, INT16, INT16)

_FEATURES = llvm.get_host_cpu_features()
_HAS_AVX512 = bool(_FEATURES.get("avx512f"))
# If numba is told to compile for another processor than this one, or without AVX, LLVM would abort the process at the
# instructions that are missing then.
_config: Any = numba.config
IS_HOST = bool(not (_config.CPU_NAME or _config.CPU_FEATURES) and _config.ENABLE_AVX)
HAS_PAIRS = bool(_FEATURES.get("avx512bf16")) and _HAS_AVX512 and IS_HOST and llvm.llvm_version_info[0] >= 16
# Outputs that are computed side by side. Wide registers are also more: eight rows of 32 sums fit into AVX-512's.
LANES = 32 if _HAS_AVX512 else 16
MAX_ROWS = 8 if _HAS_AVX512 else 4
# How many panels of LANES outputs a tile of so many rows computes at once: as many as the registers hold.
PANELS_FOR = (0, 4, 4, 2, 2, 1, 1, 1, 1) if _HAS_AVX512 else (0, 4, 2, 1, 1)
MAX_PANELS = max(PANELS_FOR)


def vector_of(kind: ir.Type, lanes: int = LANES) -> ir.VectorType:
    """Return the type of a vector of so many numbers."""
    return ir.VectorType(kind, lanes)


def splat(kind: ir.Type, value: float, lanes: int = LANES) -> ir.Constant:
    """Return a constant vector, all lanes alike."""
    return ir.Constant(vector_of(kind, lanes), [value] * lanes)


def at(builder: ir.IRBuilder, address: ir.Value, offset_bytes: ir.Value, kind: ir.Type) -> ir.Value:
    """Return a pointer to an address plus an offset."""
    return builder.inttoptr(builder.add(address, offset_bytes), kind.as_pointer())


def call_vector(builder: ir.IRBuilder, name: str, *arguments: ir.Value) -> ir.Value:
    """Call a vector intrinsic of LLVM, all of whose arguments and result have one type."""
    kind = arguments[0].type
    full_name = f"llvm.{name}.v{kind.count}f32"
    function = builder.module.globals.get(full_name) or ir.Function(
        builder.module, ir.FunctionType(kind, [kind] * len(arguments)), full_name
    )
    return builder.call(function, arguments)


def broadcast(builder: ir.IRBuilder, value: ir.Value, lanes: int = LANES) -> ir.Value:
    """Return a vector of one number in all lanes."""
    undefined = ir.Constant(vector_of(value.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, INT32(0))
    return builder.shuffle_vector(first, undefined, splat(INT32, 0, lanes))


def as_float(builder: ir.IRBuilder, stored: ir.Value, kind: int) -> ir.Value:
    """Return stored weights (a vector or one) as float32, exactly."""
    lanes = stored.type.count if isinstance(stored.type, ir.VectorType) else 0

    def like(scalar: ir.Type) -> ir.Type:
        return vector_of(scalar, lanes) if lanes else scalar

    if kind in (BFLOAT16, PAIRS):
        high_half = splat(INT32, 16, lanes) if lanes else INT32(16)
        return builder.bitcast(builder.shl(builder.zext(stored, like(INT32)), high_half), like(FLOAT))
    return stored


class Loop:
    """A counted loop under construction: `index` goes up from 0 while it is below `count`, which is at least 1."""

    def __init__(self, builder: ir.IRBuilder, count: ir.Value, start: list[ir.Value]) -> None:
        self._builder, self._count = builder, count
        entry = builder.block
        self._body = builder.append_basic_block("body")
        builder.branch(self._body)
        builder.position_at_end(self._body)
        self.index = builder.phi(INT64)
        self.index.add_incoming(INT64(0), entry)
        self.carried = [builder.phi(value.type) for value in start]
        for phi, value in zip(self.carried, start, strict=True):
            phi.add_incoming(value, entry)

    def close(self, results: list[ir.Value]) -> None:
        """End the body with the values that it carries on; the builder then stands behind the loop."""
        builder = self._builder
        following = builder.add(self.index, INT64(1))
        self.index.add_incoming(following, builder.block)
        for phi, value in zip(self.carried, results, strict=True):
            phi.add_incoming(value, builder.block)
        after = builder.append_basic_block("after")
        builder.cbranch(builder.icmp_signed("<", following, self._count), self._body, after)
        builder.position_at_end(after)


def load(builder: ir.IRBuilder, address: ir.Value, offset: ir.Value, kind: ir.Type) -> ir.Value:
    """Read from an address that need not be aligned."""
    return builder.load(at(builder, address, offset, kind), align=1)


def store(builder: ir.IRBuilder, value: ir.Value, address: ir.Value, offset: ir.Value) -> None:
    """Write to an address that need not be aligned."""
    builder.store(value, at(builder, address, offset, value.type), align=4)


def maximum(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """Return the larger value of each lane."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def horizontal(builder: ir.IRBuilder, vector: ir.Value, join: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
    """Join a vector's lanes to one number, halves onto halves."""
    lanes = vector.type.count
    while lanes > 1:
        lanes //= 2
        undefined = ir.Constant(vector.type, ir.Undefined)
        halves = [
            builder.shuffle_vector(vector, undefined, ir.Constant(vector_of(INT32, lanes), list(chosen)))
            for chosen in (range(lanes), range(lanes, 2 * lanes))
        ]
        vector = join(*halves)
    return builder.extract_element(vector, INT32(0))


# exp(x) = 2^n * exp(r), r in half a ln 2 around 0: Taylor's polynomial to the seventh power errs by less than 2^-24.
_LOG2_E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 0.693145751953125, 1.428606765330187e-06
_TAYLOR = (1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0)
_ROUNDER = 12582912.0  # 1.5 * 2^23: added and taken away again it rounds to a whole number
_LOWEST, _HIGHEST = -87.0, 88.0


def exp(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Return e^x of each lane within 2 units in the last place; below -87 exactly 0, above 88 as for 88."""
    bounded = maximum(builder, x, splat(FLOAT, _LOWEST))
    bounded = builder.select(
        builder.fcmp_ordered("<", bounded, splat(FLOAT, _HIGHEST)), bounded, splat(FLOAT, _HIGHEST)
    )
    rounder = splat(FLOAT, _ROUNDER)
    shifted = call_vector(builder, "fma", bounded, splat(FLOAT, _LOG2_E), rounder)
    power = builder.fsub(shifted, rounder)
    rest = call_vector(builder, "fma", power, splat(FLOAT, -_LN2_HIGH), bounded)
    rest = call_vector(builder, "fma", power, splat(FLOAT, -_LN2_LOW), rest)
    value = splat(FLOAT, _TAYLOR[0])
    for coefficient in _TAYLOR[1:]:
        value = call_vector(builder, "fma", value, rest, splat(FLOAT, coefficient))
    exponent = builder.shl(builder.add(builder.fptosi(power, vector_of(INT32)), splat(INT32, 127)), splat(INT32, 23))
    scaled = builder.fmul(value, builder.bitcast(exponent, vector_of(FLOAT)))
    return builder.select(builder.fcmp_ordered("<", x, splat(FLOAT, _LOWEST)), splat(FLOAT, 0.0), scaled)
