"""Compiles functions to machine code, once for each machine and version of this package.

The compiled code lies in the user's cache folder, in a folder named by a hash of the sources: numba itself would not
see that a function's helpers have changed. Folders of other versions are removed when nobody has used them for long.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import string
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
import platformdirs

NAME_LENGTH = 16
UNUSED_DAYS = 30

# An address is good for as long as what it belongs to.
_callbacks: list[Any] = []


def compiled(function: Callable[..., Any]) -> Any:
    """`numba.njit` without the interpreter's lock, kept on disk where anything can be."""
    with _own_cache():
        try:
            return numba.njit(nogil=True, cache=True)(function)
        except (OSError, RuntimeError):
            return numba.njit(nogil=True)(function)


def compiled_at_once(num_integers: int) -> Callable[[Callable[..., None]], int]:
    """Compile a function of so many integers when it is defined; what stays is its address."""

    def compile_it(function: Callable[..., None]) -> int:
        with _own_cache():
            signature = numba.void(*[numba.intp] * num_integers)
            try:
                callback: Any = numba.cfunc(signature, cache=True)(function)
            except (OSError, RuntimeError):
                callback = numba.cfunc(signature)(function)
        _callbacks.append(callback)
        return int(callback.address)

    return compile_it


@contextmanager
def _own_cache() -> Iterator[None]:
    config: Any = numba.config
    usual, config.CACHE_DIR = config.CACHE_DIR, str(_cache_folder())
    try:
        yield
    finally:
        config.CACHE_DIR = usual


@cache
def _cache_folder() -> Path:
    sources = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    name = hashlib.sha256(sources).hexdigest()[:NAME_LENGTH]
    folder = platformdirs.user_cache_path("tabcast") / "kernels" / name
    tidy(folder, now_s=time.time())
    return folder


def tidy(used: Path, *, now_s: float) -> None:
    """Note that a version's folder is used, and remove those beside it that were not for `UNUSED_DAYS`."""
    with suppress(OSError):
        os.utime(used, (now_s, now_s))
    with suppress(OSError):
        for folder in used.parent.iterdir():
            is_ours = len(folder.name) == NAME_LENGTH and set(folder.name) <= set(string.hexdigits)
            if is_ours and folder != used and folder.stat().st_mtime < now_s - UNUSED_DAYS * 86_400:
                shutil.rmtree(folder, ignore_errors=True)
