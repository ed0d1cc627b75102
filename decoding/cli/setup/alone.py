"""Keeps two setups, of two editors or terminals, from writing the same files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from decoding.errors import TabcastError

LOCK_FILE = ".setup.lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the lock in the folder of pulled models. Raises `TabcastError` if another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise TabcastError("another 'tabcast setup' is fetching or writing: wait for it, or interrupt it") from None
    try:
        yield
    finally:
        lock.release()
