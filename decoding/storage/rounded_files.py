"""Says where the rounded weights of a model are kept: beside the model, or in the user's cache folder.

Nothing is put into what other programs keep, because they may remove what they don't know. The names have an ending of
their own, so that no program takes such a file for a model.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import platformdirs
from filelock import FileLock

from decoding.storage.discovery import found_models

ENDING: Final = ".tabcast-"
FOLDERS_OWN: Final = "weights"  # the beginning of the name of a file within a model's folder
UNUSED_DAYS: Final = 30
DAY_NS: Final = 86_400 * 10**9
KINDS: Final = ("int4", "int8")


def cache_folder() -> Path:
    """Return the folder for models beside which nothing can be written."""
    return platformdirs.user_cache_path("tabcast") / "rounded"


def candidates(model: Path, kind: str) -> tuple[Path, Path]:
    """Return where the rounded weights of a folder or a GGUF file may lie: beside it, and in the cache."""
    name = FOLDERS_OWN if model.is_dir() else model.name
    beside = (model if model.is_dir() else model.parent) / f"{name}{ENDING}{kind}"
    return beside, cache_folder() / f"{_digest(model)}-{model.name}{ENDING}{kind}"


def places(model: Path, kind: str) -> tuple[Path, ...]:
    """Return where rounded weights may be written, the better place first."""
    beside, cached = candidates(model, kind)
    home = (model if model.is_dir() else model.parent).absolute()
    others = {home, model.absolute()} & {found.path.absolute() for found in found_models(os.environ, Path.home())}
    return (cached,) if others else (beside, cached)


def files_of(model: Path) -> list[Path]:
    """Return the files of rounded weights that there are for a model."""
    return [path for kind in KINDS for path in candidates(model, kind) if path.is_file()]


def remove_rounded(model: Path) -> None:
    """Delete all rounded weights of a model."""
    for path in files_of(model):
        path.unlink(missing_ok=True)


def lock_of(model: Path, kind: str) -> FileLock:
    """Return the lock of whoever writes a model's rounded weights. Raises `OSError` if there can't be one."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return FileLock(folder / f"{_digest(model)}-{kind}.lock")


def note_use(path: Path) -> None:
    """Note that a file is used, if it is in the cache, and remove those there that were not for `UNUSED_DAYS`."""
    if path.parent != cache_folder():
        return
    now_ns = time.time_ns()
    with suppress(OSError):
        # The time of access: by the time of change, another engine that reads the file sees that it was replaced.
        os.utime(path, ns=(now_ns, path.stat().st_mtime_ns))
        for other in path.parent.iterdir():
            used = other.stat()
            if other != path and max(used.st_atime_ns, used.st_mtime_ns) < now_ns - UNUSED_DAYS * DAY_NS:
                other.unlink(missing_ok=True)


def _digest(model: Path) -> str:
    return hashlib.sha256(os.fsencode(model.absolute())).hexdigest()[:16]
