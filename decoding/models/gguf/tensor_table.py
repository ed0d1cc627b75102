"""Locates the tensors of a GGUF file, checked against what the file can hold.

A tensor here is in its stored form: a kernel may repack it, or `blocks.py` widen it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from decoding.errors import ModelError
from decoding.models.gguf.room import Room
from decoding.models.gguf.tensor_types import OTHER_TYPES, TYPES, TensorType

MAX_WEIGHTS: Final = 2**40  # chosen: the bound of one tensor, below which a file's numbers may be multiplied
ADVICE: Final = "take a file of another kind, such as Q4_K_M or Q8_0"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """A tensor as its file holds it: rows of blocks of one type.

    `head_size` is more than 0 where rows belong to heads of so many, with the two of a rotary pair side by side.
    `changed_ns` is when the file was changed last before its header was read; what is read of a later one would be of
    another model.
    `minus` is how much more each number is than a Hugging Face folder has.
    """

    file: Path
    kind: TensorType
    shape: tuple[int, ...]  # as Hugging Face writes it: the row's length last
    offset: int
    changed_ns: int
    head_size: int = 0
    minus: float = 0

    @property
    def num_rows(self) -> int:
        """The product of all dimensions but the last."""
        return math.prod(self.shape[:-1])

    @property
    def row_bytes(self) -> int:
        """The bytes of a row."""
        return self.shape[-1] // self.kind.num_weights * self.kind.num_bytes

    @property
    def num_bytes(self) -> int:
        """The bytes of the tensor in its file."""
        return self.num_rows * self.row_bytes

    def read(self, room: Room | None = None) -> NDArray[np.uint8]:
        """Read (rows, bytes of a row), with the rows of a head in Hugging Face's order, to `room` if there is one.

        The file is read and not mapped: touching the map of a file that was cut meanwhile would end the process.
        Raises `ModelError`.
        """
        data = np.empty(self.num_bytes, np.uint8) if room is None else room.take(self.num_bytes)
        num_read = 0
        try:
            with self.file.open("rb", buffering=0) as stream:
                stream.seek(self.offset)
                is_same = os.fstat(stream.fileno()).st_mtime_ns == self.changed_ns
                while num_read < self.num_bytes and (more := stream.readinto(data.data[num_read:])):
                    num_read += more
        except OSError as error:
            raise ModelError(f"{self.file} can't be read: {error.strerror}") from None
        if num_read < self.num_bytes:
            raise ModelError(f"{self.file} was cut while it was read: load it again")
        if not is_same:
            raise ModelError(f"{self.file} was changed while it was read: load it again")
        rows = data.reshape(self.num_rows, self.row_bytes)
        if not self.head_size:
            return rows
        pairs = rows.reshape(-1, self.head_size // 2, 2, self.row_bytes)
        return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows.shape)


def locate(
    file: Path,
    described: Iterable[tuple[str, tuple[int, ...], int, int]],
    start: int,
    alignment: int,
    size: int,
    changed_ns: int,
) -> dict[str, StoredTensor]:
    """Return the tensors of a file by name.

    Args:
        file: that holds them.
        described: name, dimensions with the row's length first, number of the type and offset of each.
        start: where the data begins.
        alignment: of each offset.
        size: of the file.
        changed_ns: when it was changed last.

    Raises:
        ModelError: a tensor can't be there, has an unknown type, or two share a name or bytes.
    """
    found: dict[str, StoredTensor] = {}
    for name, dimensions, number, offset in described:
        if name in found:
            raise ModelError(f"{file}: tensor {name} is there twice")
        kind = TYPES.get(number)
        if kind is None:
            known = OTHER_TYPES.get(number, f"the unknown type {number}")
            raise ModelError(f"{file}: tensor {name} is stored as {known}, which is not read: {ADVICE}")
        _check_dimensions(file, name, dimensions, kind)
        if offset % alignment:
            raise ModelError(f"{file}: tensor {name} doesn't begin at a multiple of {alignment} bytes: fetch it again")
        tensor = StoredTensor(
            file=file, kind=kind, shape=dimensions[::-1], offset=start + offset, changed_ns=changed_ns
        )
        if tensor.offset + tensor.num_bytes > size:
            raise ModelError(
                f"{file} is cut short: tensor {name} ends at byte {tensor.offset + tensor.num_bytes:,} and the file"
                f" at {size:,}, so fetch it again"
            )
        found[name] = tensor
    _check_overlap(file, found)
    return found


def _check_dimensions(file: Path, name: str, dimensions: tuple[int, ...], kind: TensorType) -> None:
    total = 1
    for dimension in dimensions:
        total *= min(dimension, MAX_WEIGHTS + 1)
        if not 0 < total <= MAX_WEIGHTS:
            raise ModelError(f"{file}: tensor {name} would have the dimensions {_written(dimensions)}")
    if dimensions[0] % kind.num_weights:
        raise ModelError(
            f"{file}: tensor {name} has rows of {dimensions[0]:,} weights, and {kind.name} needs a multiple of"
            f" {kind.num_weights}"
        )


def _check_overlap(file: Path, tensors: dict[str, StoredTensor]) -> None:
    ordered = sorted(tensors.items(), key=lambda item: item[1].offset)
    for (name, tensor), (after, following) in pairwise(ordered):
        if tensor.offset + tensor.num_bytes > following.offset:
            raise ModelError(f"{file}: the tensors {name} and {after} share bytes, so the file is damaged")


def _written(dimensions: Iterable[Any]) -> str:
    return " x ".join(f"{dimension:,}" for dimension in dimensions)
