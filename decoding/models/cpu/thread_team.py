"""Runs the threads that compute a model's passes: the caller's own and helpers that sleep when idle.

A pass never waits for a helper that hasn't come: `tasks.py` gives tasks to whichever thread is there.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from decoding.models.cpu import forward, greedy_draft, job_layout

Table = npt.NDArray[np.int64]


def give_way_address() -> int:
    """Return the address of the system's function that lets another thread run."""
    if sys.platform == "win32":
        function: Any = ctypes.windll.kernel32.SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    return ctypes.cast(function, ctypes.c_void_p).value or 0


class ThreadTeam:
    """`len(scratch)` threads, the caller's among them, that share one model's tables."""

    def __init__(
        self, job: Table, layers: Table, head: Table, eps: np.float32, scratch: Sequence[Table], keep: object
    ) -> None:
        """`keep` is whatever the tables' addresses point to: it lives as long as the threads do."""
        self._arguments = (np.zeros(job_layout.STATE * job_layout.COUNTER_BYTES // 8, np.int64), job, layers, head, eps)
        self._mine = scratch[0]
        self._wake = threading.Semaphore(0)
        self._is_over = threading.Event()
        shared = (self._wake, self._is_over, keep)
        self._helpers = [
            threading.Thread(target=_help, args=(self._arguments, mine, *shared), name="tabcast-kernels", daemon=True)
            for mine in scratch[1:]
        ]
        for helper in self._helpers:
            helper.start()

    def run(self) -> bool:
        """Run the job; return whether it was done, and not given up. Only one thread at a time may call this."""
        self._open()
        return bool(forward.lead(*self._arguments, self._mine))

    def draft(self, *rest: Any) -> int:
        """Run the job and continue from there by `greedy_draft.draft`, which takes `rest`."""
        self._open()
        num_chosen: int = greedy_draft.draft(*self._arguments, self._mine, *rest)
        return num_chosen

    def close(self) -> None:
        """End the helpers. The interpreter must not do it: at its own end it would kill them within compiled code."""
        self._is_over.set()
        if self._helpers:
            self._wake.release(len(self._helpers))
        for helper in self._helpers:
            if helper is not threading.current_thread():
                helper.join()

    def _open(self) -> None:
        num_asleep = forward.open_job(self._arguments[0])
        if num_asleep:
            self._wake.release(num_asleep)


def _help(
    arguments: tuple[Any, ...], mine: Table, wake: threading.Semaphore, is_over: threading.Event, _keep: object
) -> None:
    generation = 0
    while not is_over.is_set():
        generation = forward.run_worker(*arguments, mine, generation)
        wake.acquire()
