"""Shares a limit of time among the parts of a measurement, so that each has figures when it is over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class TimeLimit:
    """Some minutes for a number of parts: each may take an equal share of what is left."""

    def __init__(self, minutes: float | None, num_parts: int, clock: Callable[[], float] = time.monotonic) -> None:
        """None is no limit."""
        self._clock = clock
        self._end_s = math.inf if minutes is None else clock() + 60 * minutes
        self._num_left = num_parts
        self._part_end_s = self._end_s

    def begin_part(self) -> None:
        """Begin the next part."""
        now_s = self._clock()
        self._part_end_s = now_s + (self._end_s - now_s) / max(1, self._num_left)
        self._num_left -= 1

    @property
    def is_over(self) -> bool:
        """Whether the part has had its time."""
        return self._clock() >= self._part_end_s
