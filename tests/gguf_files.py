"""Writes small GGUF files, right ones and wrong ones, byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from decoding.models.gguf.tensor_types import TYPES

NUMBERS = {kind.name: number for number, kind in TYPES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A tensor to write: dimensions with the row's length first."""

    kind: int
    dimensions: tuple[int, ...]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Gguf:
    """A file to write; what is None is worked out."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Stored] = field(default_factory=dict)
    magic: bytes = b"GGUF"
    version: int = 3
    num_keys: int | None = None
    num_tensors: int | None = None
    offsets: Sequence[int] | None = None
    extra: bytes = b""  # behind the metadata

    def write(self, file: Path) -> Path:
        file.write_bytes(self.written())
        return file

    def written(self) -> bytes:
        num_keys = len(self.metadata) if self.num_keys is None else self.num_keys
        num_tensors = len(self.tensors) if self.num_tensors is None else self.num_tensors
        head = self.magic + struct.pack("<IQQ", self.version, num_tensors, num_keys)
        head += b"".join(text(key) + value(item) for key, item in self.metadata.items()) + self.extra
        alignment = self.metadata.get("general.alignment", 32)
        alignment = alignment if isinstance(alignment, int) and 0 < alignment <= 4096 else 32
        data, offsets = b"", []
        for tensor in self.tensors.values():
            offsets.append(len(data))
            data += tensor.data + b"\0" * (-len(tensor.data) % alignment)
        for (name, tensor), offset in zip(self.tensors.items(), self.offsets or offsets, strict=True):
            head += text(name) + struct.pack(f"<I{len(tensor.dimensions)}Q", len(tensor.dimensions), *tensor.dimensions)
            head += struct.pack("<IQ", tensor.kind, offset)
        return head + b"\0" * (-len(head) % alignment) + data


def text(words: str | bytes) -> bytes:
    encoded = words.encode() if isinstance(words, str) else words
    return struct.pack("<Q", len(encoded)) + encoded


def value(item: Any) -> bytes:
    """A setting's type and value; bytes are taken as they are."""
    if isinstance(item, (bytes, str)):
        return item if isinstance(item, bytes) else struct.pack("<I", 8) + text(item)
    if isinstance(item, bool):
        return struct.pack("<I?", 7, item)
    if isinstance(item, int):
        return struct.pack("<Iq", 11, item) if item < 0 else struct.pack("<II", 4, item)
    if isinstance(item, float):
        return struct.pack("<If", 6, item)
    if isinstance(item, np.ndarray):
        kind = {"float32": 6, "int32": 5, "uint8": 0}[item.dtype.name]
        return struct.pack("<IIQ", 9, kind, len(item)) + item.tobytes()
    return struct.pack("<IIQ", 9, 8, len(item)) + b"".join(map(text, item))


def floats(values: np.ndarray) -> Stored:
    return Stored(kind=NUMBERS["F32"], dimensions=values.shape[::-1], data=values.astype(np.float32).tobytes())


def random_tensor(kind: str, *shape: int, seed: int = 0) -> Stored:
    """Blocks of a type with small scales; the shape is Hugging Face's."""
    rng = np.random.default_rng([seed, *kind.encode()])
    described = TYPES[NUMBERS[kind]]
    if kind in ("F32", "F16", "BF16"):
        values = rng.normal(0, 0.1, shape).astype(np.float32)
        data = values.astype(np.float16 if kind == "F16" else np.float32)
        raw = data.tobytes() if kind != "BF16" else (data.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        return Stored(kind=NUMBERS[kind], dimensions=shape[::-1], data=raw)
    count = int(np.prod(shape)) // described.num_weights
    blocks = rng.integers(0, 256, (count, described.num_bytes), np.uint8)
    small = np.frombuffer(np.float16(0.002).tobytes(), np.uint8)
    places = {"Q2_K": (80, 82), "Q3_K": (108,), "Q6_K": (208,), "Q4_K": (0, 2), "Q5_K": (0, 2)}
    places |= {"Q4_1": (0, 2), "Q5_1": (0, 2)}
    for at in places.get(kind, (0,)):
        blocks[:, at : at + 2] = small
    return Stored(kind=NUMBERS[kind], dimensions=shape[::-1], data=blocks.tobytes())
