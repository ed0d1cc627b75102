"""Computes one forward pass of the Llama family on a CPU: the work of one thread, phase by phase.

All threads run `forward` at once (tasks.py). Which thread did a task makes no difference to its numbers, and every
number of a row is computed by one chain of operations that depends on that row and the slots up to it alone: a row's
place, its neighbours and the live length change nothing, to the bit.

Widths are padded to whole panels of `LANES`; dimension letters as in decoder.py.
"""

from __future__ import annotations

import numpy as np

from decoding.models.cpu.attention import attend, rotate_and_store
from decoding.models.cpu.compiling import compiled
from decoding.models.cpu.intrinsics import (
    atomic_add,
    atomic_read,
    gated,
    give_way,
    read_int,
    read_weight,
    write_float,
)
from decoding.models.cpu.job_layout import (
    ASLEEP,
    BUFFER,
    BUFFER_STRIDE,
    COUNTER_BYTES,
    DOWN,
    EMBEDDING,
    EMBEDDING_KIND,
    EMBEDDING_LANES,
    EMBEDDING_SCALES,
    FINAL_NORM,
    GATE_UP,
    GENERATION,
    GIVE_UP,
    GIVE_WAY,
    HEAD_DIM,
    HEADS,
    HIDDEN,
    INPUT_NORM,
    INPUTS,
    INSIDE,
    LOGITS,
    MATRIX,
    MIXED,
    NUM_LAYERS,
    NUM_LOGIT_ROWS,
    NUM_ROWS,
    OPEN,
    OUT,
    OUTPUTS,
    PATIENCE,
    PHASES,
    POST_NORM,
    QKV,
    SPINS,
    TILE,
    TILE_PANELS,
    TOKENS,
    WIDTH,
)
from decoding.models.cpu.matmul import item, padded, project, taken_stride, task_panels
from decoding.models.cpu.quantized_forms import FIRST_KIND
from decoding.models.cpu.quantized_reading import widen_row
from decoding.models.cpu.row_preparation import claim_rows, count_parts
from decoding.models.cpu.simd import ITEM_BYTES, LANES
from decoding.models.cpu.tasks import await_all, claim, finish
from decoding.models.cpu.vector_loops import add_to


@compiled
def embed(job, phase):
    """Look up the hidden states of the job's tokens."""
    kind, width, lanes = job[EMBEDDING_KIND], job[WIDTH], job[EMBEDDING_LANES]
    size = ITEM_BYTES[kind] if kind < FIRST_KIND else 0
    stride = padded(width) * 4
    while True:
        row = claim(job, phase)
        if row >= job[NUM_ROWS]:
            break
        token = read_int(job[TOKENS] + row * 8)
        target = job[HIDDEN] + row * stride
        if kind >= FIRST_KIND:
            widen_row(kind, job[EMBEDDING], job[EMBEDDING_SCALES], width, token, target)
        else:
            for i in range(width):
                source = job[EMBEDDING] + item(kind, lanes, width, token, i) * size
                write_float(target + 4 * i, read_weight(source, kind))
        finish(job, phase)
    await_all(job, phase, job[NUM_ROWS])


@compiled
def project_normed(job, phase, matrix, norm, eps, mine, num_rows, out, out_stride):
    """Normalise the last `num_rows` hidden states and multiply by a matrix: queries, keys and values, or logits."""
    stride = padded(job[WIDTH]) * 4
    num_panels = padded(matrix[OUTPUTS]) // LANES
    step = task_panels(num_panels, num_rows)
    num_tasks = (num_panels + step - 1) // step
    hidden = job[HIDDEN] + (job[NUM_ROWS] - num_rows) * stride
    parts, x = count_parts(num_rows, matrix[INPUTS]), 0
    while True:
        task = claim(job, phase) - parts
        if task >= num_tasks:
            break
        if task < 0 or not x:
            rows = claim_rows(job, phase, task, parts, matrix, hidden, stride, norm, eps, num_rows, mine)
        if task >= 0:
            x, first = rows, task * step
            project(
                job, matrix, x, taken_stride(matrix, stride), num_rows, first, min(step, num_panels - first),
                out + first * LANES * 4, out_stride,
            )  # fmt: skip
        finish(job, phase)
    await_all(job, phase, parts + num_tasks)


@compiled
def add_projected(job, phase, matrix, source, stride, mine):
    """Multiply rows of numbers by a matrix and add the products to the hidden states."""
    num_rows, hidden_stride = job[NUM_ROWS], padded(job[WIDTH]) * 4
    num_panels = padded(matrix[OUTPUTS]) // LANES
    step = min(TILE_PANELS, task_panels(num_panels, num_rows))
    num_tasks = (num_panels + step - 1) // step
    parts, x = count_parts(num_rows, matrix[INPUTS]), 0
    while True:
        task = claim(job, phase) - parts
        if task >= num_tasks:
            break
        if task < 0 or not x:
            rows = claim_rows(job, phase, task, parts, matrix, source, stride, 0, np.float32(0), num_rows, mine)
        if task >= 0:
            x, first = rows, task * step
            count = min(step, num_panels - first)
            across = count * LANES * 4
            project(job, matrix, x, taken_stride(matrix, stride), num_rows, first, count, mine[TILE], across)
            for row in range(num_rows):
                add_to(job[HIDDEN] + row * hidden_stride + first * LANES * 4, mine[TILE] + row * across, count)
        finish(job, phase)
    await_all(job, phase, parts + num_tasks)


