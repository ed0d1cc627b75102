"""A tensor that is a view of a numpy array, with those methods of torch's that an engine on a CPU calls.

Methods mean what torch's of the same name do, for the arguments that are used here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from decoding.small_torch import NeedsTorch
from decoding.small_torch.operators import give_operators
from decoding.small_torch.types import (
    BFLOAT16,
    FLOAT32,
    FLOAT64,
    INT64,
    Array,
    Device,
    DType,
    converted,
    dtype_of,
    narrow,
    widen,
)

CPU: Final = Device()
_SUM_AT_ONCE: Final = 2**22  # numbers of bfloat16 that are widened at once
_NO_NUMBER: Final = np.uint16(0x7F80)  # the exponent of bfloat16's infinities and of what is no number


class Best(NamedTuple):
    """What `topk` and `sort` return."""

    values: Tensor
    indices: Tensor


class Tensor:
    """Numbers of one type in an array that others may share."""

    __slots__ = ("array", "dtype")

    def __init__(self, array: Any, dtype: DType | None = None) -> None:
        """`dtype` must be told only of bfloat16's bits."""
        self.array: Array = np.asarray(array)
        self.dtype = dtype_of(self.array) if dtype is None else dtype

    device = CPU

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of its dimensions."""
        return self.array.shape

    @property
    def T(self) -> Tensor:  # noqa: N802 - torch's own name
        """The matrix, turned."""
        return self._like(self.array.T)

    def _like(self, array: Any) -> Tensor:
        return Tensor(array, self.dtype)

    def wide(self) -> Array:
        """Return the numbers in a type of numpy's: a copy of bfloat16's."""
        return widen(self.array) if self.dtype == BFLOAT16 else self.array

    def rounded(self, array: Any) -> Tensor:
        """Return the result of a computation with the wide numbers, in this tensor's type if that is bfloat16."""
        if self.dtype == BFLOAT16 and array.dtype == np.float32:
            return Tensor(narrow(array), BFLOAT16)
        return Tensor(array)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NeedsTorch(f"torch.Tensor.{name}")

    # What lies where.

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[Tensor]:
        return map(self._like, self.array)

    def __getitem__(self, key: Any) -> Tensor:
        return self._like(self.array[_key(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self.array[_key(key)] = self.as_held(value)

    def as_held(self, value: Any) -> Any:
        """Return numbers as this tensor's array holds them."""
        if isinstance(value, Tensor):
            return converted(value.array, value.dtype, self.dtype)
        return narrow(np.asarray(value, np.float32)) if self.dtype == BFLOAT16 else value

    def view(self, *shape: Any) -> Tensor:
        """Return the same memory in another shape, or as numbers of another type."""
        if isinstance(shape[0], DType):
            return Tensor(self.array.view(shape[0].held), shape[0])
        return self._like(self.array.reshape(*shape))

    def reshape(self, *shape: Any) -> Tensor:
        """Return the numbers in another shape."""
        return self._like(self.array.reshape(*shape))

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Make one dimension of several."""
        shape, last = self.shape, end_dim % self.array.ndim
        return self._like(self.array.reshape(*shape[:start_dim], -1, *shape[last + 1 :]))

    def unflatten(self, dim: int, sizes: Sequence[int]) -> Tensor:
        """Make several dimensions of one."""
        shape, at = self.shape, dim % self.array.ndim
        return self._like(self.array.reshape(*shape[:at], *sizes, *shape[at + 1 :]))

    def transpose(self, one: int, other: int) -> Tensor:
        """Exchange two dimensions."""
        return self._like(self.array.swapaxes(one, other))

    def unsqueeze(self, dim: int) -> Tensor:
        """Add a dimension of length 1."""
        return self._like(np.expand_dims(self.array, dim))

    def contiguous(self) -> Tensor:
        """Return the numbers in a row of memory; itself if they are."""
        return self if self.array.flags.c_contiguous else self._like(self.array.copy())

    def clone(self) -> Tensor:
        """Return a copy."""
        return self._like(self.array.copy())

    def chunk(self, count: int, dim: int = 0) -> list[Tensor]:
        """Cut it into so many equal pieces; the last may be shorter."""
        size = -(-self.shape[dim] // count)
        return self.split([min(size, self.shape[dim] - start) for start in range(0, self.shape[dim], size)], dim)

    def split(self, sizes: Sequence[int], dim: int = 0) -> list[Tensor]:
        """Cut it into pieces of these lengths."""
        return [self._like(piece) for piece in np.split(self.array, np.cumsum(sizes)[:-1], axis=dim)]

    def numel(self) -> int:
        """Return how many numbers it has."""
        return math.prod(self.shape)

    def data_ptr(self) -> int:
        """Return the address of the first number."""
        return int(self.array.ctypes.data)

    # What it is made into.

    def to(self, *wanted: Any, device: object = None, dtype: DType | None = None, copy: bool = False) -> Tensor:
        """Return it in another type; the device is always the same."""
        del device
        named = next((kind for kind in (*wanted, dtype) if isinstance(kind, DType)), self.dtype)
        if named == self.dtype:
            return self.clone() if copy else self
        return Tensor(converted(self.array, self.dtype, named), named)

    def float(self) -> Tensor:
        """Return it in float32."""
        return self.to(FLOAT32)

    def double(self) -> Tensor:
        """Return it in float64."""
        return self.to(FLOAT64)

    def long(self) -> Tensor:
        """Return it in int64."""
        return self.to(INT64)

    def numpy(self) -> Array:
        """Return the array, which shares its memory."""
        if self.dtype == BFLOAT16:
            raise TypeError("numpy knows no bfloat16")
        return self.array

    def tolist(self) -> Any:
        """Return lists of Python's numbers."""
        return self.wide().tolist()

    def __float__(self) -> Any:
        return float(self.wide())

    def __int__(self) -> int:
        return int(self.wide())

    __index__ = __int__

    def __bool__(self) -> bool:
        return bool(self.wide())

    # What is computed from it.

    def is_floating_point(self) -> bool:
        """Return whether its numbers are floats."""
        return self.dtype.is_floating_point

    def sum(self, dim: int | None = None) -> Tensor:
        """Add up all numbers, or those along a dimension."""
        with np.errstate(over="ignore", invalid="ignore"):
            if self.dtype != BFLOAT16 or dim is not None:
                return self.rounded(self.wide().sum(axis=dim))
            flat = self.array.reshape(-1)
            pieces = (widen(flat[start : start + _SUM_AT_ONCE]).sum() for start in range(0, len(flat), _SUM_AT_ONCE))
            return Tensor(sum(pieces, np.float32(0)))

    def isfinite(self) -> Tensor:
        """Return of each number whether it is finite."""
        if self.dtype == BFLOAT16:
            return Tensor(self.array & _NO_NUMBER != _NO_NUMBER)
        return Tensor(np.isfinite(self.array))

    def all(self) -> Tensor:
        """Return whether all are true."""
        return Tensor(self.array.all())

    def argmax(self, dim: int | None = None) -> Tensor:
        """Return the place of the first largest number."""
        return Tensor(self.wide().argmax(axis=dim))

    def logsumexp(self, dim: int = -1) -> Tensor:
        """Return the logarithm of the sum of the exponentials along a dimension."""
        wide = self.wide()
        most = wide.max(axis=dim, keepdims=True)
        return Tensor((np.log(np.exp(wide - most).sum(axis=dim, keepdims=True)) + most).squeeze(dim))

    def softmax(self, dim: int = -1) -> Tensor:
        """Return shares of the exponentials along a dimension."""
        wide = self.wide()
        shares = np.exp(wide - wide.max(axis=dim, keepdims=True))
        return self.rounded(shares / shares.sum(axis=dim, keepdims=True))

    def topk(self, count: int) -> Best:
        """Return the largest numbers of a row in falling order, and their places."""
        wide = self.wide()
        among = np.argpartition(-wide, count - 1)[:count] if count < len(wide) else np.arange(len(wide))
        order = among[np.lexsort((among, -wide[among]))]
        return Best(self[order], Tensor(order))

    def sort(self, *, descending: bool = False) -> Best:
        """Return the numbers of a row in order, and their places."""
        wide = self.wide()
        order = np.argsort(-wide if descending else wide, kind="stable")
        return Best(self[order], Tensor(order))

    def cumsum(self, dim: int = -1) -> Tensor:
        """Return the sums of all numbers up to each."""
        return self.rounded(self.wide().cumsum(axis=dim))

    def take(self, places: Tensor) -> Tensor:
        """Return the numbers at places of the flattened tensor."""
        return self._like(self.array.reshape(-1)[places.array])

    def round(self) -> Tensor:
        """Return the nearest whole numbers, even ones where two are as near."""
        return self.rounded(np.rint(self.wide()))

    def clamp(self, least: Any, most: Any) -> Tensor:
        """Return the numbers, none beyond the bounds."""
        return self.rounded(np.clip(self.wide(), least, most))

    def index_fill_(self, dim: int, places: Tensor, value: Any) -> Tensor:
        """Write a number to places along a dimension."""
        self.array[_along(dim, places, self.array.ndim)] = self.as_held(value)
        return self

    def index_copy_(self, dim: int, places: Tensor, values: Tensor) -> Tensor:
        """Write numbers to places along a dimension."""
        self.array[_along(dim, places, self.array.ndim)] = self.as_held(values)
        return self

    def masked_fill_(self, mask: Tensor, value: Any) -> Tensor:
        """Write a number wherever the mask is true."""
        self.array[mask.array] = self.as_held(value)
        return self

    def __hash__(self) -> int:
        return id(self)

    def __neg__(self) -> Tensor:
        return self.rounded(-self.wide())


def _key(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(map(_key, key))
    return key.array if isinstance(key, Tensor) else key


def _along(dim: int, places: Tensor, num_dims: int) -> tuple[Any, ...]:
    return (*(slice(None) for _ in range(dim % num_dims)), places.array)


give_operators(Tensor)
