"""Notices that an engine was asked and says nothing. Knows neither the engine nor what was asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

# Whoever types on takes back each request before its deadline: deadlines alone would tell of a frozen engine only when
# somebody pauses.
QUIET_S: Final = 0.5


class Quiet:
    """Calls `on_quiet` each time that an engine has said nothing for `QUIET_S` though it was asked.

    A request that is taken back leaves the question open, whether by a newer one or not.
    """

    def __init__(self, on_quiet: Callable[[], None]) -> None:
        self._on_quiet = on_quiet
        self._timer: asyncio.TimerHandle | None = None
        self._num_open = 0
        self._is_heard = False
        self._since_s: float | None = None

    @property
    def quiet_s(self) -> float:
        """How long the engine has said nothing though it was asked."""
        return 0.0 if self._since_s is None else time.monotonic() - self._since_s

    @contextmanager
    def asked(self) -> Iterator[None]:
        """A request is under way."""
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
        """The engine said something."""
        self._is_heard = True
        self.forget()

    def forget(self) -> None:
        """The quiet begins now."""
        self._since_s = time.monotonic()

    def close(self) -> None:
        """Stop listening."""
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
