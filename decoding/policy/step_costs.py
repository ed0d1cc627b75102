"""Learns the time of a target's step by its number of rows: measured at loading, corrected by each step.

Numbers only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

LEARNING = 0.1  # chosen: the weight of each new observation of a cost
MAX_SURPRISE = 2.0  # chosen: a measured time beyond this factor is taken as this factor, since the machine was busy


def interpolate(measured: Mapping[int, float]) -> list[float]:
    """Return the times of all widths from 1 on, interpolated from those of a few."""
    widths = sorted(measured)
    times: list[float] = []
    for rows in range(1, widths[-1] + 1):
        low = max((width for width in widths if width <= rows), default=widths[0])
        high = min(width for width in widths if width >= rows)
        share = (rows - low) / (high - low) if high > low else 0.0
        times.append(measured[low] + share * (measured[high] - measured[low]))
    return times


def tempered(ratio: float) -> float:
    """Return the ratio of a measured time to the expected one, as far as it is believed."""
    return min(max(ratio, 1 / MAX_SURPRISE), MAX_SURPRISE)


class StepCosts:
    """The time of a step by its number of rows, as measured at loading and corrected by each step since."""

    def __init__(self, measured: Mapping[int, float]) -> None:
        self._ms = interpolate(measured or {1: 1.0})
        # More rows never take less time. Where they seemed to, the machine was busy during the smaller measurement.
        for rows in range(len(self._ms) - 1, 0, -1):
            self._ms[rows - 1] = min(self._ms[rows - 1 : rows + 1])
        # A step takes no longer than two of half its rows. Where it seemed to, the machine was busy.
        for rows in range(2, len(self._ms) + 1):
            halves = self._ms[rows // 2 - 1] + self._ms[(rows + 1) // 2 - 1]
            self._ms[rows - 1] = min(self._ms[rows - 1], halves)
        self._scale = 1.0

    def table(self) -> Sequence[float]:
        """Return the times in milliseconds; item K is that of K + 1 rows."""
        if self._scale != 1.0:
            self._ms = [known * self._scale for known in self._ms]
            self._scale = 1.0
        return self._ms

    def learn(self, num_rows: int, ms: float) -> None:
        """Learn from one step. A longer context and a busy machine change all widths, so all are corrected a little."""
        if not 0 < num_rows <= len(self._ms) or ms <= 0:
            return
        ratio = tempered(ms / (self._ms[num_rows - 1] * self._scale))
        self._scale *= ratio ** (LEARNING * 0.8)
        self._ms[num_rows - 1] *= ratio ** (LEARNING * 0.2)
