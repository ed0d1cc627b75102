"""Prepares rows in other processes ahead of time, for a GPU that would otherwise wait for the tokenizer."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

BATCHES_AHEAD = 8
WAIT_S = 120.0


class DataLoader(Protocol):
    """A source of training rows."""

    def batch(self, num_rows: int) -> npt.NDArray[np.int64]:
        """Return the next rows, shape (num_rows, row_len)."""

    def state(self) -> dict[str, Any]:
        """Return the stream's position, for `restore`."""

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a position that `state` returned."""


class ParallelDataLoader:
    """Takes batches in turn from processes that each have a stream of their own.

    `make` gets a seed and returns a worker's stream. A restored feed goes on with other cuts of the files and not with
    those that were made ahead, so a run with workers is not repeatable after an interruption.
    """

    def __init__(self, make: Callable[[int], DataLoader], *, num_workers: int, num_rows: int, seed: int) -> None:
        self._make = make
        self._num_rows = num_rows
        self._seed = seed
        # Forked, so that the texts are shared and not copied; the children never touch the accelerator.
        self._context = multiprocessing.get_context("fork")
        self._num_workers = num_workers
        self._taken = 0
        self._start()

    def batch(self, num_rows: int) -> npt.NDArray[np.int64]:
        """Return the next rows, shape (num_rows, row_len); `num_rows` is what the feed was made for."""
        assert num_rows == self._num_rows
        rows: npt.NDArray[np.int64] = self._queues[self._taken % self._num_workers].get(timeout=WAIT_S)
        self._taken += 1
        return rows

    def state(self) -> dict[str, Any]:
        """Return the number of batches taken, for `restore`."""
        return {"taken": self._taken}

    def restore(self, state: dict[str, Any]) -> None:
        """Restart the workers with seeds that were not used before."""
        self.close()
        self._taken = state["taken"]
        self._start()

    def close(self) -> None:
        """End the worker processes."""
        for worker in self._workers:
            worker.terminate()
            worker.join()

    def _start(self) -> None:
        self._queues = [self._context.Queue(BATCHES_AHEAD) for _ in range(self._num_workers)]
        self._workers = [
            self._context.Process(
                target=_fill, args=(self._make, self._worker_seed(i), self._num_rows, queue), daemon=True
            )
            for i, queue in enumerate(self._queues)
        ]
        for worker in self._workers:
            worker.start()

    def _worker_seed(self, worker: int) -> int:
        return hash((self._seed, self._taken, worker))


def _fill(make: Callable[[int], DataLoader], seed: int, num_rows: int, queue: Any) -> None:
    feed = make(seed)
    while True:
        queue.put(feed.batch(num_rows))
