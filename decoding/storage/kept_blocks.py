"""Keeps computed keys and values on this machine's disk: private files, checked when they are read, bounded in size.

One that is damaged, of another form or another user's counts as missing. Several engines may share the folder. Knows
names and bytes, and nothing of what they mean.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
import zlib
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from decoding.protocol import make_private, read_private, write_private
from decoding.storage.pulled import MIN_FREE_BYTES

log = logging.getLogger(__name__)

VARIABLE: Final = "TABCAST_KEPT_CACHES"
FOLDER: Final = "keys-and-values"
ENDING: Final = ".kv"
MAGIC: Final = b"tabcast keys and values 1\n"
HEAD_BYTES: Final = len(MAGIC) + 4
MAX_BLOCK_BYTES: Final = 1 << 28
LEFT_OVER_S: Final = 3600.0  # an unfinished file of that age belongs to a process that ended
MILLISECOND_NS: Final = 10**6


def folder() -> Path:
    """Return the folder of kept keys and values; `TABCAST_KEPT_CACHES` names another place."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    try:
        import platformdirs  # noqa: PLC0415 - absent on some GPU machines, where `bench` and `train` must run
    except ImportError:
        return Path.home() / ".cache" / "tabcast" / FOLDER
    return platformdirs.user_cache_path("tabcast") / FOLDER


def name_of(model: Path) -> str:
    """Return how the names of all blocks of a model begin."""
    return hashlib.sha256(os.fsencode(model.absolute())).hexdigest()[:16]


def remove_kept(model: Path | None = None) -> None:
    """Delete what is kept of a model, or of all."""
    with suppress(OSError):
        for file in folder().glob(f"{name_of(model) if model else ''}*{ENDING}*"):
            file.unlink(missing_ok=True)


def kept_bytes() -> int:
    """Return the size of all that is kept."""
    return sum(size for size, _ in _files(folder()).values())


class KeptBlocks:
    """The files of one folder, by name, up to `max_bytes` together; the least recently used go first."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        """Make the folder if it isn't there. Raises `OSError` if it can't be made, or isn't this user's alone."""
        make_private(directory)
        self._directory = directory
        self._max_bytes = max_bytes
        self._names: frozenset[str] = frozenset()
        self.num_bytes = 0
        self.look()

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def look(self) -> dict[str, tuple[int, int]]:
        """Look at the folder again; return size and time of last use of each file, unfinished ones included."""
        files = _files(self._directory)
        self._names = frozenset(name.removesuffix(ENDING) for name in files if name.endswith(ENDING))
        self.num_bytes = sum(size for size, _ in files.values())
        return files

    def read(self, name: str) -> memoryview | None:
        """Return what is kept under a name, None if that is missing or damaged; a damaged file is removed."""
        path = self._path(name)
        try:
            content = memoryview(read_private(path, MAX_BLOCK_BYTES))
            if content[:HEAD_BYTES] == _head(name, content[HEAD_BYTES:]):
                return content[HEAD_BYTES:]
            log.warning("%s is damaged, and removed", path.name)
        except (OSError, ValueError) as error:
            log.debug("what was kept can't be read: %s", error)
        self.forget(name)
        return None

    def forget(self, name: str) -> None:
        """Remove a block that is of no use."""
        self._names = self._names - {name}
        with suppress(OSError):
            self._path(name).unlink(missing_ok=True)

    def write(self, name: str, content: bytes, spared: Collection[str] = ()) -> bool:
        """Keep a block in place of the least recently used others; return whether there was room.

        Args:
            name: of the block.
            content: what it holds.
            spared: names that must not go for it.
        """
        size = HEAD_BYTES + len(content)
        if not self._make_room(size, {other + ENDING for other in spared}):
            return False
        write_private(self._path(name), _head(name, content) + content)
        self._names = self._names | {name}
        self.num_bytes += size
        return True

    def note_use(self, names: Sequence[str]) -> None:
        """Note that a chain of blocks is used: its first block is the last to go, since the others need it."""
        now_ns = time.time_ns()
        for number, name in enumerate(names):
            used_ns = now_ns - number * MILLISECOND_NS
            with suppress(OSError):
                os.utime(self._path(name), ns=(used_ns, used_ns))

    def _make_room(self, size: int, spared: Collection[str]) -> bool:
        if shutil.disk_usage(self._directory).free < MIN_FREE_BYTES + size:
            return False
        files = self.look()
        _sweep(self._directory, files)
        whole = (name for name in files if name.endswith(ENDING) and name not in spared)
        oldest = sorted(whole, key=lambda name: files[name][1])
        too_many = self.num_bytes + size - self._max_bytes
        if too_many > sum(files[name][0] for name in oldest):
            return False
        for name in oldest:
            if too_many <= 0:
                break
            (self._directory / name).unlink(missing_ok=True)
            self._names = self._names - {name.removesuffix(ENDING)}
            self.num_bytes -= files[name][0]
            too_many -= files[name][0]
        return True

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}{ENDING}"


def _head(name: str, content: bytes | memoryview) -> bytes:
    """Return what stands before a block: its form, and a checksum of its name and content."""
    return MAGIC + zlib.crc32(content, zlib.crc32(name.encode())).to_bytes(4, "little")


def _files(directory: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of last use of our files in a folder; nothing if it can't be read."""
    found: dict[str, tuple[int, int]] = {}
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if ENDING in entry.name:
                with suppress(OSError):
                    told = entry.stat(follow_symlinks=False)
                    found[entry.name] = told.st_size, told.st_mtime_ns
    return found


def _sweep(directory: Path, files: dict[str, tuple[int, int]]) -> None:
    """Remove what processes left that ended while they wrote."""
    before_ns = time.time_ns() - int(LEFT_OVER_S * 1e9)
    for name, (_, used_ns) in files.items():
        if not name.endswith(ENDING) and used_ns < before_ns:
            with suppress(OSError):
                (directory / name).unlink(missing_ok=True)
