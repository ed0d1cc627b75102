"""Waiting for an editor. Knows no editor."""

import contextlib
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(look: Callable[[], T | None], what: str, limit_s: float = 20) -> T:
    """The first true value that `look` returns; AssertionError naming `what` after the limit."""
    deadline = time.monotonic() + limit_s
    while not (value := look()):
        assert time.monotonic() < deadline, f"waited {limit_s} s for {what}"
        time.sleep(0.01)
    return value


def ask_until(ask: Callable[[], None], look: Callable[[], T | None], what: str, limit_s: float) -> T:
    """Like `wait_until`, but asks again every two seconds: the first requests may meet a server that still loads."""

    def ask_again() -> T | None:
        ask()
        with contextlib.suppress(AssertionError):
            return wait_until(look, what, limit_s=2)
        return None

    return wait_until(ask_again, what, limit_s)
