"""Tells what the parts of a round take: the drafting, the target's step, and the gap before the next round."""

from __future__ import annotations

from collections.abc import Callable


class Stopwatch:
    """Times in milliseconds, of one answer at a time. Each look at the clock is counted with what comes before it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` tells seconds."""
        self._clock = clock
        self._step_began: float | None = None
        self._round_ended: float | None = None
        self._draft_ms = 0.0

    def begin(self) -> None:
        """Forget the rounds of the last answer."""
        self._step_began = self._round_ended = None

    def now_ms(self) -> float:
        """The time, from any moment on."""
        return self._clock() * 1e3

    def gap_ms(self) -> float | None:
        """The time since the last round, None where it was skipped or there was none."""
        return None if self._round_ended is None else self.now_ms() - self._round_ended

    def begin_step(self) -> None:
        """The draft is chosen, and the target's step begins."""
        self._step_began = self.now_ms()

    def step_ms(self, now_ms: float) -> float | None:
        """What the step took that ends now, None where none began."""
        return None if self._step_began is None else now_ms - self._step_began

    def end_round(self, observed_ms: float) -> None:
        """The drafters have seen the outcome, which they were told from `observed_ms` on."""
        self._round_ended = self.now_ms()
        self._draft_ms += self._round_ended - observed_ms

    def skip_round(self) -> None:
        """Look at no clock, so that the time until the next round is unknown."""
        self._round_ended = None

    def add_drafting(self, began_ms: float) -> None:
        """A drafter was asked from then until now."""
        self._draft_ms += self.now_ms() - began_ms

    def take_draft_ms(self) -> float:
        """The time that drafting took since this was last asked."""
        taken, self._draft_ms = self._draft_ms, 0.0
        return taken
