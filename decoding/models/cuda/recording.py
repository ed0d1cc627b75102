"""Passes that are recorded once and replayed: as CUDA graphs, or, to rehearse without a GPU, by computing them again.

What is recorded reads its inputs from tensors that stay where they are and leaves its outputs in such tensors.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch

WARM_UPS = 2  # compile kernels, choose the library's algorithms, take its workspaces

Replay = Callable[[], None]


class Recorder(Protocol):
    """Makes a call that can be repeated without Python in between."""

    def record(self, run: Callable[[], None]) -> Replay:
        """Call `run` some times, which must do no harm, and return what repeats it."""


class Eager:
    """Computes everything again: the same logic where nothing can be recorded."""

    def record(self, run: Callable[[], None]) -> Replay:
        """See `Recorder`."""
        return run


class Graphs:
    """CUDA graphs of one device, the current one when they are recorded, from one pool of memory.

    What a replay computes on its way may lie where another's outputs do: these are valid until the next replay of any.
    """

    def __init__(self) -> None:
        self._pool: Any = None
        self._stream: Any = None

    def record(self, run: Callable[[], None]) -> Replay:
        """See `Recorder`."""
        # One stream for all, since blocks of the pool belong to one; and of our own, since torch's is on one device.
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
    """A graph that is collected while another is captured ends the capture with an error."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
