"""Engines that tests start, and how they are ended."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from decoding.protocol import Address


def stop_all(base: Path) -> None:
    """End every engine whose address file lies under `base`; none is the normal case."""
    for file in base.glob("**/engine.json"):
        address = Address.read(file.parent)
        if address is not None and address.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(address.pid, signal.SIGTERM)
