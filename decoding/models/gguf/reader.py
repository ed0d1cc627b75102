"""Reads a GGUF file's header: its metadata, and where its tensors lie; no weight is read.

Anybody may have made the file. Its counts, lengths and offsets are checked against the file's own size before anything
is allocated, so that a file can't take more memory than a small multiple of its bytes, and each fault is one sentence.
The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from decoding.errors import ModelError
from decoding.models.gguf.tensor_table import StoredTensor, locate

Value = bool | int | float | str | list[str] | NDArray[Any]

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)
MIB: Final = 2**20
# chosen: so much is read at first. Published headers have up to 20 MiB, nearly all of it the tokenizer's.
FIRST_BYTES: Final = 16 * MIB
MAX_HEADER_BYTES: Final = 256 * MIB
BEGINNING_BYTES: Final = 2**16
MAX_KEYS: Final = 2**16
MAX_KEY_BYTES: Final = 2**16 - 1
MAX_ITEMS: Final = 2**21  # chosen: of a list; the longest are a tokenizer's, and published ones have half a million
MAX_TENSORS: Final = 200_000
MAX_DIMENSIONS: Final = 4
MAX_NAME_BYTES: Final = 256
MAX_ALIGNMENT: Final = 2**16
DEFAULT_ALIGNMENT: Final = 32
STRING: Final = 8
LIST: Final = 9
NUMBERS: Final[Mapping[int, str]] = {
    0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "u1", 10: "<u8", 11: "<i8", 12: "<f8",
}  # fmt: skip
BOOLEAN: Final = 7
FLOAT32: Final = 6

_U32: Final = struct.Struct("<I").unpack_from
_U64: Final = struct.Struct("<Q").unpack_from


class _EndError(Exception):
    """The header goes on behind the bytes that were read so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The contents of one file's header."""

    metadata: Mapping[str, Value]
    tensors: Mapping[str, StoredTensor]


def read_header(file: Path) -> Header:
    """Read one file's header. Raises `ModelError` with one sentence for whatever is wrong with it."""
    if not file.is_file():  # opening a pipe would wait for ever
        raise ModelError(f"{file}: not a GGUF file (there is no regular file of this name)")
    try:
        with file.open("rb") as stream:
            found = os.fstat(stream.fileno())
            size = found.st_size
            data = stream.read(min(size, FIRST_BYTES))
            _check_kind(data, file)
            while True:
                try:
                    return _Reader(file, data, size, found.st_mtime_ns).header()
                except _EndError:
                    if len(data) >= min(size, MAX_HEADER_BYTES):
                        raise ModelError(_why_endless(file, size)) from None
                    more = stream.read(min(3 * len(data), MAX_HEADER_BYTES - len(data)))
                    if not more:
                        raise ModelError(f"{file} was changed while it was read: load it again") from None
                    data += more
    except OSError as error:
        raise ModelError(f"{file} can't be read: {error.strerror}") from None


def read_beginning(file: Path) -> dict[str, Value]:
    """Read the settings before the first list, which tell the kind of model: a matter of a millisecond.

    Raises `ModelError` if it is no GGUF file.
    """
    try:
        with file.open("rb") as stream:
            data, found = stream.read(BEGINNING_BYTES), os.fstat(stream.fileno())
        _check_kind(data, file)
        return _Reader(file, data, found.st_size, found.st_mtime_ns).beginning()
    except OSError as error:
        raise ModelError(f"{file} can't be read: {error.strerror}") from None


def one_value(metadata: Mapping[str, Value], key: str, file: Path) -> bool | int | float | str | None:
    """Return a setting that is no list, None where there is none. Raises `ModelError`."""
    value = metadata.get(key)
    if isinstance(value, (list, np.ndarray)):
        raise ModelError(f"{file}: {key} must be one value and is a list")
    return value


def _why_endless(file: Path, size: int) -> str:
    if size > MAX_HEADER_BYTES:
        return f"{file}: its header would have more than {MAX_HEADER_BYTES // MIB} MiB, which no model needs"
    return f"{file} is cut short: it ends within its header, so fetch it again"


def _check_kind(data: bytes, file: Path) -> None:
    if data[:4] != MAGIC:
        hint = "it begins with other bytes" if len(data) >= 4 else "it is too short"
        raise ModelError(f"{file}: not a GGUF file ({hint})")
    if len(data) < 8:
        raise ModelError(f"{file} is cut short: it ends within its header, so fetch it again")
    version = _U32(data, 4)[0]
    if version in VERSIONS:
        return
    if int.from_bytes(data[4:8], "big") in VERSIONS:
        raise ModelError(f"{file} was written for big-endian machines, which is not read: take the ordinary file")
    raise ModelError(f"{file} is GGUF of version {version}, and only versions 2 and 3 are read: take a newer file")


