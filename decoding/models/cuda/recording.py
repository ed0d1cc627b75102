"""Passes that are recorded once and replayed: as CUDA graphs, or, to rehearse without a GPU, by computing them again.

What is recorded reads its inputs from tensors that stay where they are and leaves its outputs in such tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch

WARM_UPS = 2  # compile kernels, choose the library's algorithms, take its workspaces

Replay = Callable[[], None]


class Recorder(Protocol):
    """Makes a call that can be repeated without Python in between."""

    def record(self, run: Callable[[], None]) -> Replay:
        """Call `run` some times, which must do no harm, and return what repeats it."""


class Again:
    """Computes everything again: the same logic where nothing can be recorded."""

    def record(self, run: Callable[[], None]) -> Replay:
        """See `Recorder`."""
        return run


class Graphs:
    """CUDA graphs from one pool of memory: what a replay computes on its way may lie where another's did.

    Outputs stay valid, because whoever recorded them holds on to their tensors.
    """

    def __init__(self) -> None:
        self._pool: Any = None

    def record(self, run: Callable[[], None]) -> Replay:
        """See `Recorder`."""
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                run()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            run()
        self._pool = self._pool or graph.pool()
        replay: Replay = graph.replay
        return replay
