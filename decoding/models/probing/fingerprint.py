"""Tells whether two engines compute alike, so that one can go on with keys and values of the other.

What decides the bits is told: the weights' files, this code, the libraries, the number of threads. And a few tokens are
computed, because a list of causes may lack one.
"""

from __future__ import annotations

import hashlib
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from decoding.kv_cache import KeepsBlocks
from decoding.models.language_model import LanguageModel

NUM_TRIED: Final = 8
LIBRARIES: Final = ("torch", "numpy", "numba", "llvmlite")
CODE: Final = ("kv_cache.py", "models/cpu/*.py", "models/torch/*.py")
DIGEST_BYTES: Final = 8


def fingerprint(model: LanguageModel, weights: Path, threads: int) -> str:
    """Return what keys and values have in common that this model may hold, "" where it can't take any over.

    Args:
        model: on a CPU, and with a store whose blocks can be kept: another reads faster than a disk.
        weights: its folder or file.
        threads: with how many it computes.
    """
    cache = model.new_cache()
    if model.device.type != "cpu" or not isinstance(cache.store, KeepsBlocks) or not cache.can_roll_back:
        return ""
    tried = [token_id % model.shape.vocabulary for token_id in range(max(NUM_TRIED, model.chunk))]
    model.prefill(tried, cache)
    told = [*_files_of(weights), *_code(), *_libraries(), platform.machine(), threads]
    told += [type(model).__name__, str(model.dtype), repr(model.shape), model.chunk]
    digest = hashlib.sha256(json.dumps(told, default=str).encode())
    digest.update(cache.store.block_bytes(0))
    return digest.hexdigest()[: 2 * DIGEST_BYTES]


def _files_of(weights: Path) -> list[Any]:
    """Return names, sizes and times of a model's files. One that can't be looked at was computed with all the same."""
    try:
        files = sorted(weights.iterdir()) if weights.is_dir() else [weights]
        return [(file.name, (found := file.stat()).st_size, found.st_mtime_ns) for file in files if file.is_file()]
    except OSError:
        return [str(weights)]


def _code() -> list[str]:
    home = Path(__file__).parents[2]
    files = sorted(file for pattern in CODE for file in home.glob(pattern))
    return [hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()]


def _libraries() -> list[str]:
    found = []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(name)
    return found
