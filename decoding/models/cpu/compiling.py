"""Compiles functions to machine code, once for each machine and version of this package.

The compiled code lies in the user's cache folder, in a folder named by a hash of the sources: numba itself would not
see that a function's helpers have changed. Folders of other versions are removed when nobody has used them for long.
"""

from __future__ import annotations

import hashlib
import logging
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
from numba.core.caching import FunctionCache

log = logging.getLogger(__name__)

NAME_LENGTH = 16
UNUSED_DAYS = 30

# Compiled functions are called by address, so they must stay alive.
_callbacks: list[Any] = []
_troubles: list[Exception] = []


class _Cache(FunctionCache):
    """numba's cache of a function's machine code. If it fails, work goes on, and the next start compiles again.

    numba writes at the first call and not where a function is defined, so errors such as a full disk come there.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the cached machine code of the function, or None."""
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except Exception as error:  # a damaged file gives whatever unpickling raises
            _warn(error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save the machine code if possible."""
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except Exception as error:  # as above, since it reads the index first
            _warn(error)


def compiled(function: Callable[..., Any]) -> Any:
    """Compile with `numba.njit`, without the interpreter's lock; the code is cached on disk where that is possible."""
    dispatcher: Any = numba.njit(nogil=True)(function)
    with _own_cache():
        try:
            dispatcher._cache = _Cache(function)  # type: ignore[no-untyped-call]
        except (OSError, RuntimeError) as error:
            _warn(error)
    return dispatcher


def compiled_at_once(num_integers: int) -> Callable[[Callable[..., None]], int]:
    """Compile a function of so many integers when it is defined; its address replaces it."""

    def compile_it(function: Callable[..., None]) -> int:
        with _own_cache():
            signature = numba.void(*[numba.intp] * num_integers)
            try:
                callback: Any = numba.cfunc(signature, cache=True)(function)
            except Exception as error:  # what `_Cache` meets at a call
                _warn(error)
                callback = numba.cfunc(signature)(function)
        _callbacks.append(callback)
        return int(callback.address)

    return compile_it


def _warn(error: Exception) -> None:
    """Warn once for all functions what is wrong with the cache."""
    if not _troubles:
        where, reason = _cache_folder(), str(error) or type(error).__name__
        log.warning("compiled code can't be kept in %s, so every start compiles it again: %s", where, reason)
    _troubles.append(error)


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
