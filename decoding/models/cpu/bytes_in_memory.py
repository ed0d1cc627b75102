"""Reads and writes whole numbers of one to eight bytes by address, for compiled code; but for eight, without a sign."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from decoding.models.cpu.simd import INT8, INT16, INT32, INT64, at, load


def _reader(kind: ir.Type) -> Any:
    def read(_typing: Any, address: Any) -> Any:
        def codegen(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
            value = load(builder, arguments[0], INT64(0), kind)
            return value if kind == INT64 else builder.zext(value, INT64)

        return types.intp(types.intp), codegen

    return intrinsic(read)


def _writer(kind: ir.Type) -> Any:
    def write(_typing: Any, address: Any, value: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
            address, value = arguments
            builder.store(builder.trunc(value, kind), at(builder, address, INT64(0), kind), align=1)
            return context.get_dummy_value()

        return types.void(types.intp, types.intp), codegen

    return intrinsic(write)


read_byte, read_short, read_word, read_long = (_reader(kind) for kind in (INT8, INT16, INT32, INT64))
write_byte, write_short, write_word = (_writer(kind) for kind in (INT8, INT16, INT32))