@compiled
def feed_forward(job, phase, matrix, norm, eps, mine):
    """Compute SwiGLU of all rows into the buffer; panels of gate and up take turns in the matrix."""
    num_rows, stride = job[NUM_ROWS], padded(job[WIDTH]) * 4
    num_pairs = padded(matrix[OUTPUTS]) // LANES // 2
    step = min(TILE_PANELS // 2, task_panels(num_pairs, num_rows))
    num_tasks = (num_pairs + step - 1) // step
    parts, x = count_parts(num_rows, matrix[INPUTS]), 0
    while True:
        task = claim(job, phase) - parts
        if task >= num_tasks:
            break
        if task < 0 or not x:
            rows = claim_rows(job, phase, task, parts, matrix, job[HIDDEN], stride, norm, eps, num_rows, mine)
        if task >= 0:
            x, first = rows, task * step
            count = min(step, num_pairs - first)
            across = 2 * count * LANES * 4
            project(job, matrix, x, taken_stride(matrix, stride), num_rows, 2 * first, 2 * count, mine[TILE], across)
            for row in range(num_rows):
                for pair in range(count):
                    gate = mine[TILE] + row * across + pair * 2 * LANES * 4
                    target = job[BUFFER] + row * job[BUFFER_STRIDE] + (first + pair) * LANES * 4
                    gated(gate, gate + LANES * 4, target)
        finish(job, phase)
    await_all(job, phase, parts + num_tasks)


@compiled
def forward(job, layers, head, eps, mine):
    """Do one thread's part of a pass over the job's rows; return whether it was done to its end.

    Each thread looks by itself whether the pass is given up. Who goes on longer finds all tasks free, so that nobody
    waits for a thread that has left.

    Args:
        job: (JOB,) int64.
        layers: (L, LAYER) int64.
        head: (MATRIX,) int64.
        eps: of the norms, float32.
        mine: (THREAD,) int64, scratch of this thread.
    """
    # Each call below is a phase: all threads claim its tasks, and none goes on before all are done. Phases are numbered
    # through the whole pass, because each has a counter of its own that is never reset while threads may look at it.
    embed(job, 0)
    phase = 1
    for index in range(job[NUM_LAYERS]):
        layer = layers[index]
        if atomic_read(job[GIVE_UP]):
            return False
        project_normed(
            job, phase, layer[QKV : QKV + MATRIX], layer[INPUT_NORM], eps, mine,
            job[NUM_ROWS], job[BUFFER], job[BUFFER_STRIDE],
        )  # fmt: skip
        rotate_and_store(job, phase + 1, index, layer, eps)
        attend(job, phase + 2, index, mine)
        mixed_stride = padded(job[HEADS] * job[HEAD_DIM]) * 4
        add_projected(job, phase + 3, layer[OUT : OUT + MATRIX], job[MIXED], mixed_stride, mine)
        if atomic_read(job[GIVE_UP]):
            return False
        feed_forward(job, phase + 4, layer[GATE_UP : GATE_UP + MATRIX], layer[POST_NORM], eps, mine)
        add_projected(job, phase + 5, layer[DOWN : DOWN + MATRIX], job[BUFFER], job[BUFFER_STRIDE], mine)
        phase += PHASES
    if job[NUM_LOGIT_ROWS]:
        logits_stride = padded(head[OUTPUTS]) * 4
        project_normed(job, phase, head, job[FINAL_NORM], eps, mine, job[NUM_LOGIT_ROWS], job[LOGITS], logits_stride)
    return True


@compiled
def lead(state, job, layers, head, eps, mine):
    """Run a job that was opened with `open_job`, until no other thread works on it; return whether it was done."""
    is_done = forward(job, layers, head, eps, mine)
    # Closed first, and only then waited for those inside: a thread that comes now finds the job closed and leaves.
    atomic_add(state.ctypes.data + OPEN * COUNTER_BYTES, -1)
    while atomic_read(state.ctypes.data + INSIDE * COUNTER_BYTES):
        give_way(job[GIVE_WAY])
    return is_done


@compiled
def open_again(state):
    """Open a job to the threads that are awake."""
    address = state.ctypes.data
    atomic_add(address + GENERATION * COUNTER_BYTES, 1)
    atomic_add(address + OPEN * COUNTER_BYTES, 1)


@compiled
def open_job(state):
    """Open a job to all threads; return how many of them sleep and must be woken."""
    open_again(state)
    address = state.ctypes.data
    # The sleepers are taken off the count here and not when they wake, so that none is woken twice.
    num_asleep = atomic_read(address + ASLEEP * COUNTER_BYTES)
    atomic_add(address + ASLEEP * COUNTER_BYTES, -num_asleep)
    return num_asleep


@compiled
def run_worker(state, job, layers, head, eps, mine, last_generation):
    """Work on jobs as they are opened; return the last one's generation when none has come for a while."""
    address = state.ctypes.data
    looks = 0
    while looks < PATIENCE:
        looks += 1
        generation = atomic_read(address + GENERATION * COUNTER_BYTES)
        if generation != last_generation:
            # Enter before looking whether the job is open: its leader closes it before it waits for those inside, so
            # that nobody can begin on a job that its leader has left.
            atomic_add(address + INSIDE * COUNTER_BYTES, 1)
            if atomic_read(address + OPEN * COUNTER_BYTES):
                # Read again: a newer job may have been opened since the look that brought this thread here.
                last_generation = atomic_read(address + GENERATION * COUNTER_BYTES)
                forward(job, layers, head, eps, mine)
                looks = 0
            atomic_add(address + INSIDE * COUNTER_BYTES, -1)
        # Spinning finds the next job soonest, but on a busy machine it would keep a processor from the leader itself.
        if looks > SPINS:
            give_way(job[GIVE_WAY])
    atomic_add(address + ASLEEP * COUNTER_BYTES, 1)
    return last_generation
