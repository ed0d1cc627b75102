"""Shares the minutes of a command out: what is left of them for training, beside loading and measuring.

It must not know what is trained.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# chosen: what training gets at least, however long the rest takes, so that a run always makes something.
MIN_TRAINING_SHARE = 0.25
# chosen: measured again after training, and then in the engine, plainly and with the draft.
MEASURED_AGAIN = 3
# chosen: below so many minutes less is measured, in proportion.
MINUTES_OF_A_WHOLE_MEASUREMENT = 10


class CommandTime:
    """Follows a command that may take `minutes` in all, from now on; None means that nothing limits it."""

    def __init__(self, minutes: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._minutes = minutes
        self._clock = clock
        self._began = clock()
        self._measured_s = 0.0

    @property
    def is_over(self) -> bool:
        """Return whether the command has used up its minutes."""
        return self._minutes is not None and self._spent_s() >= self._minutes * 60

    def is_half_over(self) -> bool:
        """Return whether half of the command's minutes are used up."""
        return self._minutes is not None and self._spent_s() >= self._minutes * 30

    def few(self, usual: int) -> int:
        """Return how many of the usual number of things to measure a short command can afford, at least two."""
        share = 1.0 if self._minutes is None else min(1.0, self._minutes / MINUTES_OF_A_WHOLE_MEASUREMENT)
        return max(min(usual, 2), round(usual * share))

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Time a measurement that will be repeated after training."""
        began = self._clock()
        yield
        self._measured_s = self._clock() - began

    def minutes_to_train(self) -> float | None:
        """Return what is left for training, once everything before it is done."""
        if self._minutes is None:
            return None
        left_s = self._minutes * 60 - self._spent_s() - MEASURED_AGAIN * self._measured_s
        return max(MIN_TRAINING_SHARE * self._minutes, left_s / 60)

    def _spent_s(self) -> float:
        return self._clock() - self._began
