"""Writes the header of a GGUF file: metadata, and the table of its tensors, as `reader.py` reads them.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from decoding.models.gguf.reader import DEFAULT_ALIGNMENT, LIST, MAGIC, STRING, VERSIONS
from decoding.models.gguf.tensor_types import TYPES

U32: Final = 4
_NUMBERS: Final = {kind.name: number for number, kind in TYPES.items()}


def write_header(
    metadata: Mapping[str, str | int | NDArray[np.uint32]], tensors: Iterable[tuple[str, str, tuple[int, ...], int]]
) -> bytes:
    """Return a header, padded to where the data begins.

    Its length depends on no number in it, so that a header can be written again when the numbers are known.

    Args:
        metadata: texts, numbers up to 32 bits, and lists of such numbers.
        tensors: name, type, shape as Hugging Face writes it, and offset of each; offsets are `aligned`.
    """
    described = [
        _text(name)
        + struct.pack(f"<I{len(shape)}Q", len(shape), *shape[::-1])
        + struct.pack("<IQ", _NUMBERS[kind], offset)
        for name, kind, shape, offset in tensors
    ]
    settings = [_text(key) + _value(value) for key, value in metadata.items()]
    start = MAGIC + struct.pack("<IQQ", VERSIONS[-1], len(described), len(settings))
    header = b"".join((start, *settings, *described))
    return header.ljust(aligned(len(header)), b"\0")


def aligned(offset: int) -> int:
    """Return the next offset at which a tensor may begin."""
    return -(-offset // DEFAULT_ALIGNMENT) * DEFAULT_ALIGNMENT


def _text(words: str) -> bytes:
    encoded = words.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _value(value: str | int | NDArray[np.uint32]) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _text(value)
    if isinstance(value, int):
        return struct.pack("<II", U32, value)
    return struct.pack("<IIQ", LIST, U32, len(value)) + value.astype("<u4").tobytes()
