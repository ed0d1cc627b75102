"""Sums products of whole numbers: weights of up to eight bits times rounded rows, by the processor's best instructions.

Every path gives equal sums, because whole numbers are exact. An instruction that the processor lacks would end the
process, so `HERE` names the paths whose instructions are known to be there; the plain one needs none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import llvmlite.binding as llvm
from llvmlite import ir

from decoding.models.cpu.quantized_forms import LINE_BYTES, PANEL, STEP
from decoding.models.cpu.quantized_rows import LARGEST
from decoding.models.cpu.simd import INT8, INT16, INT32, IS_HOST, broadcast, splat, vector_of

Vectors = list[ir.Value]
_LARGEST_SHORT = 2**15 - 1
_LARGEST_BYTE = 2**7 - 1


@dataclass(frozen=True, slots=True)
class Sums:
    """Unfinished sums of a panel for one row, a vector for each part of the panel."""

    totals: Vectors
    pending: Vectors  # shorter sums that are still to be added, if there are any
    num_pending: int = 0


class Path(Protocol):
    """One way to add up products; `bits` are those of the stored values, which are not negative."""

    @property
    def lanes(self) -> int:
        """The number of sums in one vector."""
        ...

    @property
    def max_rows(self) -> int:
        """Return the most rows of a tile whose sums fit into the registers."""
        ...

    @property
    def reads_halves(self) -> bool:
        """Whether its processors convert half precision to float32."""
        ...

    def bias(self, bits: int) -> int:
        """Return what this path subtracts from stored values by itself."""
        ...

    def weights(self, builder: ir.IRBuilder, stored: ir.Value, bits: int) -> Vectors:
        """Return a step's weights of a panel, ready for all rows."""
        ...

    def add(self, builder: ir.IRBuilder, sums: Sums, weights: Vectors, inputs: ir.Value, bits: int) -> Sums:
        """Return the sums with a step's products; `inputs` are four of a row side by side."""
        ...

    def totals(self, builder: ir.IRBuilder, sums: Sums) -> ir.Value:
        """Return the sums as 16 numbers of 32 bits."""
        ...


def start(builder: ir.IRBuilder, path: Path, first: ir.Value) -> Sums:
    """Return sums that start from 16 numbers."""
    return Sums(_parts(builder, first, path.lanes), [])


class _Finished:
    """The common part of paths that add to their totals at once."""

    def totals(self, builder: ir.IRBuilder, sums: Sums) -> ir.Value:
        return _joined(builder, sums.totals)


@dataclass(frozen=True, slots=True)
class _FourAtOnce(_Finished):
    """A path by an instruction that adds four products of bytes to each of `lanes` sums."""

    lanes: int
    name: str
    operand: ir.Type
    max_rows: int
    is_signed: bool = False  # both factors are; else the weights are not
    reads_halves: bool = True

    def bias(self, bits: int) -> int:
        return _LARGEST_BYTE + 1 if self._is_turned(bits) else 0

    def weights(self, builder: ir.IRBuilder, stored: ir.Value, bits: int) -> Vectors:
        if self._is_turned(bits):
            stored = _signed(builder, stored)
        return [builder.bitcast(part, self.operand) for part in _parts(builder, stored, self.lanes * STEP)]

    def add(self, builder: ir.IRBuilder, sums: Sums, weights: Vectors, inputs: ir.Value, bits: int) -> Sums:
        del bits
        factor = builder.bitcast(broadcast(builder, inputs, self.lanes), self.operand)
        total = vector_of(INT32, self.lanes)
        function = _declared(builder, self.name, total, [total, self.operand, self.operand])
        pairs = zip(sums.totals, weights, strict=True)
        return Sums([builder.call(function, [before, part, factor]) for before, part in pairs], [])

    def _is_turned(self, bits: int) -> bool:
        return self.is_signed and 2**bits - 1 > _LARGEST_BYTE


@dataclass(frozen=True, slots=True)
class _ByPairs:
    """The path of AVX2: sums of two products in 16 bits, as many of them as fit, then two of those in 32.

    Weights that could overflow are taken as signed: their absolute values times rows that have their signs.
    """

    max_rows: int = 4
    lanes: int = 8
    reads_halves: bool = True

    def bias(self, bits: int) -> int:
        return _LARGEST_BYTE + 1 if _is_wide(bits) else 0

    def weights(self, builder: ir.IRBuilder, stored: ir.Value, bits: int) -> Vectors:
        return _parts(builder, _signed(builder, stored) if _is_wide(bits) else stored, self.lanes * STEP)

    def add(self, builder: ir.IRBuilder, sums: Sums, weights: Vectors, inputs: ir.Value, bits: int) -> Sums:
        bytes_, shorts = vector_of(INT8, 4 * self.lanes), vector_of(INT16, 2 * self.lanes)
        factor = builder.bitcast(broadcast(builder, inputs, self.lanes), bytes_)
        product = _declared(builder, "x86.avx2.pmadd.ub.sw", shorts, [bytes_, bytes_])
        turn = _declared(builder, "x86.avx2.psign.b", bytes_, [bytes_, bytes_])
        if _is_wide(bits):
            most = 2 ** (bits - 1)
            pairs = [(_absolute(builder, part), builder.call(turn, [factor, part])) for part in weights]
        else:
            most = 2**bits - 1
            pairs = [(part, factor) for part in weights]
        products = [builder.call(product, [size, turned]) for size, turned in pairs]
        if sums.num_pending == _LARGEST_SHORT // (2 * most * LARGEST):
            sums = self._widened(builder, sums)
        if sums.pending:
            products = [builder.add(before, new) for before, new in zip(sums.pending, products, strict=True)]
        return Sums(sums.totals, products, sums.num_pending + 1)

    def totals(self, builder: ir.IRBuilder, sums: Sums) -> ir.Value:
        return _joined(builder, self._widened(builder, sums).totals)

    def _widened(self, builder: ir.IRBuilder, sums: Sums) -> Sums:
        total, shorts = vector_of(INT32, self.lanes), vector_of(INT16, 2 * self.lanes)
        join = _declared(builder, "x86.avx2.pmadd.wd", total, [shorts, shorts])
        ones = splat(INT16, 1, 2 * self.lanes)
        pairs = zip(sums.totals, sums.pending, strict=True)
        return Sums([builder.add(before, builder.call(join, [short, ones])) for before, short in pairs], [])


