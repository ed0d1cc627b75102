"""Shares a pass among threads: they claim the tasks of a phase one by one, and go on when all of them are done.

A thread that the system delays only leaves more tasks for the others.
"""

from __future__ import annotations

from decoding.models.cpu.compiling import compiled
from decoding.models.cpu.intrinsics import atomic_add, atomic_read, give_way
from decoding.models.cpu.job_layout import COUNTER_BYTES, COUNTERS, GIVE_WAY, SPINS


@compiled
def claim(job, phase):
    """Return the number of a task of this phase that is now the caller's; too large a number if none is left."""
    return atomic_add(job[COUNTERS] + 2 * phase * COUNTER_BYTES, 1)


@compiled
def finish(job, phase):
    """Count a task of this phase as done."""
    atomic_add(job[COUNTERS] + (2 * phase + 1) * COUNTER_BYTES, 1)


@compiled
def await_all(job, phase, num_tasks):
    """Return when all tasks of this phase are done; after a short while let other threads run meanwhile."""
    counter = job[COUNTERS] + (2 * phase + 1) * COUNTER_BYTES
    spins = 0
    while atomic_read(counter) < num_tasks:
        spins += 1
        if spins > SPINS:
            give_way(job[GIVE_WAY])
