"""Records passes once and replays them: as CUDA graphs, or, to rehearse without a GPU, by computing them again.

A recorded pass reads its inputs from tensors that stay where they are and leaves its outputs in such tensors.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch

WARM_UPS = 2  # chosen: warm-up runs compile kernels, choose the library's algorithms and allocate its workspaces

Replay = Callable[[], None]


class Recorder(Protocol):
    """Makes calls that can be repeated without Python in between."""

    def record(self, run: Callable[[], None]) -> Replay:
        """Call `run` some times, which must do no harm, and return a function that repeats it."""


class Eager:
    """Computes everything again, with equal logic, where nothing can be recorded."""

    def record(self, run: Callable[[], None]) -> Replay:
        """Return `run` itself, without calling it."""
        return run


class Graphs:
    """CUDA graphs of one device, the current one when they are recorded, from one pool of memory.

    What a replay computes on its way may lie where another's outputs do: these are valid until the next replay of any.
    """

    def __init__(self) -> None:
        self._pool: Any = None
        self._stream: Any = None

    def record(self, run: Callable[[], None]) -> Replay:
        """Capture `run` as a CUDA graph and return its replay."""
        # One stream for all, since blocks of the pool belong to a stream; and our own, since torch's is on one device.
        stream = self._stream = self._stream or torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.stream(stream), _uncollected():
                for _ in range(WARM_UPS):
                    run()
                with torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"):
                    run()
        finally:
            torch.cuda.current_stream().wait_stream(stream)
        self._pool = self._pool or graph.pool()
        replay: Replay = graph.replay
        return replay


@contextmanager
def _uncollected() -> Iterator[None]:
    """Suspend garbage collection: a graph that is collected during a capture ends the capture with an error."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