@dataclass(frozen=True, slots=True)
class _OneByOne(_Finished):
    """The path of plain multiplications, which every processor has."""

    max_rows: int = 4
    lanes: int = PANEL
    reads_halves: bool = False

    def bias(self, bits: int) -> int:
        del bits
        return 0

    def weights(self, builder: ir.IRBuilder, stored: ir.Value, bits: int) -> Vectors:
        del bits
        return [
            builder.zext(_chosen(builder, stored, range(first, LINE_BYTES, STEP)), vector_of(INT32, PANEL))
            for first in range(STEP)
        ]

    def add(self, builder: ir.IRBuilder, sums: Sums, weights: Vectors, inputs: ir.Value, bits: int) -> Sums:
        del bits
        (total,) = sums.totals
        for number, part in enumerate(weights):
            factor = builder.ashr(builder.shl(inputs, INT32(24 - 8 * number)), INT32(24))
            total = builder.add(total, builder.mul(part, broadcast(builder, factor, PANEL)))
        return Sums([total], [])


def _vnni(lanes: int, max_rows: int) -> _FourAtOnce:
    name = f"x86.avx512.vpdpbusd.{32 * lanes}"
    return _FourAtOnce(lanes, name, vector_of(INT32, lanes), max_rows)


def _arm(name: str, *, is_signed: bool) -> _FourAtOnce:
    full_name = f"aarch64.neon.{name}.v4i32.v16i8"
    return _FourAtOnce(4, full_name, vector_of(INT8, 16), 4, is_signed)


PLAIN: Final = "plain"
# The best path comes first. VNNI of 256 bits has two encodings, one of AVX-512, one of AVX-VNNI.
PATHS: Final[Mapping[str, Path]] = {
    "avx512vnni": _vnni(16, 8),
    "avxvnni": _vnni(8, 4),
    "avx2": _ByPairs(),
    "i8mm": _arm("usdot", is_signed=False),
    "dotprod": _arm("sdot", is_signed=True),
    PLAIN: _OneByOne(),
}


def supported(features: Mapping[str, bool], processor: str) -> tuple[str, ...]:
    """Return the paths, best first, whose instructions a processor has, by LLVM's names of its features and itself."""

    def has(*names: str) -> bool:
        return all(features.get(name) for name in names)

    is_apple = processor.startswith("apple-m")  # their features are not always listed; all have sdot
    there = {
        "avx512vnni": has("avx512f", "avx512bw", "avx512vl", "avx512vnni", "f16c", "fma"),
        "avxvnni": has("avx2", "f16c", "fma") and (has("avxvnni") or has("avx512vl", "avx512vnni")),
        "avx2": has("avx2", "f16c", "fma"),
        "i8mm": has("i8mm", "dotprod"),
        "dotprod": has("dotprod") or is_apple,
        PLAIN: True,
    }
    return tuple(name for name in PATHS if there[name])


def _here() -> tuple[str, ...]:
    try:
        features = llvm.get_host_cpu_features()
    except RuntimeError:  # LLVM doesn't know this system
        features = {}
    return supported(features if IS_HOST else {}, llvm.get_host_cpu_name() if IS_HOST else "")


HERE: Final = _here()


def _is_wide(bits: int) -> bool:
    """Return whether two products of a weight of so many bits may overflow 16 bits."""
    return 2 * ((1 << bits) - 1) * LARGEST > _LARGEST_SHORT


def _signed(builder: ir.IRBuilder, stored: ir.Value) -> ir.Value:
    """Return bytes less 128, which are signed."""
    return builder.xor(stored, splat(INT8, -128, stored.type.count))


def _absolute(builder: ir.IRBuilder, part: ir.Value) -> ir.Value:
    function = _declared(builder, f"abs.v{part.type.count}i8", part.type, [part.type, ir.IntType(1)])
    return builder.call(function, [part, ir.IntType(1)(0)])


def _chosen(builder: ir.IRBuilder, vector: ir.Value, lanes: Sequence[int]) -> ir.Value:
    undefined = ir.Constant(vector.type, ir.Undefined)
    return builder.shuffle_vector(vector, undefined, ir.Constant(vector_of(INT32, len(lanes)), list(lanes)))


def _parts(builder: ir.IRBuilder, vector: ir.Value, lanes: int) -> Vectors:
    """Cut a vector into shorter ones."""
    count = vector.type.count
    if lanes == count:
        return [vector]
    return [_chosen(builder, vector, range(first, first + lanes)) for first in range(0, count, lanes)]


def _joined(builder: ir.IRBuilder, parts: Vectors) -> ir.Value:
    """Join vectors of one length in sequence."""
    while len(parts) > 1:
        both = list(range(2 * parts[0].type.count))
        mask = ir.Constant(vector_of(INT32, len(both)), both)
        parts = [builder.shuffle_vector(*parts[i : i + 2], mask) for i in range(0, len(parts), 2)]
    return parts[0]


def _declared(builder: ir.IRBuilder, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Value:
    name = f"llvm.{name}"
    return builder.module.globals.get(name) or ir.Function(builder.module, ir.FunctionType(result, arguments), name)
