"""Prepares the rows of a product in the CPU kernels: norms them and rounds them as the matrix takes them.

Where there is much to do, threads share it: a part is a task of the product's own phase, and comes before the others.
"""

from __future__ import annotations

from decoding.models.cpu.compiling import compiled
from decoding.models.cpu.job_layout import (
    ALL_NORMED,
    ALL_ROUNDED,
    MAX_PARTS,
    NORMED,
    ROUNDED,
    SHARED_NUMBERS,
    WIDTH,
)
from decoding.models.cpu.matmul import normalise, take, taken_stride
from decoding.models.cpu.tasks import await_all


@compiled
def count_parts(num_rows, inputs):
    """Return in how many parts threads prepare the rows of a product together; 0 if each does it all for itself.

    To wait for one another takes longer than to do so little twice.
    """
    return min(num_rows, MAX_PARTS) if num_rows > 1 and num_rows * inputs >= SHARED_NUMBERS else 0


@compiled
def prepare(job, matrix, source, stride, norm, eps, first, end, normed, rounded):
    """Normalise rows `first` to `end` of a product if there is a norm, and round them as the matrix takes them.

    Returns the address that the first row of all would have.
    """
    x, count = source + first * stride, end - first
    if norm:
        normalise(x, stride, count, job[WIDTH], norm, eps, normed + first * stride, stride)
        x = normed + first * stride
    into = first * taken_stride(matrix, stride)
    x = take(matrix, x, stride, count, rounded + into)
    return x - into


@compiled
def claim_rows(job, phase, task, parts, matrix, source, stride, norm, eps, num_rows, mine):
    """Return the address of a product's rows as the matrix takes them, prepared by this thread or by all.

    A task below 0 is a part of the preparation.
    """
    if not parts:
        return prepare(job, matrix, source, stride, norm, eps, 0, num_rows, mine[NORMED], mine[ROUNDED])
    part = task + parts
    if task >= 0:
        await_all(job, phase, parts)  # no other task is finished before
        part = 0
    first = num_rows * part // parts
    end = num_rows * (part + 1) // parts if task < 0 else first
    return prepare(job, matrix, source, stride, norm, eps, first, end, job[ALL_NORMED], job[ALL_ROUNDED])
