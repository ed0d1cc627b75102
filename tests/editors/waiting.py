"""Waiting for an editor. Knows no editor."""

import contextlib
import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")


# Only what fails takes so long; a busy machine may need much of it.
LIMIT_S: Final = 90


def wait_until(look: Callable[[], T | None], what: str, limit_s: float = LIMIT_S) -> T:
    """The first true value that `look` returns; AssertionError naming `what` after the limit."""
    deadline = time.monotonic() + limit_s
    while not (value := look()):
        assert time.monotonic() < deadline, f"waited {limit_s} s for {what}"
        time.sleep(0.01)
    return value


def ask_until(ask: Callable[[], None], look: Callable[[], T | None], what: str, limit_s: float = 4 * LIMIT_S) -> T:
    """Like `wait_until`, but asks again and again: the first requests may meet a server that still loads.

    Each is given more time than the one before, since asking again drops an answer that is under way.
    """
    patience_s = 1.0

    def ask_again() -> T | None:
        nonlocal patience_s
        ask()
        patience_s *= 1.4
        with contextlib.suppress(AssertionError):
            return wait_until(look, what, patience_s)
        return None

    return wait_until(ask_again, what, limit_s)
