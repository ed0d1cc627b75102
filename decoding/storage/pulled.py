"""Keeps what `tabcast models pull` has fetched: a folder for each model, with a record of its files and checksums.

Knows files and checksums; fetches and loads nothing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from decoding.config import models_directory
from decoding.errors import ModelError

RECORD: Final = "tabcast-pull.json"
PARTS: Final = ".parts"
MIN_FREE_BYTES: Final = 512 * 2**20
READ_BYTES: Final = 2**20

# Called with the current file, the bytes fetched so far, and the bytes to fetch in all.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of a model; `digest` is its SHA-256, or git's SHA-1 for small ones."""

    name: str
    num_bytes: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """A model as `pull` left it; `is_complete` is false if it was interrupted."""

    name: str
    folder: Path
    revision: str
    files: tuple[File, ...]
    is_complete: bool

    @property
    def num_bytes(self) -> int:
        """The size of all files in bytes."""
        return sum(file.num_bytes for file in self.files)


def pulled_models() -> list[Pulled]:
    """Return all models that were pulled, by name."""
    records = (read_record(path.parent) for path in sorted(models_directory().glob(f"*/*/{RECORD}")))
    return [record for record in records if record is not None]


def read_record(folder: Path) -> Pulled | None:
    """Read the record of a pulled folder; None if it wasn't pulled, or the record is broken."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        files = tuple(
            File(name=file["name"], num_bytes=file["bytes"], digest=file["digest"]) for file in record["files"]
        )
        return Pulled(
            name=record["name"], folder=folder, revision=record["revision"], files=files, is_complete=record["complete"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove(pulled: Pulled) -> None:
    """Delete the files that a pull made, whole or not, and the folders that are empty then."""
    for file in (*pulled.files, File(name=RECORD, num_bytes=0, digest="")):
        (pulled.folder / Path(file.name).name).unlink(missing_ok=True)
    shutil.rmtree(pulled.folder / PARTS, ignore_errors=True)
    for place in (pulled.folder, pulled.folder.parent):
        if not any(place.iterdir()):
            place.rmdir()


def write_record(pulled: Pulled) -> None:
    """Write down which files belong to a model."""
    pulled.folder.mkdir(parents=True, exist_ok=True)
    files: list[dict[str, Any]] = [
        {"name": file.name, "bytes": file.num_bytes, "digest": file.digest} for file in pulled.files
    ]
    record = {"name": pulled.name, "revision": pulled.revision, "complete": pulled.is_complete, "files": files}
    (pulled.folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def is_whole(path: Path, file: File) -> bool:
    """Return whether a file is there with the right size and content."""
    if not path.is_file() or path.stat().st_size != file.num_bytes:
        return False
    if len(file.digest) == hashlib.sha256().digest_size * 2:
        digest = hashlib.sha256()
    else:  # git's own digest of a blob; SHA-1 isn't used for security here
        digest = hashlib.sha1(b"blob %d\0" % file.num_bytes, usedforsecurity=False)
    for part in _parts(path):
        digest.update(part)
    return digest.hexdigest() == file.digest


def _parts(path: Path) -> Iterator[bytes]:
    with path.open("rb") as opened:
        while part := opened.read(READ_BYTES):
            yield part


def check_disk(folder: Path, num_bytes: int) -> None:
    """Raise `ModelError` if the disk has no room for so many bytes more."""
    place = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(place).free
    if num_bytes + MIN_FREE_BYTES > free:
        raise ModelError(f"{as_size(num_bytes)} are to be fetched, and {place} has {as_size(free)} free")


def as_size(num_bytes: int) -> str:
    """Format a number of bytes for people."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= size / 10:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes / 1e3:.1f} kB"
