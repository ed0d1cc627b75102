"""Reads the tensors of a model folder by name, from one safetensors file or several, also those stored in int8.

Knows no architecture: a schema says which tensors must exist (`weight_schema.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Final, Protocol

import torch
from torch import Tensor

from decoding.errors import ModelError
from decoding.models.folder.safetensors_headers import Entry
from decoding.models.gguf.blocks import widen
from decoding.models.gguf.room import Room
from decoding.models.gguf.tensor_table import StoredTensor
from decoding.models.weights.int8_files import FACTORS, restore_rows
from decoding.models.weights.stored_blocks import BlockRows
from decoding.models.weights.weight_schema import INT8, Schema, check

# What a schema lets through.
DTYPES: Final[Mapping[str, torch.dtype]] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    INT8: torch.int8,
}
# torch can sum these dtypes; rarer ones are widened first.
COMMON: Final = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class StoredTensors(Protocol):
    """Reads tensors by name, matrices as blocks where there are some."""

    def take(self, name: str) -> Tensor:
        """Read a tensor. Raises `ModelError`."""
        ...

    def blocks(self, name: str) -> BlockRows | None:
        """Read a matrix as blocks; return None if it has none. Raises `ModelError`."""
        ...

    def reuse_memory(self) -> None:
        """Let the next blocks be read to where the last ones are, which are not valid any more."""
        ...


class Tensors:
    """Reads tensors from disk as they are asked for, onto a device and into a dtype."""

    def __init__(
        self, folder: Path, entries: Mapping[str, Entry], schema: Schema, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Raises `ModelError` unless the folder's `entries` are those of the schema."""
        check(entries, schema, folder)
        self._entries, self._schema = entries, schema
        self._device, self._dtype = device, dtype
        self._room = Room()

    @property
    def names(self) -> list[str]:
        """The names of all tensors of the schema."""
        return list(self._schema)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor of the schema."""
        return self._entries[name].shape

    def on(self, device: torch.device) -> Tensors:
        """Return a reader of the folder's tensors onto another device."""
        other = copy(self)
        other._device = device
        return other

    def to_device(self, tensor: Tensor) -> Tensor:
        """Move a tensor that was read onto another device."""
        return tensor.to(self._device)

    def in_own_dtype(self, name: str) -> Tensor:
        """Read a tensor as its file holds it: in bfloat16 if it does, else in float32. Raises `ModelError` likewise."""
        own = copy(self)
        own._dtype = torch.bfloat16 if self._entries[name].dtype == "BF16" else torch.float32
        return own.take(name)

    def take(self, name: str) -> Tensor:
        """Read a tensor of the schema onto the device. Raises `ModelError` if it holds numbers that aren't finite."""
        stored = self._read(name)
        tensor = (self._restored(name, stored) if stored.dtype == torch.int8 else stored).to(self._device, self._dtype)
        if not is_finite(tensor):
            file = self._entries[name].file
            if stored.is_floating_point() and is_finite(stored):
                kind = str(self._dtype).removeprefix("torch.")
                raise ModelError(f"{file}: tensor {name} holds numbers that are too large for the dtype {kind}")
            raise ModelError(f"{file}: tensor {name} holds numbers that are not finite, so the weights are damaged")
        return tensor

    def rounded(self, name: str) -> tuple[Tensor, Tensor] | None:
        """Read a matrix of int8 and the factors of its rows as they are; return None if it is stored otherwise.

        Raises `ModelError` if a factor isn't finite.
        """
        if self._entries[name].dtype != INT8:
            return None
        factors = self._read(name + FACTORS).float()
        if not is_finite(factors):
            raise ModelError(f"{self._entries[name].file}: the factors of tensor {name} are not finite")
        return self._read(name), factors

    def reuse_memory(self) -> None:
        """Let the next blocks be read to where the last ones are: the system takes longer to give memory than to copy.

        Blocks that were read are not valid any more.
        """
        self._room.clear()

    def blocks(self, name: str) -> BlockRows | None:
        """Read a matrix of the schema as its GGUF file stores it; return None if it has no blocks.

        The result is valid until `reuse_memory`. Raises `ModelError` if it can't be read.
        """
        stored = self._entries[name].stored
        if stored is None or stored.kind.num_weights == 1:
            return None
        return BlockRows(
            type_name=stored.kind.name,
            inputs=stored.shape[-1],
            rows=stored.read(self._room),
            source=f"{stored.file}: tensor {name}",
        )

    def _restored(self, name: str, rounded: Tensor) -> Tensor:
        return restore_rows(rounded, self._read(name + FACTORS))

    def _read(self, name: str) -> Tensor:
        entry = self._entries[name]
        if entry.stored is not None:
            return self._widened(entry.stored)
        assert entry.place is not None  # one of the two is there
        content = torch.empty(entry.place.num_bytes, dtype=torch.uint8)  # in torch's own alignment
        entry.place.read(entry.file, content.numpy())
        return content.view(DTYPES[entry.dtype]).view(entry.shape)

    def _widened(self, stored: StoredTensor) -> Tensor:
        """Widen blocks piece by piece into the dtype; float16 may be too narrow, which `take` finds out."""
        tensor = torch.empty(math.prod(stored.shape), dtype=_or_wider(self._dtype))
        at = 0
        for piece in widen(stored):
            tensor[at : at + len(piece)] = torch.from_numpy(piece)
            at += len(piece)
        return tensor.view(stored.shape)


def _or_wider(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype == torch.float16 else dtype


def is_finite(tensor: Tensor) -> bool:
    """Return whether all numbers are finite.

    A sum takes a fraction of the time of `isfinite`, and is finite unless a number isn't, or the sum itself overflows.
    """
    wide = tensor if tensor.dtype in COMMON or not tensor.is_floating_point() else tensor.float()
    return bool(wide.sum().isfinite()) or bool(wide.isfinite().all())
