"""Keeps suggestions away for some minutes, because the user said so. It must not know documents or the wire."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final

DEFAULT_MINUTES: Final = 5.0
MAX_MINUTES: Final = 24 * 60.0


class Snooze:
    """One editor window's pause; `on_change` is called when it begins and when it ends."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._timer: asyncio.TimerHandle | None = None

    @property
    def minutes_left(self) -> int:
        """Return how many minutes are left, rounded up; 0 if there is no pause."""
        if self._timer is None:
            return 0
        return max(1, math.ceil((self._timer.when() - asyncio.get_running_loop().time()) / 60))

    def begin(self, minutes: float) -> None:
        """Pause for so many minutes from now, in place of a pause before; 0 ends it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if minutes > 0:
            self._timer = asyncio.get_running_loop().call_later(60 * min(minutes, MAX_MINUTES), self._end)
        self._on_change()

    def close(self) -> None:
        """End the pause without telling anybody."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        self._timer = None
        self._on_change()
