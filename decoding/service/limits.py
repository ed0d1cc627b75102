"""Bounds what one person may use of an engine: requests and tokens a minute, and requests at one time.

It must not know HTTP. The token counts come from the compute thread, all else from the io thread.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Final

from decoding.storage.team_keys import TeamKey

MINUTE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a key may use; 0 is without a limit.

    chosen: fast typing with all that is asked ahead sends ten requests in a second, for seconds; a minute has a third
    of that at the most. A key's tokens are those that were computed for it, and not what its caches held.
    """

    requests_per_minute: int = 1200
    tokens_per_minute: int = 300_000
    concurrent: int = 16

    def of(self, key: TeamKey) -> Limits:
        """Return the limits of a key, which may have some of its own."""
        own = {field.name: getattr(key, field.name) for field in fields(self)}
        return Limits(**{name: getattr(self, name) if value is None else value for name, value in own.items()})


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class TooMuch:
    """Tells which limit is reached, and after how many seconds it is worth asking again."""

    reason: str
    retry_s: int


class Budget:
    """What is left of one key's limits. A minute's worth may be used at once, and comes back over a minute."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._updated_s = clock()
        self.num_open = 0
        self.limits = limits
        self._requests, self._tokens = float(limits.requests_per_minute), float(limits.tokens_per_minute)

    def change(self, limits: Limits) -> None:
        """Take other limits from now on."""
        if limits == self.limits:
            return
        with self._lock:
            self._refill()
            old, self.limits = self.limits, limits
            self._requests = _moved(self._requests, old.requests_per_minute, limits.requests_per_minute)
            self._tokens = _moved(self._tokens, old.tokens_per_minute, limits.tokens_per_minute)

    def begin(self) -> TooMuch | None:
        """Take a request from the budget; or return why it can't be had. Each that is taken must `end`."""
        with self._lock:
            self._refill()
            limits = self.limits
            if limits.concurrent and self.num_open >= limits.concurrent:
                return TooMuch(f"this key has {limits.concurrent} requests under way, as many as it may", 1)
            if limits.requests_per_minute and self._requests < 1:
                retry_s = _wait_s(1 - self._requests, limits.requests_per_minute)
                return TooMuch(f"this key may send {limits.requests_per_minute} requests in a minute", retry_s)
            if limits.tokens_per_minute and self._tokens <= 0:
                retry_s = _wait_s(1 - self._tokens, limits.tokens_per_minute)
                return TooMuch(f"this key may use {limits.tokens_per_minute} tokens in a minute", retry_s)
            self._requests -= 1
            self.num_open += 1
            return None

    def end(self) -> None:
        """Note that a request is over."""
        with self._lock:
            self.num_open -= 1

    def charge(self, num_tokens: int) -> None:
        """Take tokens that were computed; the budget may so fall below nothing, and the next requests wait."""
        with self._lock:
            self._tokens -= num_tokens

    def _refill(self) -> None:
        now_s = self._clock()
        share, self._updated_s = (now_s - self._updated_s) / MINUTE_S, now_s
        most = self.limits
        self._requests = min(most.requests_per_minute, self._requests + share * most.requests_per_minute)
        self._tokens = min(most.tokens_per_minute, self._tokens + share * most.tokens_per_minute)


def _moved(left: float, old: int, new: int) -> float:
    """Return what is left under a new limit; without a limit nothing was counted that matters."""
    return left + new - old if old else float(new)


def _wait_s(missing: float, per_minute: int) -> int:
    return max(1, math.ceil(missing * MINUTE_S / per_minute))
