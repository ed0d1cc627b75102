"""Measures the peak memory of a call: how much it adds to the memory of the process, or the accelerator.

On a CPU a thread samples the resident memory while the call runs, which costs time: not for runs that are timed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

SAMPLE_S = 0.002


def peak_growth_mb(call: Callable[[], object], device: torch.device) -> float | None:
    """Run a call; return the megabytes that it added at its peak, None where that can't be told (no `/proc`)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return round((torch.cuda.max_memory_allocated(device) - before) / 1e6, 1)
    begun = resident_bytes()
    if begun is None:
        call()
        return None
    highest, is_over = begun, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not is_over.wait(SAMPLE_S):
            highest = max(highest, resident_bytes() or 0)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        call()
    finally:
        highest = max(highest, resident_bytes() or 0)
        is_over.set()
        watcher.join()
    return round((highest - begun) / 1e6, 1)


def resident_bytes() -> int | None:
    """Return the process's resident memory in bytes; None where `/proc` doesn't tell."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None
