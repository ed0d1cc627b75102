"""Decides how long a server that failed is left alone. It must not know why it failed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from lsp_server.engine.stream import EngineUnavailable

# chosen: a lost connection is mostly back at once; a refused key or a limit stays for a while.
FIRST_S: Final = {"lost": 1.0, "absent": 2.0, "failed": 5.0, "protocol": 5.0}
REFUSED_S: Final = 10.0
MOST_S: Final = 300.0


class BackingOff:
    """Counts failures in a row, each of which doubles the time until the next attempt."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._num_failures = 0
        self._until_s = 0.0
        self._reason = ""

    @property
    def is_over(self) -> bool:
        """Return whether the server may be asked again."""
        return self._clock() >= self._until_s

    def check(self) -> None:
        """Raise `EngineUnavailable` with the last reason while the server is left alone."""
        if not self.is_over:
            raise EngineUnavailable(self._reason, "backing off")

    def failed(self, error: EngineUnavailable) -> None:
        """Note a failure."""
        wait_s = FIRST_S.get(error.code, REFUSED_S) * 2**self._num_failures
        self._until_s = self._clock() + max(error.retry_s, min(MOST_S, wait_s))
        self._num_failures = min(self._num_failures + 1, 10)
        self._reason = str(error)

    def answered(self) -> None:
        """Note an answer, which ends all waiting."""
        self._num_failures, self._until_s = 0, 0.0