class _Reader:
    """Reads a header from its first byte to its last."""

    def __init__(self, file: Path, data: bytes, size: int, changed_ns: int) -> None:
        self._file, self._data, self._size, self._changed_ns = file, data, size, changed_ns
        self._at = 8

    def header(self) -> Header:
        num_tensors, num_keys = self._u64(), self._u64()
        if num_keys > min(MAX_KEYS, self._size // 13):
            raise self._fault(f"it would have {num_keys:,} settings")
        if num_tensors > min(MAX_TENSORS, self._size // 24):
            raise self._fault(f"it would have {num_tensors:,} tensors")
        metadata: dict[str, Value] = {}
        for _ in range(num_keys):
            key = self._text(MAX_KEY_BYTES, "a setting's name", least=1)
            if key in metadata:
                raise self._fault(f"the setting {key} is there twice")
            metadata[key] = self._value(key)
        described = [self._tensor() for _ in range(num_tensors)]
        start = -(-self._at // (alignment := self._alignment(metadata))) * alignment
        tensors = locate(self._file, described, start, alignment, self._size, self._changed_ns)
        return Header(metadata=metadata, tensors=tensors)

    def beginning(self) -> dict[str, Value]:
        """Return the settings before the first list or the end of what was read."""
        metadata: dict[str, Value] = {}
        try:
            self._u64()
            for _ in range(min(self._u64(), MAX_KEYS)):
                key, kind = self._text(MAX_KEY_BYTES, "a setting's name", least=1), self._u32()
                if kind == LIST:
                    break
                metadata[key] = self._text(MAX_KEY_BYTES, key) if kind == STRING else self._number(kind, key)
        except _EndError:
            pass
        return metadata

    def _alignment(self, metadata: Mapping[str, Value]) -> int:
        alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        is_power = type(alignment) is int and 0 < alignment <= MAX_ALIGNMENT and alignment & (alignment - 1) == 0
        if not is_power or not isinstance(alignment, int):
            raise self._fault(f"general.alignment must be a power of two up to {MAX_ALIGNMENT:,}")
        return alignment

    def _tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        """Read name, dimensions with the row's length first, number of the type, and offset."""
        name = self._text(MAX_NAME_BYTES, "a tensor's name", least=1)
        num_dimensions = self._u32()
        if not 1 <= num_dimensions <= MAX_DIMENSIONS:
            raise self._fault(f"tensor {name} would have {num_dimensions:,} dimensions")
        return name, tuple(self._u64() for _ in range(num_dimensions)), self._u32(), self._u64()

    def _value(self, key: str) -> Value:
        kind = self._u32()
        if kind == STRING:
            return self._text(MAX_HEADER_BYTES, key)
        if kind != LIST:
            return self._number(kind, key)
        kind, count = self._u32(), self._u64()
        if kind == LIST:
            raise self._fault(f"{key} is a list of lists, which no model needs")
        if count > MAX_ITEMS:
            raise self._fault(f"the list {key} would have {count:,} items, and {MAX_ITEMS:,} are allowed")
        if kind == STRING:
            return self._texts(count, key)
        return self._numbers(kind, count, key)

    def _numbers(self, kind: int, count: int, key: str) -> NDArray[Any]:
        code = NUMBERS.get(kind)
        if code is None:
            raise self._fault(f"the setting {key} has the unknown type {kind}")
        dtype = np.dtype(code)
        values = np.frombuffer(self._take(count * dtype.itemsize, key), dtype)
        return values != 0 if kind == BOOLEAN else values

    def _number(self, kind: int, key: str) -> bool | int | float:
        number = self._numbers(kind, 1, key)[0]
        # The shortest decimal is the number that was meant: 1e-06 and not 9.999999974752427e-07.
        value: bool | int | float = float(str(number)) if kind == FLOAT32 else number.item()
        return value

    def _texts(self, count: int, key: str) -> list[str]:
        """Read all strings of a list in one go, because a vocabulary has some hundred thousand."""
        if 8 * count > self._size - self._at:
            raise self._fault(f"the list {key} would have {count:,} texts, more than there is room for")
        data, at, end, texts = self._data, self._at, len(self._data), []
        try:
            for _ in range(count):
                start = at + 8
                at = start + _U64(data, at)[0]
                if at > end:
                    break
                texts.append(data[start:at].decode())
        except struct.error:
            raise _EndError from None
        except UnicodeDecodeError:
            raise self._fault(f"{key} holds a text that isn't UTF-8") from None
        if at > end:
            self._at = start
            self._take(at - start, key)
        self._at = at
        return texts

    def _text(self, most: int, what: str, least: int = 0) -> str:
        length = self._u64()
        if not least <= length <= most:
            raise self._fault(f"{what} would have {length:,} bytes")
        try:
            words = self._take(length, what).decode()
        except UnicodeDecodeError:
            raise self._fault(f"{what} isn't UTF-8") from None
        if least and not words.isprintable():  # names are shown to people
            raise self._fault(f"{what} holds control characters")
        return words

    def _u32(self) -> int:
        value: int = _U32(self._take(4, ""))[0]
        return value

    def _u64(self) -> int:
        value: int = _U64(self._take(8, ""))[0]
        return value

    def _take(self, length: int, what: str) -> bytes:
        if what and length > self._size - self._at:
            raise self._fault(f"{what} would have {length:,} bytes, more than there are left")
        end = self._at + length
        if end > len(self._data):
            raise _EndError
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def _fault(self, what: str) -> ModelError:
        return ModelError(f"{self._file}: its header is damaged ({what}), so fetch the file again")
