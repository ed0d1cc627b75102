"""Tells how much of the processor other programs took during a measurement: its times mean little where that is much.

Knows `/proc`; elsewhere nothing is told. What this process and the programs that it has waited for took is its own.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

MUCH_PERCENT: Final = 5.0  # chosen: with less, ratios of times stay within a few hundredths


class OtherPrograms:
    """Watches the processor from its making on."""

    def __init__(self) -> None:
        self._began = _now()

    def percent(self) -> float | None:
        """Return the share of all cores that others took since then; None where that can't be told."""
        if self._began is None or (ended := _now()) is None:
            return None
        wall_s, busy_s, own_s = (after - before for after, before in zip(ended, self._began, strict=True))
        whole_s = wall_s * (os.cpu_count() or 1)
        return round(max(0.0, 100 * (busy_s - own_s) / whole_s), 1) if whole_s > 0 else None


def _now() -> tuple[float, float, float] | None:
    """Return seconds on the clock, of all cores at work, and of this process with its ended children."""
    with suppress(OSError, ValueError, AttributeError):
        line = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()
        user, nice, system, _idle, _waiting, *rest = map(int, line[1:8])
        busy_s = (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")
        return time.monotonic(), busy_s, sum(os.times()[:4])
    return None
