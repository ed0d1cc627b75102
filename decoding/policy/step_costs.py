"""What a step of the target takes by its number of rows: measured at loading, corrected by each step. Numbers only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

LEARNING = 0.1  # of costs, at each observation
MAX_SURPRISE = 2.0  # a measured time beyond this factor is taken as this factor: the machine was busy with others


def interpolate(measured: Mapping[int, float]) -> list[float]:
    """Times of all widths from 1 on, from those of a few."""
    widths = sorted(measured)
    times: list[float] = []
    for rows in range(1, widths[-1] + 1):
        low = max((width for width in widths if width <= rows), default=widths[0])
        high = min(width for width in widths if width >= rows)
        share = (rows - low) / (high - low) if high > low else 0.0
        times.append(measured[low] + share * (measured[high] - measured[low]))
    return times


def tempered(ratio: float) -> float:
    """How far a measured time is from the expected one, as much of it as is believed."""
    return min(max(ratio, 1 / MAX_SURPRISE), MAX_SURPRISE)


class StepCosts:
    """The time of a step by its number of rows, as measured at loading and corrected by each step since."""

    def __init__(self, measured: Mapping[int, float]) -> None:
        self._ms = interpolate(measured or {1: 1.0})
        # More rows don't take less time; where they seemed to, the machine was busy with others.
        for rows in range(len(self._ms) - 1, 0, -1):
            self._ms[rows - 1] = min(self._ms[rows - 1 : rows + 1])
        # And a step takes no longer than two of half its rows.
        for rows in range(2, len(self._ms) + 1):
            halves = self._ms[rows // 2 - 1] + self._ms[(rows + 1) // 2 - 1]
            self._ms[rows - 1] = min(self._ms[rows - 1], halves)
        self._scale = 1.0

    def table(self) -> Sequence[float]:
        """Item K is the time of K + 1 rows."""
        if self._scale != 1.0:
            self._ms = [known * self._scale for known in self._ms]
            self._scale = 1.0
        return self._ms

    def learn(self, num_rows: int, ms: float) -> None:
        """A longer context and a busy machine change all widths, and the one that was seen a little more."""
        if not 0 < num_rows <= len(self._ms) or ms <= 0:
            return
        ratio = tempered(ms / (self._ms[num_rows - 1] * self._scale))
        self._scale *= ratio ** (LEARNING * 0.8)
        self._ms[num_rows - 1] *= ratio ** (LEARNING * 0.2)
