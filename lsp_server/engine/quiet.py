"""Notices when an engine says nothing although it was asked. Knows neither the engine nor what was asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

# chosen: typing on cancels each request before its deadline, so deadlines alone would show a frozen engine only when
# the user pauses.
QUIET_S: Final = 0.5


class Quiet:
    """Calls `on_quiet` each time that an engine has said nothing for `QUIET_S` though it was asked.

    A request that is cancelled leaves the question open, whether a newer one follows or not.
    """

    def __init__(self, on_quiet: Callable[[], None]) -> None:
        self._on_quiet = on_quiet
        self._timer: asyncio.TimerHandle | None = None
        self._num_open = 0
        self._is_heard = False
        self._since_s: float | None = None

    @property
    def quiet_s(self) -> float:
        """Return how many seconds the engine has said nothing though it was asked."""
        return 0.0 if self._since_s is None else time.monotonic() - self._since_s

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Count a request as open within this context."""
        self._num_open += 1
        if self._since_s is None:
            self.forget()
        self._is_heard = False
        if self._timer is None:
            self._wait(QUIET_S)
        try:
            yield
        finally:
            self._num_open -= 1
            if self._is_heard and not self._num_open:
                self._since_s = None

    def heard(self) -> None:
        """Note that the engine said something, which ends the quiet."""
        self._is_heard = True
        self.forget()

    def forget(self) -> None:
        """Start to count the quiet anew from now."""
        self._since_s = time.monotonic()

    def close(self) -> None:
        """Stop the timer, so that `on_quiet` is never called again."""
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._since_s is None:
            return
        rest_s = QUIET_S - self.quiet_s
        if rest_s > 0:
            self._wait(rest_s)
            return
        self._on_quiet()
        if self._num_open:
            self._wait(QUIET_S)
        else:
            self._since_s = None
