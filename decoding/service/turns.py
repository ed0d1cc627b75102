"""Lets running jobs take turns: first whose owner has used the least time, and of one owner in the order of a circle.

Somebody with many or long requests so waits for others no less than they for him. Knows no model and no clock.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from decoding.service.jobs import Job


class Running(Protocol):
    """A job that is being computed."""

    job: Job


RunningT = TypeVar("RunningT", bound=Running)


class Circle(Generic[RunningT]):
    """The running jobs of one kind of work.

    Each owner has a count of the seconds that his turns took. Whoever comes back after a pause begins no lower than the
    one whose turn it was last, so that nobody saves up time; and nobody forgets what he has used by going away.
    """

    def __init__(self) -> None:
        self._jobs: deque[RunningT] = deque()
        self._used_s: dict[str, float] = {}
        self._now_s = 0.0

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[RunningT]:
        return iter(self._jobs)

    def append(self, running: RunningT) -> None:
        """Take in a job, or take one back, behind all others of its owner."""
        owner = running.job.owner
        self._used_s[owner] = max(self._used_s.get(owner, 0.0), self._now_s)
        self._jobs.append(running)

    def remove(self, running: RunningT) -> None:
        """Leave a job out that has ended."""
        self._jobs.remove(running)

    def pop_next(self) -> RunningT:
        """Take out the job whose turn it is."""
        running = min(self._jobs, key=lambda found: self._used_s[found.job.owner])
        self._jobs.remove(running)
        self._now_s = self._used_s[running.job.owner]
        return running

    def charge(self, owner: str, seconds: float) -> None:
        """Note the time of a turn."""
        self._used_s[owner] = self._used_s.get(owner, self._now_s) + seconds

    def next_to_start(self, waiting: Iterable[Job], most: int) -> Job | None:
        """Return the waiting job that begins next, None if all have to wait.

        It is one of the owner who has the fewest running. Whoever has none needn't wait until others end, which may
        take minutes.
        """
        num_running = Counter(running.job.owner for running in self._jobs)
        job = min(waiting, key=lambda job: (num_running[job.owner], self._used_s.get(job.owner, 0.0)), default=None)
        return job if job is not None and (len(self._jobs) < most or not num_running[job.owner]) else None
