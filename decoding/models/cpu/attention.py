"""Computes attention in the CPU kernels: positions, the cache, and a softmax by absolute slots.

A longer context only adds zeros behind a row's own slots, so its numbers don't depend on how long the context is.
Keys and values are float32, or pairs of bfloat16: two numbers of a slot's key, one number of two slots' values. R query
rows of a key head are the query heads that share it, times rows.
Rotary embedding: Su et al. 2021 (https://arxiv.org/abs/2104.09864).
"""

from __future__ import annotations

import numpy as np

from decoding.models.cpu.bf16_dot import read_rounded, round_to_pairs
from decoding.models.cpu.bytes_in_memory import write_short, write_word
from decoding.models.cpu.compiling import compiled
from decoding.models.cpu.intrinsics import call_matmul, exponentiate, largest, read_float, write_float
from decoding.models.cpu.job_layout import (
    BUFFER,
    BUFFER_STRIDE,
    CACHE_KIND,
    CAPACITY,
    HEAD_DIM,
    HEADS,
    KEY_NORM,
    KEYS,
    KV_HEADS,
    MIXED,
    MULTIPLY,
    NUM_ROWS,
    QUERIES,
    QUERY_NORM,
    ROTARY,
    SCORES,
    SLOTS,
    START,
    THREADS,
    TILE,
    VALUES,
)
from decoding.models.cpu.matmul import padded
from decoding.models.cpu.simd import FLOAT32, ITEM_BYTES, LANES, MAX_ROWS, PAIRS
from decoding.models.cpu.tasks import await_all, claim, finish


@compiled
def rotate_and_store(job, phase, index, layer, eps):
    """Rotate queries and keys by their positions, in place, and write keys and values into the cache."""
    heads, kv_heads, size = job[HEADS], job[KV_HEADS], job[HEAD_DIM]
    scale = np.float32(1.0) / np.sqrt(np.float32(size))
    while True:
        row = claim(job, phase)
        if row >= job[NUM_ROWS]:
            break
        source = job[BUFFER] + row * job[BUFFER_STRIDE]
        position = job[START] + row
        angles = job[ROTARY] + position * size * 4
        for head in range(heads + kv_heads):
            weight = layer[QUERY_NORM] if head < heads else layer[KEY_NORM]
            if weight:
                normalise_head(source + head * size * 4, size, weight, eps)
            rotate(source + head * size * 4, size, angles, scale if head < heads else np.float32(1.0))
        for head in range(kv_heads):
            store(job, index, head, position, source + (heads + head) * size * 4)
        finish(job, phase)
    await_all(job, phase, job[NUM_ROWS])


@compiled
def normalise_head(values, size, weight, eps):
    """Apply the RMS norm to one head, in place."""
    total = np.float32(0.0)
    for i in range(size):
        value = read_float(values + 4 * i)
        total += value * value
    scale = np.float32(1.0) / np.sqrt(total / np.float32(size) + eps)
    for i in range(size):
        write_float(values + 4 * i, read_float(values + 4 * i) * scale * read_float(weight + 4 * i))


@compiled
def rotate(values, size, angles, scale):
    """Rotate neighbouring pairs by their angles' cosine and sine, in place."""
    for i in range(0, size, 2):
        a, b = read_float(values + 4 * i), read_float(values + 4 * i + 4)
        cosine, sine = read_float(angles + 4 * i), read_float(angles + 4 * i + 4)
        write_float(values + 4 * i, (a * cosine - b * sine) * scale)
        write_float(values + 4 * i + 4, (a * sine + b * cosine) * scale)


