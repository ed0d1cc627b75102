"""Measures the speed of a device's memory, and computes how many bytes a pass must read.

A step of few rows can't be faster than its weights, keys and values come out of memory: that time is its floor. The
speed is measured in the run whose figures are compared with it.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch

from decoding.models.language_model import LanguageModel

COPIED_BYTES = {"cuda": 4 << 30, "cpu": 64 << 20}
NUM_COPIES = 9
READ_BYTES = 256 << 20


def copy_bytes_per_s(device: torch.device) -> float:
    """Return the bytes read and written a second by a copy that is too large for any cache: the median of several."""
    num_bytes = COPIED_BYTES.get(device.type, COPIED_BYTES["cpu"])
    source = torch.empty(num_bytes, dtype=torch.uint8, device=device).random_()
    target = torch.empty_like(source)
    return 2 * num_bytes / (1e-3 * pass_ms(lambda: target.copy_(source), device, repeats=NUM_COPIES))


def read_bytes_per_s(device: torch.device) -> float:
    """Return the bytes a second that are read alone: the best of several, since that is what a pass is held against.

    On a GPU it is what a copy moves, which reads as fast as it writes.
    """
    if device.type == "cuda":
        return copy_bytes_per_s(device)
    source = torch.ones(READ_BYTES // 4, dtype=torch.float32)
    # measured: sums of float32 read 26 GB/s where these read 39 and 44; which is faster depends on the processor.
    ways = (partial(torch.dot, source, source), source.view(torch.bfloat16).sum)
    return READ_BYTES / (1e-3 * min(_host_ms(way) for _ in range(NUM_COPIES) for way in ways))


def pass_ms(call: Callable[[], object], device: torch.device, *, repeats: int = 20) -> float:
    """Return the median milliseconds of a call on the device, after two warm-up calls; on a GPU by its own clock.

    There, calls follow one another without a gap, so that the host's work hides behind the device's, as in a drafter's
    loop. One that takes less than the host needs for it shows the host's time.
    """
    for _ in range(2):
        call()
    if device.type != "cuda":
        return statistics.median(_host_ms(call) for _ in range(repeats))
    with torch.cuda.device(device):
        return _device_ms(call, device, repeats)


def _device_ms(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    torch.cuda.synchronize(device)
    for event in events[:-1]:
        event.record()
        call()
    events[-1].record()
    torch.cuda.synchronize(device)
    times_ms = [float(begun.elapsed_time(ended)) for begun, ended in itertools.pairwise(events)]
    return statistics.median(times_ms)


def _host_ms(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1e3


def floor_bytes(model: LanguageModel, num_live: int) -> float | None:
    """Return the bytes that a pass behind `num_live` tokens must read: the weights once, and the live keys and values.

    Return None where the model doesn't tell.
    """
    of_weights = getattr(model, "num_read_bytes", None)
    if of_weights is None:
        return None
    cache = model.new_cache()
    return float(of_weights + cache.num_bytes * num_live / cache.capacity)
