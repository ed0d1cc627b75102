"""Writes what was read of documents to disk while the engine is idle, so many bytes a minute at the most.

The file is written by a thread of its own, since a disk may take its time; the compute thread only copies a block. Must
not know which documents may be kept.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from decoding.completion.kept_caches import content_of
from decoding.completion.sessions import Session, SessionPool
from decoding.service.jobs import EngineState

log = logging.getLogger(__name__)

# chosen: a document of a large model is written at once, and an hour's work is no burden for a disk.
BYTES_A_MINUTE: Final = 64 << 20
MAX_WAITING: Final = 4
LOOK_S: Final = 0.05  # so often it is seen whether a block has been written


class Keeping:
    """The documents that wait to be written, the latest last; belongs to the compute thread."""

    def __init__(self, pool: SessionPool, state: EngineState, clock: Callable[[], float] = time.monotonic) -> None:
        """The pool says where sessions are kept, if they are."""
        self._pool = pool
        self._kept = pool.kept
        self._state = state
        self._clock = clock
        self._waiting: deque[Session] = deque(maxlen=MAX_WAITING)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="keeping")
        self._writing: Future[bool] | None = None
        self._bytes_left, self._since_s = float(BYTES_A_MINUTE), clock()
        self._tell()

    @property
    def wait_s(self) -> float | None:
        """The seconds until there is something to do; None if there won't be."""
        if self._writing is not None:
            return LOOK_S
        if not self._waiting:
            return None
        return max(0.0, -self._refilled() / BYTES_A_MINUTE * 60)

    def add(self, session: Session) -> None:
        """Have it written what a session read of its prompt."""
        if self._kept is not None:
            self.forget(session)
            self._waiting.append(session)

    def forget(self, session: Session | None = None) -> None:
        """Leave a session unwritten, or all, because its memory is needed."""
        self._waiting = deque((s for s in self._waiting if session not in (None, s)), MAX_WAITING)

    def write(self) -> None:
        """Have the next block written, if it is time."""
        if self._kept is None or not self._is_written() or not self._waiting or self._refilled() < 0:
            return
        session = self._waiting[0]
        number = self._kept.unkept(session.cache, session.wanted)
        if number is None:
            self._pool.let_go_first(self._waiting.popleft())
            self._tell()
            return
        content = content_of(session.cache, number)
        self._bytes_left -= len(content)
        self._writing = self._writer.submit(self._kept.write, content, tuple(session.wanted), number)

    def close(self) -> None:
        """Write nothing more."""
        self._waiting.clear()
        self._writer.shutdown(wait=False, cancel_futures=True)

    def _is_written(self) -> bool:
        """Return whether no block is being written. Where the disk is full or fails, nothing more is."""
        if self._writing is None:
            return True
        if not self._writing.done():
            return False
        writing, self._writing = self._writing, None
        try:
            if not writing.result():
                self._waiting.clear()
        except OSError as error:
            log.warning("what was read is no longer kept on disk: %s", error)
            self._kept = None
            self._waiting.clear()
        return True

    def _refilled(self) -> float:
        """Return how many bytes may be written now: a block is begun while there are any."""
        now_s = self._clock()
        self._bytes_left += (now_s - self._since_s) / 60 * BYTES_A_MINUTE
        self._bytes_left, self._since_s = min(self._bytes_left, float(BYTES_A_MINUTE)), now_s
        return self._bytes_left

    def _tell(self) -> None:
        if self._kept is not None:
            self._state.update(cache_on_disk_mb=round(self._kept.num_bytes / 1e6, 3))
