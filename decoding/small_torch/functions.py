"""torch's functions that an engine on a CPU calls, by their names there; see the package."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, TypeVar

import numpy as np

from decoding.small_torch.tensor import Tensor
from decoding.small_torch.types import BFLOAT16, DTYPES, FLOAT8, FLOAT32, Device, DType, converted, dtype_of

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

__version__: Final = ""
float64, float32, float16 = DTYPES["float64"], FLOAT32, DTYPES["float16"]
int64, int32, int16, int8, uint8 = (DTYPES[name] for name in ("int64", "int32", "int16", "int8", "uint8"))
bfloat16, float8_e4m3fn, complex64, bool = BFLOAT16, FLOAT8, DTYPES["complex64"], DTYPES["bool"]  # noqa: A001
inf: Final = float("inf")
device, dtype = Device, DType


class OutOfMemoryError(RuntimeError):
    """Is never raised: numpy raises `MemoryError`."""


class inference_mode:  # noqa: N801 - torch's own name
    """Does nothing: no gradients are kept here."""

    def __call__(self, function: FunctionT) -> FunctionT:
        """Return the function that it decorates."""
        return function

    def __enter__(self) -> None:
        """Begin nothing."""

    def __exit__(self, *_: object) -> None:
        """End nothing."""


def _made(values: Any, kind: DType | None) -> Tensor:
    array = np.asarray(values)
    if kind is None:
        kind = FLOAT32 if array.dtype == np.float64 else dtype_of(array)
    return Tensor(converted(array, dtype_of(array), kind), kind)


def tensor(values: Any, *, dtype: DType | None = None, device: object = None) -> Tensor:
    """Return a tensor of Python's numbers; floats are float32."""
    del device
    if isinstance(values, Sequence) and any(isinstance(value, Tensor) for value in values):
        values = [value.array for value in values]
    return _made(np.array(values), dtype)


def full(shape: Sequence[int], value: float, *, dtype: DType | None = None, device: object = None) -> Tensor:
    """Return a tensor all of whose numbers are equal."""
    del device
    one = _made(np.asarray(value), dtype)
    return Tensor(np.full(tuple(shape), one.array), one.dtype)


def _shape(sizes: Sequence[Any]) -> tuple[int, ...]:
    return tuple(sizes[0]) if sizes and isinstance(sizes[0], Sequence) else tuple(sizes)


def zeros(*sizes: Any, dtype: DType = FLOAT32, device: object = None) -> Tensor:
    """Return a tensor of zeros."""
    del device
    return Tensor(np.zeros(_shape(sizes), dtype.held), dtype)


def empty(*sizes: Any, dtype: DType = FLOAT32, device: object = None) -> Tensor:
    """Return a tensor that isn't filled."""
    del device
    return Tensor(np.empty(_shape(sizes), dtype.held), dtype)


def ones(*sizes: Any, dtype: DType = FLOAT32, device: object = None) -> Tensor:
    """Return a tensor of ones."""
    return full(_shape(sizes), 1, dtype=dtype, device=device)


def full_like(other: Tensor, value: float) -> Tensor:
    """Return a tensor of one number, in the shape and type of another."""
    return full(other.shape, value, dtype=other.dtype)


def zeros_like(other: Tensor) -> Tensor:
    """Return zeros in the shape and type of another tensor."""
    return full_like(other, 0)


def ones_like(other: Tensor) -> Tensor:
    """Return ones in the shape and type of another tensor."""
    return full_like(other, 1)


def arange(*bounds: int, dtype: DType | None = None, device: object = None) -> Tensor:
    """Return whole numbers one after the other."""
    del device
    return _made(np.arange(*bounds, dtype=np.int64), dtype)


def from_numpy(array: Any) -> Tensor:
    """Return a tensor that shares an array's memory."""
    return Tensor(array)


def cat(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors along a dimension."""
    return Tensor(np.concatenate([part.array for part in parts], axis=dim), parts[0].dtype)


def stack(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors along a dimension that is new."""
    return Tensor(np.stack([part.array for part in parts], axis=dim), parts[0].dtype)


def equal(one: Tensor, other: Tensor) -> Any:
    """Return whether two tensors have equal shapes and numbers."""
    return np.array_equal(one.array, other.array)


def where(condition: Tensor, one: Any, other: Any) -> Tensor:
    """Return numbers of one tensor where a condition holds, and of another elsewhere."""
    values = [value.array if isinstance(value, Tensor) else value for value in (one, other)]
    return Tensor(np.where(condition.array, *values))


def outer(one: Tensor, other: Tensor) -> Tensor:
    """Return all products of two rows."""
    return Tensor(np.outer(one.array, other.array))


def polar(lengths: Tensor, angles: Tensor) -> Tensor:
    """Return complex numbers of these lengths and angles."""
    return Tensor(lengths.array * (np.cos(angles.array) + 1j * np.sin(angles.array)))


def view_as_real(numbers: Tensor) -> Tensor:
    """Return complex numbers as pairs of floats, in the same memory."""
    array = numbers.array
    return Tensor(array.view(array.real.dtype).reshape(*array.shape, 2))


def _num_cores() -> int:
    """Return how many cores this process may use: two threads of a core share what multiplies."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores = set()
    for cpu in usable:
        topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
        try:
            cores.add(
                tuple((topology / name).read_text(encoding="ascii") for name in ("physical_package_id", "core_id"))
            )
        except (OSError, ValueError):
            return len(usable)
    return len(cores)


_threads: list[int] = []


def get_num_threads() -> int:
    """Return how many threads compute: what was set, or OMP_NUM_THREADS, or one for each core."""
    named = os.environ.get("OMP_NUM_THREADS", "")
    return _threads[-1] if _threads else int(named) if named.isdecimal() and int(named) else _num_cores()


def set_num_threads(count: int) -> None:
    """Choose how many threads compute."""
    _threads[:] = [count]


def _multiplies_bfloat16() -> Any:
    """Return what torch does of a processor: whether it has the instructions for which bfloat16 pays."""
    import llvmlite.binding as llvm  # noqa: PLC0415 - takes a while

    features = llvm.get_host_cpu_features()
    return all(features.get(name) for name in ("avx512bw", "avx512vl", "avx512dq")) or features.get("bf16", False)


cuda: Final = SimpleNamespace(is_available=lambda: False, device_count=lambda: 0)
ops: Final = SimpleNamespace(mkldnn=SimpleNamespace(_is_mkldnn_bf16_supported=_multiplies_bfloat16))

__all__ = [
    "OutOfMemoryError",
    "Tensor",
    "__version__",
    "arange",
    "bfloat16",
    "bool",
    "cat",
    "complex64",
    "cuda",
    "device",
    "dtype",
    "empty",
    "equal",
    "float8_e4m3fn",
    "float16",
    "float32",
    "float64",
    "from_numpy",
    "full",
    "full_like",
    "get_num_threads",
    "inf",
    "inference_mode",
    "int8",
    "int16",
    "int32",
    "int64",
    "ones",
    "ones_like",
    "ops",
    "outer",
    "polar",
    "set_num_threads",
    "stack",
    "tensor",
    "uint8",
    "view_as_real",
    "where",
    "zeros",
    "zeros_like",
]