@compiled
def store(job, index, head, slot, key):
    """Write a key and its value, which stands `kv_heads` heads behind it, into their slot."""
    kv_heads, size, capacity = job[KV_HEADS], job[HEAD_DIM], job[CAPACITY]
    base = (index * kv_heads + head) * capacity
    first, value = base + slot // SLOTS * SLOTS, key + kv_heads * size * 4
    if job[CACHE_KIND] == FLOAT32:
        keys = job[KEYS] + (first * size + slot % SLOTS) * 4
        values = job[VALUES] + (base + slot) * padded(size) * 4
        for i in range(size):
            write_float(keys + i * SLOTS * 4, read_float(key + 4 * i))
            write_float(values + 4 * i, read_float(value + 4 * i))
        return
    keys = job[KEYS] + first * size * 2 + slot % SLOTS * 4
    for i in range(0, size, 2):
        write_word(keys + i * SLOTS * 2, read_rounded(key + 4 * i) | read_rounded(key + 4 * i + 4) << 16)
    values = job[VALUES] + base * padded(size) * 2 + slot // 2 * LANES * 4 + slot % 2 * 2
    for i in range(size):
        write_short(values + i // LANES * capacity * LANES * 2 + i % LANES * 4, read_rounded(value + 4 * i))


@compiled
def attend(job, phase, index, mine):
    """Attend with all query rows to the slots up to their own; the results go to `MIXED`."""
    kv_heads = job[KV_HEADS]
    num_queries = job[NUM_ROWS] * job[HEADS] // kv_heads
    most = MAX_ROWS  # keys and values are read once for each tile, but every thread should get one
    while most > 1 and (num_queries + most - 1) // most * kv_heads < job[THREADS]:
        most //= 2
    num_tiles = (num_queries + most - 1) // most
    step = (num_queries + num_tiles - 1) // num_tiles  # evens out: nine queries become five and four, not eight and one
    num_tiles = (num_queries + step - 1) // step
    while True:
        task = claim(job, phase)
        if task >= num_tiles * kv_heads:
            break
        head, first = task // num_tiles, task % num_tiles * step
        attend_tile(job, index, head, first, min(step, num_queries - first), mine)
        finish(job, phase)
    await_all(job, phase, num_tiles * kv_heads)


@compiled
def attend_tile(job, index, kv_head, first, count, mine):
    """Attend with query rows `first` to `first + count` of a key head; row r belongs to token r // groups."""
    size, heads, kv_heads, capacity = job[HEAD_DIM], job[HEADS], job[KV_HEADS], job[CAPACITY]
    groups, wide = heads // kv_heads, padded(size)
    for i in range(count):
        row, head = (first + i) // groups, kv_head * groups + (first + i) % groups
        source = job[BUFFER] + row * job[BUFFER_STRIDE] + head * size * 4
        for k in range(size):
            write_float(mine[QUERIES] + (i * wide + k) * 4, read_float(source + 4 * k))
    live = job[START] + (first + count - 1) // groups + 1
    multiply_keys(job, index * kv_heads + kv_head, count, live, mine)
    for i in range(count):
        scores = mine[SCORES] + i * capacity * 4
        end = (live + SLOTS - 1) // SLOTS * SLOTS
        for slot in range(job[START] + (first + i) // groups + 1, end):
            write_float(scores + slot * 4, np.float32(-np.inf))
        total = exponentiate(scores, end // LANES, largest(scores, end // LANES))
        write_float(mine[QUERIES] + i * 4, np.float32(1.0) / total)
        if job[CACHE_KIND] == PAIRS:
            round_to_pairs(scores, end // LANES, scores)
    multiply_values(job, index * kv_heads + kv_head, count, live, mine)
    for i in range(count):
        row, head = (first + i) // groups, kv_head * groups + (first + i) % groups
        target = job[MIXED] + (row * padded(heads * size) + head * size) * 4
        scale = read_float(mine[QUERIES] + i * 4)
        for k in range(size):
            write_float(target + 4 * k, read_float(mine[TILE] + (i * wide + k) * 4) * scale)


@compiled
def multiply_keys(job, stored, count, live, mine):
    """Compute the scores of so many queries for the `live` slots of a layer's key head, in whole blocks."""
    size, capacity, kind = job[HEAD_DIM], job[CAPACITY], job[CACHE_KIND]
    width, depth = padded(size) * 4, size
    if kind == PAIRS:
        for i in range(count):
            round_to_pairs(mine[QUERIES] + i * width, padded(size) // LANES, mine[QUERIES] + i * (width // 2))
        width, depth = width // 2, size // 2
    for block in range((live + SLOTS - 1) // SLOTS):
        keys = job[KEYS] + (stored * capacity + block * SLOTS) * size * ITEM_BYTES[kind]
        call_matmul(
            job[MULTIPLY + kind], mine[QUERIES], width, count, keys, SLOTS * 4, LANES * 4, depth, SLOTS // LANES,
            mine[SCORES] + block * SLOTS * 4, capacity * 4,
        )  # fmt: skip


@compiled
def multiply_values(job, stored, count, live, mine):
    """Compute the sums of the `live` values of a layer's key head, weighted by so many queries' rows of scores."""
    wide, capacity, kind = padded(job[HEAD_DIM]), job[CAPACITY], job[CACHE_KIND]
    slot_stride, panel_stride, depth = wide * 4, LANES * 4, live
    if kind == PAIRS:
        slot_stride, panel_stride, depth = LANES * 4, capacity * LANES * 2, (live + 1) // 2
    call_matmul(
        job[MULTIPLY + kind], mine[SCORES], capacity * 4, count,
        job[VALUES] + stored * capacity * wide * ITEM_BYTES[kind], slot_stride, panel_stride, depth, wide // LANES,
        mine[TILE], wide * 4,
    )  # fmt: skip
