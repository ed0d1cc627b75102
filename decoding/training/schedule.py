"""Schedules a run: when it ends and how large its steps are, by warm-up, constant, then linear decay to zero.

All of it in shares of what was allowed (steps, minutes by the clock, or whichever is over first), so that a run always
ends decayed, however slow the machine was or however long it was paused. Knows no tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

WARM_UP_STEPS = 40
DECAY_SHARE = 0.4
EARLY_DECAY_STEPS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLength:
    """The length of a run, earlier stretches included; at least one of `steps` and `minutes` is given.

    With `steps` alone a run depends on nothing but its seed. As soon as `stop_file` exists, a run decays over its next
    200 steps and ends. After `stretch_minutes` it pauses wherever it is, to be continued from its checkpoint.
    """

    steps: int | None = None
    minutes: float | None = None
    stop_file: Path | None = None
    stretch_minutes: float | None = None


class Schedule:
    """Follows one stretch of a run that began at `began_s` (seconds spent in earlier stretches)."""

    def __init__(self, length: RunLength, *, began_s: float = 0.0) -> None:
        assert length.steps is not None or length.minutes is not None
        self._length = length
        self._began_s = began_s
        self._stopped_at: tuple[int, float] | None = None

    def rate(self, step: int, spent_s: float) -> float:
        """Return the factor of the learning rates, from 0 to 1; 0 means that the run is over."""
        rate = min(1.0, (step + 1) / WARM_UP_STEPS, max(0.0, 1 - self.share(step, spent_s)) / DECAY_SHARE)
        stop_file = self._length.stop_file
        if self._stopped_at is None and stop_file is not None and stop_file.exists():
            self._stopped_at = step, rate
        if self._stopped_at is not None:
            first, peak = self._stopped_at
            rate = min(rate, peak * max(0.0, 1 - (step - first) / EARLY_DECAY_STEPS))
        return rate

    def share(self, step: int, spent_s: float) -> float:
        """Return how much of the run is over, 0 to 1."""
        length = self._length
        shares = [step / length.steps] if length.steps is not None else []
        shares += [spent_s / (length.minutes * 60)] if length.minutes else []
        return min(1.0, max(shares, default=1.0))

    def is_stretch_over(self, spent_s: float) -> bool:
        """Return whether to save and leave the rest to a later stretch."""
        limit = self._length.stretch_minutes
        return limit is not None and spent_s - self._began_s >= limit * 60
