"""Types of numbers and the one device, by torch's names. numpy knows no bfloat16, so its bits are held as uint16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from decoding.small_torch import how_to_install

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class DType:
    """A type of numbers, and the type of numpy's in which it is held."""

    name: str
    held: np.dtype[Any]
    is_floating_point: bool

    @property
    def itemsize(self) -> int:
        """The bytes of a number."""
        return self.held.itemsize

    def __repr__(self) -> str:
        return f"torch.{self.name}"


BFLOAT16: Final = DType("bfloat16", np.dtype(np.uint16), True)
FLOAT8: Final = DType("float8_e4m3fn", np.dtype(np.uint8), True)  # to be named; nothing computes with it
DTYPES: Final = {
    name: DType(name, np.dtype(name), np.dtype(name).kind == "f")
    for name in ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64")
}
FLOAT32, FLOAT64, INT64 = DTYPES["float32"], DTYPES["float64"], DTYPES["int64"]
COMPLEX128: Final = DType("complex128", np.dtype(np.complex128), False)
_BY_HELD: Final = {kind.held: kind for kind in (*DTYPES.values(), COMPLEX128)}


def dtype_of(array: Array) -> DType:
    """Return the type of numbers in an array that isn't known to hold bfloat16."""
    return _BY_HELD[array.dtype]


class Device:
    """The CPU; every other device needs torch. Raises `RuntimeError` like torch, for which callers look."""

    type = "cpu"
    index = None

    def __init__(self, name: str | Device = "cpu", index: int | None = None) -> None:
        if str(name).partition(":")[0] != "cpu":
            raise RuntimeError(f"torch isn't installed: '{how_to_install()}' adds it")
        del index

    def __repr__(self) -> str:
        return "cpu"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device)

    def __hash__(self) -> int:
        return hash("cpu")


def widen(bits: Array) -> Array:
    """Return the float32 numbers of bfloat16 bits, exactly."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def narrow(values: Array) -> Array:
    """Return the bfloat16 bits nearest to float32 numbers, even ones where two are as near; no number stays none."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).reshape(np.shape(values))
    rounded = (bits + (np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)))) >> np.uint32(16)
    return np.where(np.isnan(values), np.uint32(0x7FC0), rounded).astype(np.uint16)


def converted(array: Array, held: DType, wanted: DType) -> Array:
    """Return numbers of one type in another: a copy unless they are equal."""
    if held == wanted:
        return array
    wide = widen(array) if held == BFLOAT16 else array
    with np.errstate(over="ignore", invalid="ignore"):
        return narrow(wide.astype(np.float32, copy=False)) if wanted == BFLOAT16 else wide.astype(wanted.held)
