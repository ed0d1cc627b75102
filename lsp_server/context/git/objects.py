"""Reads git's objects, loose ones and those of packs, by their SHA-1.

Other repositories that this one borrows objects from are not read. It must not know commits or documents.
"""

from __future__ import annotations

import io
import struct
from functools import cached_property
from pathlib import Path
from typing import IO, Final, NamedTuple

from lsp_server.context.git.bounded import MAX_OBJECT_BYTES, Budget, UnreadableError

SHA_BYTES: Final = 20
MAX_PACKS: Final = 200
# Git writes chains of up to 50 by itself, and 250 when it is asked to try hard.
MAX_DELTAS: Final = 300
_IDX_MAGIC: Final = b"\xfftOc\x00\x00\x00\x02"
_IDX_HEAD: Final = 8
_NAMES_AT: Final = _IDX_HEAD + 256 * 4
_KINDS: Final = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
_OFS_DELTA, _REF_DELTA = 6, 7


class GitObject(NamedTuple):
    """An object's kind (`commit`, `tree`, `blob`, `tag`) and its bytes."""

    kind: str
    data: bytes


class Objects:
    """The objects below one `objects` folder."""

    def __init__(self, folder: Path, budget: Budget) -> None:
        self._folder = folder
        self._budget = budget

    def read(self, sha: bytes, kind: str) -> bytes:
        """Return the bytes of an object of a kind. Raises `UnreadableError`, `OSError`, `zlib.error` or others."""
        found = self._read(sha)
        if found.kind != kind:
            raise UnreadableError(f"a {found.kind} stands where a {kind} should")
        return found.data

    def _read(self, sha: bytes) -> GitObject:
        name = sha.hex()
        try:
            with self._budget.opened(self._folder / name[:2] / name[2:]) as file:
                data = self._budget.inflate(file, MAX_OBJECT_BYTES + 64)
        except FileNotFoundError:
            return self._packed(sha)
        head, _, body = data.partition(b"\0")
        kind, _, size = head.decode("ascii").partition(" ")
        if int(size) != len(body):
            raise UnreadableError("an object is cut short")
        return GitObject(kind, body)

    def _packed(self, sha: bytes) -> GitObject:
        for idx in self._packs:
            if (offset := self._offset(idx, sha)) is not None:
                with self._budget.opened(idx.with_suffix(".pack")) as pack:
                    return self._at(pack, offset)
        raise UnreadableError("an object is missing")

    @cached_property
    def _packs(self) -> list[Path]:
        found = sorted((self._folder / "pack").glob("pack-*.idx"))
        if len(found) > MAX_PACKS:
            raise UnreadableError("there are too many packs")
        return found

    def _offset(self, idx: Path, sha: bytes) -> int | None:
        """Find an object's place in a pack by the pack's index, version 2, which is sorted."""
        with self._budget.opened(idx) as file:
            head = file.read(_NAMES_AT)
            self._budget.spend(len(head))
            if head[:_IDX_HEAD] != _IDX_MAGIC or len(head) < _NAMES_AT:
                raise UnreadableError("a pack's index is of an unknown kind")
            counts = struct.unpack_from(">256I", head, _IDX_HEAD)
            low, high, total = counts[sha[0] - 1] if sha[0] else 0, counts[sha[0]], counts[255]
            while low < high:
                middle = (low + high) // 2
                name = _read_at(file, _NAMES_AT + middle * SHA_BYTES, SHA_BYTES)
                if name == sha:
                    return self._offset_of(file, middle, total)
                low, high = (middle + 1, high) if name < sha else (low, middle)
        return None

    def _offset_of(self, file: IO[bytes], number: int, total: int) -> int:
        small_at = _NAMES_AT + total * (SHA_BYTES + 4)
        (offset,) = struct.unpack(">I", _read_at(file, small_at + 4 * number, 4))
        if offset < 1 << 31:
            return int(offset)
        large_at = small_at + 4 * total + 8 * (offset & 0x7FFFFFFF)
        return int(struct.unpack(">Q", _read_at(file, large_at, 8))[0])

    def _at(self, pack: IO[bytes], offset: int) -> GitObject:
        """Return the object at a place of a pack; deltas are applied to the object that they begin with."""
        deltas: list[bytes] = []
        while True:
            if len(deltas) > MAX_DELTAS:
                raise UnreadableError("a chain of deltas has no end")
            pack.seek(offset)
            code = _object_code(pack)
            if code in _KINDS:
                found = GitObject(_KINDS[code], self._budget.inflate(pack))
                break
            if code == _OFS_DELTA:
                distance = _distance(pack)
                deltas.append(self._budget.inflate(pack))
                offset -= distance
                if distance <= 0 or offset < 0:
                    raise UnreadableError("a delta leads nowhere")
            elif code == _REF_DELTA:
                base = _exactly(pack, SHA_BYTES)
                deltas.append(self._budget.inflate(pack))
                if (inside := self._offset(Path(pack.name).with_suffix(".idx"), base)) is None:
                    raise UnreadableError("a delta leads nowhere")
                offset = inside
            else:
                raise UnreadableError("a pack has an object of an unknown kind")
        for delta in reversed(deltas):
            found = GitObject(found.kind, self._applied(delta, found.data))
        return found

    def _applied(self, delta: bytes, base: bytes) -> bytes:
        stream = io.BytesIO(delta)
        if _size(stream) != len(base) or (size := _size(stream)) > MAX_OBJECT_BYTES:
            raise UnreadableError("a delta doesn't fit")
        self._budget.spend(size)
        parts: list[bytes] = []
        num_left = size
        while (code := stream.read(1)) and num_left >= 0:
            if code[0] & 0x80:
                start, length = _copied(stream, code[0])
                part = base[start : start + length]
                if len(part) != length:
                    raise UnreadableError("a delta doesn't fit")
            else:
                part = _exactly(stream, code[0])
                if not part:
                    raise UnreadableError("a delta doesn't fit")
            num_left -= len(part)
            parts.append(part)
        if num_left:
            raise UnreadableError("a delta doesn't fit")
        return b"".join(parts)


def _object_code(pack: IO[bytes]) -> int:
    """Read an object's head, and return its kind's number; the size that follows is passed over."""
    byte = _exactly(pack, 1)[0]
    code = byte >> 4 & 7
    while byte & 0x80:
        byte = _exactly(pack, 1)[0]
    return code


def _distance(pack: IO[bytes]) -> int:
    byte = _exactly(pack, 1)[0]
    found = byte & 0x7F
    while byte & 0x80:
        byte = _exactly(pack, 1)[0]
        found = (found + 1) << 7 | byte & 0x7F
        if found > 1 << 62:
            raise UnreadableError("a delta leads nowhere")
    return found


def _size(stream: IO[bytes]) -> int:
    found = shift = 0
    while shift < 63:
        byte = _exactly(stream, 1)[0]
        found |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return found
    raise UnreadableError("a delta doesn't fit")


def _copied(stream: IO[bytes], code: int) -> tuple[int, int]:
    """Return the start and the length of a part that a delta copies."""
    values = [_exactly(stream, 1)[0] << 8 * (bit % 4) if code & 1 << bit else 0 for bit in range(7)]
    return sum(values[:4]), sum(values[4:]) or 0x10000


def _read_at(file: IO[bytes], offset: int, size: int) -> bytes:
    file.seek(offset)
    return _exactly(file, size)


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise UnreadableError("a file is cut short")
    return data
