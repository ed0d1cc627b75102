"""Finds the runtime directories of this user's engines, of whatever version and configuration, and clears old ones.

Knows files and locks; it must not know HTTP, tokens or what an engine is asked. All of it blocks.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from decoding.protocol import ADDRESS_FILE, ENGINE_LOCK_FILE, LOG_FILE, START_LOCK_FILE
from lsp_server.engine.ending import is_locked

OURS: Final = re.compile(r"[0-9a-f]{12}")
FILES: Final = (ADDRESS_FILE, ENGINE_LOCK_FILE, START_LOCK_FILE, LOG_FILE)
OLD_S: Final = 7 * 86_400.0  # chosen: whoever looks for yesterday's log finds it


def directories(base: Path) -> list[Path]:
    """Return the runtime directories in a folder, known by name and by what is in them."""
    try:
        inside = sorted(base.iterdir())
    except OSError:
        return []
    return [
        folder
        for folder in inside
        if OURS.fullmatch(folder.name)
        and folder.is_dir()
        and not folder.is_symlink()
        and any((folder / name).exists() for name in FILES)
    ]


def with_engines(base: Path) -> Iterator[Path]:
    """Yield the directories in which an engine lives, be it responsive or not."""
    for folder in directories(base):
        if (folder / ENGINE_LOCK_FILE).exists() and is_locked(folder):
            yield folder


def remove_dead(base: Path, *, older_than_s: float = 0.0) -> list[Path]:
    """Remove the directories without an engine that nothing has changed for so long; return those removed."""
    removed = []
    for folder in directories(base):
        try:
            is_old = time.time() - _changed_s(folder) >= older_than_s
            if is_old and not ((folder / ENGINE_LOCK_FILE).exists() and is_locked(folder)):
                shutil.rmtree(folder)
                removed.append(folder)
        except OSError:
            continue  # another process uses it, or removes it too
    return removed


def _changed_s(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
