"""Keeps rounded weights in a file, so that a model is rounded once: a GGUF file of tensors under their own names.

The file tells which weights it was made of, by name, size and time of their files, and has a checksum for each tensor.
One that is damaged, of other weights or of an older rounding is made again. Where nothing can be written, the weights
are rounded in memory at each start.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import numpy as np
import torch
from filelock import Timeout
from numpy.typing import NDArray

from decoding.errors import ModelError
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.folder.safetensors_headers import Entry
from decoding.models.folder.summary import Described
from decoding.models.gguf.reader import read_header
from decoding.models.gguf.tensor_table import StoredTensor
from decoding.models.gguf.writer import aligned, write_header
from decoding.models.loading.rounding import RoundedTensors
from decoding.models.weights.weight_schema import Schema, decoder_schema
from decoding.storage.pulled import MIN_FREE_BYTES, as_size
from decoding.storage.rounded_files import candidates, lock_of, note_use, places

log = logging.getLogger(__name__)

ARCHITECTURE: Final = "tabcast-rounded"  # no program computes it, so none takes the file for a whole model
VERSION: Final = 2  # of the rounding: its types, its search and the file's form
READ_BYTES: Final = 2**22
WAIT_S: Final = 600.0  # for another engine that rounds the same weights
LEAST_KEPT: Final = 50_000_000  # chosen: a smaller model is rounded within a second
LEFT_OVER_S: Final = 3600.0  # an unfinished file of that age belongs to a process that ended

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The rounded weights that are wanted: of which model, in which kind, with which tensors."""

    model: Path
    kind: str
    entries: Mapping[str, Entry]  # of the model's own files
    schema: Schema

    @property
    def identity(self) -> str:
        """What tells these weights from others of the same name. Raises `OSError`."""
        files = sorted({entry.file for entry in self.entries.values()})
        told = [(file.name, (found := file.stat()).st_size, found.st_mtime_ns) for file in files]
        return hashlib.sha256(json.dumps([VERSION, self.kind, told]).encode()).hexdigest()


def is_kept(folder: Described) -> bool:
    """Tell whether a file is kept for this model, or it is so small that it is rounded at each start."""
    return folder.num_parameters >= LEAST_KEPT


def wanted_for(folder: ModelFolder, kind: str) -> Wanted:
    """Return what is wanted for a model of our own forward pass."""
    return Wanted(model=folder.path, kind=kind, entries=folder.entries, schema=decoder_schema(folder.sizes))


def kept_entries(wanted: Wanted, rounded: RoundedTensors, num_bytes: int, tell: Tell) -> Mapping[str, Entry] | None:
    """Return the tensors of the file of rounded weights, which is made if there is none; None if it can't be.

    Args:
        wanted: what is asked for.
        rounded: rounds the tensors, if need be.
        num_bytes: about as many as the file takes.
        tell: is called with one sentence before what takes time.

    Raises:
        ModelError: the weights themselves can't be read.
    """
    try:
        identity = wanted.identity
        if (found := _find(wanted, identity)) is not None:
            return found
        with _alone(wanted, tell):
            if (found := _find(wanted, identity)) is not None:  # another engine made it meanwhile
                return found
            return _make(wanted, identity, rounded, num_bytes, tell)
    except OSError as error:
        log.warning("rounded weights can't be kept (%s), so each start rounds them", error.strerror or error)
        return None


def kept_file(wanted: Wanted) -> Path | None:
    """Return the file of rounded weights that is there for these very weights; its tensors are not read."""
    with suppress(OSError):
        identity = wanted.identity
        return next(
            (path for path in candidates(wanted.model, wanted.kind) if _described(path, wanted, identity)), None
        )
    return None


@contextmanager
def _alone(wanted: Wanted, tell: Tell) -> Iterator[None]:
    """Wait until no other engine makes the file; without a lock, two make it, and one of them counts."""
    try:
        lock = lock_of(wanted.model, wanted.kind)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            tell("waiting for another engine that rounds the same weights")
            lock.acquire(timeout=WAIT_S)
    except (OSError, Timeout):
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _find(wanted: Wanted, identity: str) -> Mapping[str, Entry] | None:
    """Return the tensors of a file whose checksums are right."""
    for path in candidates(wanted.model, wanted.kind):
        described = _described(path, wanted, identity)
        if described is None:
            continue
        tensors, checksums = described
        if _are_whole(tensors, checksums):
            note_use(path)
            return _entries(tensors)
        log.warning("%s is damaged, so the weights are rounded again", path)
    return None


