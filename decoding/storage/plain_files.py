"""Opens files that anybody may have put there: none makes its reader wait, whatever a name or a link leads to."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Final

LEAST_READ: Final = 2**16
_READ: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def open_plain(path: Path) -> BufferedReader:
    """Open a plain file to be read; a pipe or a device is refused. Raises `OSError`."""
    file = os.fdopen(os.open(path, _READ), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(0, "it is no regular file")
    return file


def read_plain(path: Path, max_bytes: int) -> bytes | None:
    """Return what a plain file holds, None if that is more than `max_bytes` or grows meanwhile. Raises `OSError`."""
    with open_plain(path) as file:
        # A file of the kernel's has no size until it is read.
        size = max(os.fstat(file.fileno()).st_size, LEAST_READ)
        content = file.read(min(size, max_bytes) + 1) or b""
    return content if len(content) <= min(size, max_bytes) else None
