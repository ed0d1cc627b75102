"""Learns how long first texts take on this machine, and how long a server writes. Knows neither engine nor text."""

from __future__ import annotations

from typing import Final

_WEIGHT: Final = 0.3
# chosen: a request is held back for a proposal for at most this share of the time that its answer would take to write
# token by token, and only if proposals usually come by then.
SHARE: Final = 0.5


class Pace:
    """What was measured lately: `first_s` of a first text, and `written_s` of a server's answer, token by token."""

    def __init__(self) -> None:
        self.first_s = 0.0
        self.written_s = 0.0

    @property
    def wait_s(self) -> float:
        """How long a request may be held back for a proposal; 0 where that doesn't pay."""
        most_s = SHARE * self.written_s
        return most_s if 0 < self.first_s < most_s else 0.0

    def note_first(self, seconds: float) -> None:
        """Learn how long a first text took."""
        self.first_s = seconds if not self.first_s else self.first_s + _WEIGHT * (seconds - self.first_s)

    def note_written(self, num_tokens: int, num_steps: int, seconds: float) -> None:
        """Learn how long a server wrote so many tokens, behind its first step, in so many steps."""
        if num_steps > 0:
            plain_s = num_tokens * seconds / num_steps
            self.written_s = plain_s if not self.written_s else self.written_s + _WEIGHT * (plain_s - self.written_s)
