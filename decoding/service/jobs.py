"""Defines what the io thread and the compute thread pass to each other. No tensor, no socket."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Protocol

from decoding.protocol import CompletionRequest, CompletionStats, Health, ScoredToken

Kind = Literal["key", "ahead", "place", "rest", "trunk"]
KINDS: Final[tuple[Kind, ...]] = ("key", "ahead", "place", "rest", "trunk")


@dataclass(frozen=True, slots=True)
class Delta:
    """More text of one choice, and the tokens that are complete with it, if their scores were asked for."""

    choice: int
    text: str
    tokens: tuple[ScoredToken, ...] = ()


@dataclass(frozen=True, slots=True)
class ChoiceDone:
    """Reports the end of one choice, with its statistics."""

    choice: int
    stats: CompletionStats


@dataclass(frozen=True, slots=True)
class JobDone:
    """Reports the end of all choices, or the failure of the job: an error for people, with its HTTP `status`."""

    error: str = ""
    status: int = 500


Event = Delta | ChoiceDone | JobDone


Charge = Callable[[int, int], None]
"""Takes the tokens that a turn read and wrote for somebody."""


def for_nothing(num_read: int, num_written: int) -> None:
    """Charge nobody."""


class GiveUp(Protocol):
    """Lets the pass in progress be given up, or not any more."""

    def __call__(self, *, is_wanted: bool) -> None:
        """Say whether that is wanted."""


@dataclass(slots=True, eq=False)
class Job:
    """One request on its way through the compute thread. `deliver` and `charge` may be called from that thread.

    `owner` is whose request it is, "" on an engine of one user: caches are kept apart by it. `charge` is told how many
    tokens were read and written. The flags are set by one thread and read by another; each is set once.
    """

    request: CompletionRequest
    deliver: Callable[[Event], None]
    owner: str = ""
    charge: Charge = for_nothing
    is_rest: bool = False
    created: float = field(default_factory=time.perf_counter)
    is_cancelled: bool = False
    is_superseded: bool = False
    is_dropped: bool = False

    @property
    def is_idle_work(self) -> bool:
        """Whether the job is a prefetch or reads ahead; such a job waits for all others and is dropped first."""
        return self.request.tabcast.priority == "idle" or bool(self.request.tabcast.prepare)

    @property
    def kind(self) -> Kind:
        """What kind of work the job is: the most urgent first in `KINDS`.

        The rest of a place goes before the trunk: the next keys there need it, and where the cursor goes is not known.
        """
        if self.is_rest:
            return "rest"
        return self.request.tabcast.prepare or ("ahead" if self.is_idle_work else "key")

    @property
    def may_be_kept(self) -> bool:
        """Whether what the job reads may be kept on disk: only the texts of who runs the engine are."""
        return self.kind == "trunk" and self.request.tabcast.keep and not self.owner

    def is_more_urgent(self, other: Job) -> bool:
        """Return whether this job has its turns before those of another."""
        return KINDS.index(self.kind) < KINDS.index(other.kind)

    def supersedes(self, older: Job) -> bool:
        """Return whether an older job is no longer wanted once this one has come.

        Of one document, a key's request supersedes all but the reading of the trunk; idle work only its own kind, and
        a new place the rest of an older one.
        """
        options, others = self.request.tabcast, older.request.tabcast
        if not options.session or options.session != others.session or self.owner != older.owner:
            return False
        if older.kind == self.kind or (self.kind == "place" and older.kind == "rest"):
            return True
        return self.kind == "key" and older.kind != "trunk"


class Turn:
    """The turn that the compute thread takes now, which other threads may cut short: it is taken again later.

    A turn of a request that somebody may still want is not cut twice in a row, so that it gets on however fast
    requests come and go.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._job: Job | None = None
        self._give_up: GiveUp = not_at_all
        self._is_cut = self._was_cut = False
        self._missed: list[Job | None] = []  # what arrived between two turns, and may not have been taken yet

    @contextmanager
    def of(self, job: Job, give_up: GiveUp) -> Iterator[None]:
        """Take a turn of a job, whose pass ends soon once `give_up` was called with `is_wanted`."""
        with self._lock:
            give_up(is_wanted=False)
            self._job, self._give_up, self._is_cut = job, give_up, False
            if job.is_cancelled or any(new is None or new.is_more_urgent(job) for new in self._missed):
                self._cut()
            self._missed.clear()
        try:
            yield
        finally:
            with self._lock:
                self._job = None
                if not job.is_idle_work:
                    self._was_cut = self._is_cut

    def arrived(self, job: Job | None) -> None:
        """Cut the turn for a more urgent job, or for the end of the engine."""
        with self._lock:
            if self._job is None:
                self._missed.append(job)
            elif job is None or job.is_more_urgent(self._job):
                self._cut()

    def cancelled(self, job: Job) -> None:
        """Cut the turn of a job that nobody waits for any more."""
        with self._lock:
            if self._job is job:
                self._cut()

    def _cut(self) -> None:
        if self._job is not None and (self._job.is_idle_work or not self._was_cut):
            self._is_cut = True
            self._give_up(is_wanted=True)


def not_at_all(*, is_wanted: bool) -> None:
    """Stand for a model whose passes can't be given up."""


class EngineState:
    """The engine's health and counters, written by other threads and read by the io thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._health = Health(status="loading", detail="importing torch")
        self._counters: dict[str, float] = {}

    @property
    def health(self) -> Health:
        """The engine's latest health."""
        return self._health

    def update(self, **changes: Any) -> None:
        """Change fields of the health."""
        with self._lock:
            self._health = replace(self._health, **changes)

    def count(self, name: str, amount: float = 1) -> None:
        """Add to a counter of `/metrics`."""
        with self._lock:
            self._counters[name] = self._counters.get(name, 0) + amount

    def counters(self) -> dict[str, float]:
        """Return a copy of all counters."""
        with self._lock:
            return dict(self._counters)


class Mailbox:
    """A queue of jobs for the compute thread, which may cut its `turn` short; `None` ends the thread."""

    def __init__(self) -> None:
        self.turn = Turn()
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()

    def put(self, job: Job | None) -> None:
        """Hand over a job, or `None` for the end."""
        self._queue.put(job)
        self.turn.arrived(job)

    def cancel(self, job: Job) -> None:
        """Say that nobody waits for a job any more."""
        job.is_cancelled = True
        self.turn.cancelled(job)

    def take(self, *, wait: bool, at_most_s: float | None = None) -> list[Job | None]:
        """Return all that has arrived; with `wait`, at least one, unless none comes for `at_most_s`."""
        taken: list[Job | None] = []
        with suppress(queue.Empty):
            if wait:
                taken.append(self._queue.get(timeout=at_most_s))
            while True:
                taken.append(self._queue.get_nowait())
        return taken
