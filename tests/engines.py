"""Engines that tests start, and how they are ended."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from decoding.protocol import Address


def engine_pids(base: Path) -> list[int]:
    """The process ids in the address files under `base`; such an engine may have ended."""
    addresses = [Address.read(file.parent) for file in base.glob("**/engine.json")]
    return [address.pid for address in addresses if address is not None and address.pid]


def stop_all(base: Path) -> None:
    """End every engine whose address file lies under `base`; none is the normal case."""
    for pid in engine_pids(base):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
