"""Measures the parts of a round: the drafting, the target's step, and the gap before the next round."""

from __future__ import annotations

from collections.abc import Callable


class Stopwatch:
    """Measures milliseconds, of one answer at a time. Each look at the clock counts with the part before it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` returns seconds."""
        self._clock = clock
        self._step_began: float | None = None
        self._round_ended: float | None = None
        self._draft_ms = 0.0

    def begin(self) -> None:
        """Forget the rounds of the last answer."""
        self._step_began = self._round_ended = None

    def now_ms(self) -> float:
        """Return the time since an arbitrary moment."""
        return self._clock() * 1e3

    def gap_ms(self) -> float | None:
        """Return the time since the last round; None if it was skipped or there was none."""
        return None if self._round_ended is None else self.now_ms() - self._round_ended

    def begin_step(self) -> None:
        """Note that the draft is chosen, and the target's step begins."""
        self._step_began = self.now_ms()

    def step_ms(self, now_ms: float) -> float | None:
        """Return the time of the step that ends now; None if none began."""
        return None if self._step_began is None else now_ms - self._step_began

    def end_round(self, observed_ms: float) -> None:
        """Note that the drafters have seen the outcome, which they were told from `observed_ms` on."""
        self._round_ended = self.now_ms()
        self._draft_ms += self._round_ended - observed_ms

    def skip_round(self) -> None:
        """Skip the clock for a round, so that the time until the next round is unknown."""
        self._round_ended = None

    def add_drafting(self, began_ms: float) -> None:
        """Count the time since `began_ms` as drafting."""
        self._draft_ms += self.now_ms() - began_ms

    def take_draft_ms(self) -> float:
        """Return the milliseconds of drafting since the last call."""
        taken, self._draft_ms = self._draft_ms, 0.0
        return taken
