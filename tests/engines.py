"""Engines that tests start, and how they are ended."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from decoding.protocol import Address


def engine_pids(base: Path) -> list[int]:
    """The process ids in the address files under `base`; such an engine may have ended."""
    addresses = [Address.read(file.parent) for file in base.glob("**/engine.json")]
    return [address.pid for address in addresses if address is not None and address.pid]


def stop_all(base: Path) -> None:
    """End every engine that runs or starts in a folder below `base`; none is the normal case."""
    for pid in {*engine_pids(base), *_pids_below(base)}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def _pids_below(base: Path) -> Iterator[int]:
    """Yield who was told to work below `base`: an engine that still starts has no address file. Linux alone tells."""
    if not (base.is_dir() and any(base.iterdir())):
        return
    wanted = b"\0--runtime-dir\0" + os.fsencode(base) + b"/"
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            if wanted in file.read_bytes():
                yield int(file.parent.name)