def _described(
    path: Path, wanted: Wanted, identity: str
) -> tuple[Mapping[str, StoredTensor], NDArray[np.uint32]] | None:
    """Return a file's tensors and their checksums; None if there is no such file, or it is of something else."""
    if not path.is_file():
        return None
    try:
        header = read_header(path)
    except ModelError as error:
        log.warning("rounded weights can't be read, so the weights are rounded again: %s", error)
        return None
    checksums, metadata = header.metadata.get("tabcast.checksums"), header.metadata
    if metadata.get("general.architecture") != ARCHITECTURE or metadata.get("tabcast.source") != identity:
        log.info("%s was made of other weights, or by another version", path)
        return None
    shapes = {name: tensor.shape for name, tensor in header.tensors.items()}
    if shapes != dict(wanted.schema) or not isinstance(checksums, np.ndarray) or len(checksums) != len(shapes):
        return None
    return header.tensors, checksums


def _are_whole(tensors: Mapping[str, StoredTensor], checksums: NDArray[np.uint32]) -> bool:
    def is_whole(tensor: StoredTensor, checksum: int) -> bool:
        found, left = 0, tensor.num_bytes
        with tensor.file.open("rb", buffering=0) as stream:
            stream.seek(tensor.offset)
            while left > 0 and (part := stream.read(min(left, READ_BYTES))):
                found, left = zlib.crc32(part, found), left - len(part)
        return left == 0 and found == checksum

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return all(pool.map(is_whole, tensors.values(), checksums.tolist()))


def _make(
    wanted: Wanted, identity: str, rounded: RoundedTensors, num_bytes: int, tell: Tell
) -> Mapping[str, Entry] | None:
    """Write the file where that is possible. Raises `OSError` with the last reason why it isn't."""
    reason = OSError("there is no place for them")
    for path in places(wanted.model, wanted.kind):
        try:
            _make_at(path, wanted, identity, rounded, num_bytes, tell)
        except OSError as error:
            reason = error
            continue
        described = _described(path, wanted, identity)
        return None if described is None else _entries(described[0])
    raise reason


def _make_at(path: Path, wanted: Wanted, identity: str, rounded: RoundedTensors, num_bytes: int, tell: Tell) -> None:
    """Write the file under another name and then rename it, so that nobody reads half of it. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (free := shutil.disk_usage(path.parent).free) < num_bytes + MIN_FREE_BYTES:
        raise OSError(f"{path.parent} has {as_size(free)} free")
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".part")
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            tell(f"rounding the weights of {wanted.model.name}, once: {path} takes {as_size(num_bytes)}")
            _write(stream, wanted, identity, rounded)
        if wanted.identity != identity:
            raise ModelError(f"{wanted.model} was changed while it was read: load it again")
        unfinished.chmod(0o666 & min(entry.file.stat().st_mode for entry in wanted.entries.values()))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
        _sweep(path)


def _write(stream: IO[bytes], wanted: Wanted, identity: str, rounded: RoundedTensors) -> None:
    """Write the tensors, one in memory at a time, and the header when all are known."""
    described = [(name, "F32", shape, 0) for name, shape in wanted.schema.items()]
    checksums = np.zeros(len(described), np.uint32)
    start = stream.write(_header(identity, described, checksums))
    offset = 0
    for number, (name, _, shape, _) in enumerate(described):
        rounded.reuse_memory()
        type_name, data = _stored(rounded, name)
        described[number] = (name, type_name, shape, offset)
        checksums[number] = zlib.crc32(data)
        size = stream.write(data)
        stream.write(bytes(aligned(size) - size))
        offset += aligned(size)
    stream.seek(0)
    if stream.write(_header(identity, described, checksums)) != start:
        raise AssertionError("the header's length depends on its numbers")
    stream.flush()
    os.fsync(stream.fileno())


def _header(identity: str, described: list[tuple[str, str, tuple[int, ...], int]], sums: NDArray[np.uint32]) -> bytes:
    metadata: dict[str, str | int | NDArray[np.uint32]] = {
        "general.architecture": ARCHITECTURE,
        "tabcast.source": identity,
        "tabcast.checksums": sums,
    }
    return write_header(metadata, described)


def _stored(rounded: RoundedTensors, name: str) -> tuple[str, memoryview]:
    """Return a tensor's type and its bytes; what is not rounded keeps its numbers."""
    blocks = rounded.blocks(name)
    if blocks is not None:
        return blocks.type_name, np.ascontiguousarray(blocks.rows).data.cast("B")
    tensor = rounded.in_own_dtype(name).contiguous()
    if tensor.dtype == torch.bfloat16:
        return "BF16", tensor.view(torch.int16).numpy().data.cast("B")
    return "F32", tensor.numpy().data.cast("B")


def _entries(tensors: Mapping[str, StoredTensor]) -> dict[str, Entry]:
    return {name: Entry(tensor.file, tensor.kind.name, tensor.shape, tensor) for name, tensor in tensors.items()}


def _sweep(path: Path) -> None:
    """Remove what processes left that ended while they wrote."""
    with suppress(OSError):
        for left in path.parent.glob(f".{path.name}-*.part"):
            if left.stat().st_mtime < time.time() - LEFT_OVER_S:
                left.unlink(missing_ok=True)
