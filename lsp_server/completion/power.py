"""Tells whether this machine runs on its battery, where the system says so. It must not know what for."""

from __future__ import annotations

import asyncio
import ctypes
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

SUPPLIES: Final = Path("/sys/class/power_supply")
PMSET: Final = ("/usr/bin/pmset", "-g", "batt")
PMSET_TIMEOUT_S: Final = 5.0
# chosen: the system is asked again after so long.
KNOWN_S: Final = 20.0


class Power:
    """Remembers for a while what the system says."""

    def __init__(self, look: Callable[[], bool] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._look = look or is_on_battery
        self._clock = clock
        self._known = (False, -KNOWN_S)

    async def is_on_battery(self) -> bool:
        """Return whether the machine runs on its battery; False where nobody knows. The system is asked in a thread."""
        if self._clock() - self._known[1] >= KNOWN_S:
            self._known = await asyncio.to_thread(self._look), self._clock()
        return self._known[0]


def is_on_battery(platform: str = sys.platform, supplies: Path = SUPPLIES) -> bool:
    """Ask the system whether the machine runs on its battery; False if it doesn't tell."""
    with suppress(OSError, ValueError, AttributeError, subprocess.SubprocessError):
        if platform == "win32":
            return _says_windows()
        if platform == "darwin":
            said = subprocess.run(PMSET, capture_output=True, timeout=PMSET_TIMEOUT_S, check=True).stdout
            return b"Battery Power" in said.partition(b"\n")[0]
        return _says_linux(supplies)
    return False


def _says_linux(supplies: Path) -> bool:
    """Return whether a battery of the machine's own is discharging and no other supply is there."""
    is_discharging = False
    for supply in supplies.iterdir():
        kind = _read(supply / "type")
        if kind == "Battery" and _read(supply / "scope") != "Device":  # and not a mouse's
            is_discharging = is_discharging or _read(supply / "status") == "Discharging"
        elif kind in ("Mains", "USB") and _read(supply / "online") == "1":
            return False
    return is_discharging


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


class _PowerStatus(ctypes.Structure):
    """SYSTEM_POWER_STATUS of Windows; `ac` is 0 on battery, 1 on mains, 255 if that is unknown."""

    _fields_ = [
        ("ac", ctypes.c_ubyte),
        ("battery", ctypes.c_ubyte),
        ("percent", ctypes.c_ubyte),
        ("saver", ctypes.c_ubyte),
        ("left_s", ctypes.c_uint32),
        ("full_s", ctypes.c_uint32),
    ]


def _says_windows() -> bool:
    status = _PowerStatus()
    kernel: Any = getattr(ctypes, "windll").kernel32  # noqa: B009 - other systems' ctypes has no such attribute
    return bool(kernel.GetSystemPowerStatus(ctypes.byref(status))) and status.ac == 0
