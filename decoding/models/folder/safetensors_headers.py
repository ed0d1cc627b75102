"""Reads from the headers of a folder's safetensors files what tensors they hold: name, dtype and shape.

A header is JSON that anybody may have made (https://github.com/huggingface/safetensors#format), so that its size, its
depth and its number of tensors are bounded, and each tensor must lie within its file.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from decoding.errors import ModelError
from decoding.models.folder.json_files import MIB, parse_json, shown
from decoding.models.gguf.architecture import named_tensors
from decoding.models.gguf.split_files import GgufModel, is_gguf, read_model
from decoding.models.gguf.tensor_table import StoredTensor
from decoding.storage.plain_files import open_plain

# chosen: a header of 16 MiB describes more than 100,000 tensors; published files have some thousand tensors each.
MAX_HEADER_BYTES: Final = 16 * MIB
MAX_TENSORS: Final = 200_000  # of a folder
MAX_DIMENSIONS: Final = 8
MAX_SIZE: Final = 2**53  # of one dimension
MAX_NAME: Final = 256
BITS: Final[Mapping[str, int]] = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32,
    "U16": 16, "U8": 8, "BOOL": 8, "C64": 64, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4,
}  # fmt: skip
OTHER_FORMATS: Final = (".bin", ".pt", ".pth", ".ckpt", ".gguf")


@dataclass(frozen=True, slots=True)
class Entry:
    """The description of a tensor in its file's header."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    stored: StoredTensor | None = None
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor of a safetensors file lies, and what tells this file from a later one of its name."""

    offset: int
    num_bytes: int
    version: tuple[int, ...]

    def read(self, file: Path, into: NDArray[np.uint8]) -> None:
        """Read the bytes into an array of so many. Raises `ModelError` if the file is another one by now.

        The file is read and not mapped: touching the map of a file that was cut meanwhile would end the process.
        """
        try:
            with open_plain(file) as stream:
                is_same = _version(stream) == self.version
                stream.seek(self.offset)
                num_read = stream.readinto(into.data)
        except OSError as error:
            raise ModelError(f"{file} can't be read: {error.strerror}") from None
        if not is_same or num_read < self.num_bytes:
            raise ModelError(f"{file} was changed while it was read: load it again")


def read_headers(folder: Path) -> dict[str, Entry]:
    """Return all tensors of a folder's safetensors files by name.

    Raises `ModelError` if there is no file or a broken one.
    """
    if is_gguf(folder):
        return entries_of(read_model(folder))
    entries: dict[str, Entry] = {}
    files = sorted(folder.glob("*.safetensors"))
    for file in files:
        entries |= _read_header(file)
        if len(entries) > MAX_TENSORS:
            raise ModelError(f"{folder} holds more than {MAX_TENSORS:,} tensors, which no model needs")
    if not files:
        others = [path.name for path in folder.iterdir() if path.suffix in OTHER_FORMATS]
        hint = f"; {others[0]} is not safetensors, and other formats are not read" if others else ""
        raise ModelError(f"{folder} is not a complete model folder: no .safetensors file{hint}")
    return entries


def entries_of(model: GgufModel) -> dict[str, Entry]:
    """Return the tensors of a GGUF file by name. Raises `ModelError` if two of them have one name."""
    return {
        name: Entry(tensor.file, tensor.kind.name, tensor.shape, tensor)
        for name, tensor in named_tensors(model).items()
    }


def count_parameters(folder: Path) -> int:
    """Count the weights in the folder's safetensors files. Raises `ModelError` if there is no file or a broken one."""
    return sum(math.prod(entry.shape) for entry in read_headers(folder).values())


def _read_header(file: Path) -> dict[str, Entry]:
    broken = f"{file}: not a safetensors file, or cut short"
    if not file.is_file():  # opening a pipe would wait for ever
        raise ModelError(f"{broken} (it is no regular file)")
    try:
        with open_plain(file) as stream:
            version = _version(stream)
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if length > MAX_HEADER_BYTES:
                raise ModelError(f"{broken} (its header would have {length:,} bytes; {MAX_HEADER_BYTES:,} are allowed)")
            text = stream.read(length)
    except OSError as error:
        raise ModelError(f"{file} can't be read: {error.strerror}") from None
    if not length or len(text) < length:
        raise ModelError(f"{broken} (it ends within its header)")
    header = parse_json(text, file)
    if not isinstance(header, dict):
        raise ModelError(f"{broken} (its header is no table)")
    return {
        name: _entry(file, name, told, 8 + length, version) for name, told in header.items() if name != "__metadata__"
    }


def _entry(file: Path, name: str, told: Any, start: int, version: tuple[int, ...]) -> Entry:
    """Return one tensor, which must lie between the header's end and the file's."""
    if len(name) > MAX_NAME or not name.isprintable():
        raise ModelError(f"{file}: {shown(name)} can't be a tensor's name")
    told = told if isinstance(told, dict) else {}
    dtype, shape, offsets = told.get("dtype"), told.get("shape"), told.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise ModelError(f"{file}: tensor {name} has the dtype {shown(dtype)}, which is none of safetensors")
    if not _are_sizes(shape) or len(shape) > MAX_DIMENSIONS:
        raise ModelError(f"{file}: tensor {name} has no proper shape in the file's header")
    if not _are_sizes(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] <= version[0] - start:
        raise ModelError(f"{file}: not a safetensors file, or cut short (tensor {name} lies outside of it)")
    if math.prod(shape) * BITS[dtype] != 8 * (offsets[1] - offsets[0]):
        raise ModelError(f"{file}: tensor {name} takes more or fewer bytes than its shape and dtype need")
    place = Place(start + offsets[0], offsets[1] - offsets[0], version)
    return Entry(file, dtype, tuple(shape), place=place)


def _version(stream: BufferedReader) -> tuple[int, ...]:
    """Return a file's size, and what changes with its content."""
    found = os.fstat(stream.fileno())
    return found.st_size, found.st_mtime_ns, found.st_ino


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item <= MAX_SIZE for item in value)
