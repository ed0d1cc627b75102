"""Implements Triton kernels for the operations of a layer between its matrix products.

triton_operations.py calls them. All rows of a kernel are independent of each other, and sums over the context are taken
in pieces that begin at absolute slots, added in their order: a row gives equal bits whichever row it is and however
long the cache is. The cache is found by an address in device memory, so that one recording serves every session.

Split along the keys: Dao et al. 2023, "Flash-Decoding"; online softmax: Milakov and Gimelshein 2018
(https://arxiv.org/abs/1805.02867).
"""

# No `from __future__ import annotations`: Triton looks at the annotations of its functions.

import triton
import triton.language as tl

from decoding.kv_cache import BLOCK
from decoding.models.cuda.operations import KEYS, NUM_REAL, START, TOKENS, VALUES
from decoding.models.torch.row_placement import MAX_CHAINS, TAIL_BLOCKS

# Triton's functions can use global constants only in this form.
_START, _NUM_REAL = tl.constexpr(START), tl.constexpr(NUM_REAL)
_KEYS, _VALUES, _BLOCK = tl.constexpr(KEYS), tl.constexpr(VALUES), tl.constexpr(BLOCK)
_TOKENS, _TAIL_BLOCKS, _MAX_CHAINS = tl.constexpr(TOKENS), tl.constexpr(TAIL_BLOCKS), tl.constexpr(MAX_CHAINS)

COMBINED_AT_ONCE = tl.constexpr(16)


@triton.jit
def add_norm(hidden, delta, weight, normed, width, eps, HAS_DELTA: tl.constexpr, WIDE: tl.constexpr):
    """Add and normalise one row in each program."""
    row = tl.program_id(0).to(tl.int64) * width
    at = tl.arange(0, WIDE)
    is_inside = at < width
    value = tl.load(hidden + row + at, mask=is_inside, other=0.0).to(tl.float32)
    if HAS_DELTA:
        value += tl.load(delta + row + at, mask=is_inside, other=0.0).to(tl.float32)
        rounded = value.to(hidden.dtype.element_ty)
        tl.store(hidden + row + at, rounded, mask=is_inside)
        value = rounded.to(tl.float32)
    factor = 1.0 / tl.sqrt(tl.sum(value * value, axis=0) / width + eps)
    scaled = value * factor * tl.load(weight + at, mask=is_inside, other=0.0).to(tl.float32)
    tl.store(normed + row + at, scaled.to(normed.dtype.element_ty), mask=is_inside)


@triton.jit
def _positions(words, row, num_rows, IS_CHAINS: tl.constexpr):
    """Return the positions of one row or several; padding rows behind the last real one stand where it does."""
    if IS_CHAINS:
        behind = tl.load(words + _TOKENS + num_rows + tl.minimum(row, num_rows - 1))
    else:
        behind = tl.minimum(row, tl.load(words + _NUM_REAL) - 1)
    return tl.load(words + _START) + behind


@triton.jit
def _owners(words, row, num_rows):
    """Return the chain numbers of rows."""
    return tl.load(words + _TOKENS + 2 * num_rows + tl.minimum(row, num_rows - 1))


@triton.jit
def rotate_and_write(
    qkv, query, words, rotary, query_norm, key_norm, tail_keys, tail_values, layer_offset, tail_offset, eps,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, HAS_NORM: tl.constexpr,
    IS_CHAINS: tl.constexpr,
):  # fmt: skip
    """Rotate and write one row and head in each program, of queries, keys and values in turn."""
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    num_real = tl.load(words + _NUM_REAL)
    position = _positions(words, row, tl.num_programs(0), IS_CHAINS)
    pair = tl.arange(0, HEAD_DIM // 2)
    source = qkv + (row * (HEADS + 2 * KV_HEADS) + head) * HEAD_DIM
    even, odd = tl.load(source + 2 * pair).to(tl.float32), tl.load(source + 2 * pair + 1).to(tl.float32)
    is_query, is_value = head < HEADS, head >= HEADS + KV_HEADS
    if HAS_NORM:
        factor = 1.0 / tl.sqrt(tl.sum(even * even + odd * odd, axis=0) / HEAD_DIM + eps)
        norm = tl.where(is_query, query_norm.to(tl.int64), key_norm.to(tl.int64)).to(query_norm.dtype)
        even = tl.where(is_value, even, even * factor * tl.load(norm + 2 * pair).to(tl.float32))
        odd = tl.where(is_value, odd, odd * factor * tl.load(norm + 2 * pair + 1).to(tl.float32))
    angles = rotary + position * HEAD_DIM
    cosine = tl.where(is_value, 1.0, tl.load(angles + 2 * pair))
    sine = tl.where(is_value, 0.0, tl.load(angles + 2 * pair + 1))
    turned_even, turned_odd = even * cosine - odd * sine, even * sine + odd * cosine
    kind = query.dtype.element_ty
    if is_query:
        target = query + (row * HEADS + head) * HEAD_DIM
        tl.store(target + 2 * pair, turned_even.to(kind))
        tl.store(target + 2 * pair + 1, turned_odd.to(kind))
    elif row < num_real:
        kv_head = tl.where(is_value, head - HEADS - KV_HEADS, head - HEADS)
        if IS_CHAINS:
            address = tl.where(is_value, tail_values.to(tl.int64), tail_keys.to(tl.int64))
            first = _owners(words, row, tl.num_programs(0)) * _TAIL_BLOCKS - tl.load(words + _START) // _BLOCK
            offset = tail_offset
        else:
            address = tl.load(words + tl.where(is_value, _VALUES, _KEYS))
            first = 0
            offset = layer_offset
        slot = ((first + position // _BLOCK) * KV_HEADS + kv_head) * _BLOCK + position % _BLOCK
        target = address.to(tl.pointer_type(kind)) + offset + slot * HEAD_DIM
        tl.store(target + 2 * pair, turned_even.to(kind))
        tl.store(target + 2 * pair + 1, turned_odd.to(kind))


@triton.jit
def _look(queries, keys, values, may_look, scale, top, weight, sums, PRECISION: tl.constexpr):
    """Add a block of slots to the running softmax: the largest score, the sum of weights, and the weighted values."""
    scores = tl.dot(queries, tl.trans(keys), input_precision=PRECISION) * scale
    scores = tl.where(may_look, scores, float("-inf"))
    higher = tl.maximum(top, tl.max(scores, axis=1))
    # A row that may look at nothing here keeps −inf, and the difference of two infinities would be a NaN.
    safe = tl.where(higher == float("-inf"), 0.0, higher)
    shares = tl.exp(scores - safe[:, None])
    shrink = tl.exp(top - safe)
    weight = weight * shrink + tl.sum(shares, axis=1)
    sums = tl.dot(shares.to(queries.dtype), values, sums * shrink[:, None], input_precision=PRECISION)
    return higher, weight, sums


@triton.jit
def _bounds(
    words, piece, position, last_row,
    NEAR: tl.constexpr, NUM_NEAR: tl.constexpr, FAR: tl.constexpr, IS_CHAINS: tl.constexpr,
):  # fmt: skip
    """Return the first slot of a piece, and the end of those that rows up to the last one of a tile look at."""
    # The last slot that any row of this tile may look at. Programs for pieces behind it have nothing to do: there is
    # one for each piece of the whole capacity, because the live length isn't known when the launch is recorded.
    if IS_CHAINS:
        last = tl.max(position, axis=0)
    else:
        last = tl.load(words + _START) + tl.minimum(last_row, tl.load(words + _NUM_REAL) - 1)
    # Pieces begin at absolute slots and never depend on the length, so that sums are always cut at the same places.
    is_near = piece < NUM_NEAR
    first_slot = tl.where(is_near, piece * NEAR, NUM_NEAR * NEAR + (piece - NUM_NEAR) * FAR).to(tl.int64)
    return first_slot, tl.minimum(first_slot + tl.where(is_near, NEAR, FAR), last + 1)


@triton.jit
def _look_at_tails(
    queries, keys, values, tail_keys, tail_values, owner, position, scale, start, first_slot, end, kv_head,
    top, weight, sums, KV_HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Look, from rows of chains, at the blocks from `first_slot` on, in which each row sees its own chain's tail."""
    inside = tl.arange(0, _BLOCK)
    tile_at = inside[:, None] * HEAD_DIM + tl.arange(0, HEAD_DIM)[None, :]
    for slot in range(first_slot, end, _BLOCK):
        block = ((slot // _BLOCK) * KV_HEADS + kv_head) * _BLOCK * HEAD_DIM
        may_look = (slot + inside)[None, :] <= position[:, None]
        # The first of these blocks is partly the cache's: those slots are read there.
        is_shared = (slot + inside < start)[:, None]
        for chain in range(_MAX_CHAINS):
            tail_block = chain * _TAIL_BLOCKS + slot // _BLOCK - start // _BLOCK
            own = (tail_block * KV_HEADS + kv_head) * _BLOCK * HEAD_DIM
            key_at = tl.where(is_shared, keys + block + tile_at, tail_keys + own + tile_at)
            value_at = tl.where(is_shared, values + block + tile_at, tail_values + own + tile_at)
            top, weight, sums = _look(
                queries, tl.load(key_at), tl.load(value_at), may_look & (owner == chain)[:, None], scale,
                top, weight, sums, PRECISION,
            )  # fmt: skip
    return top, weight, sums


@triton.jit
def attend_piece(
    query, words, tail_keys, tail_values, mixed, highest, total, layer_offset, tail_offset, scale, num_rows,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, QUERIES: tl.constexpr,
    NEAR: tl.constexpr, NUM_NEAR: tl.constexpr, FAR: tl.constexpr, PRECISION: tl.constexpr, IS_CHAINS: tl.constexpr,
):  # fmt: skip
    """Attend to one piece of the slots in each program, for a key head and a tile of queries.

    The query heads of a row stand side by side in a tile. Rows of chains share the slots before the first row's, and
    behind them look at their own chain's alone: others' slots have weight 0, so that a row's bits are those of a step
    of its chain.
    """
    piece, kv_head, tile = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    GROUPS: tl.constexpr = HEADS // KV_HEADS
    start = tl.load(words + _START)
    member = tile * QUERIES + tl.arange(0, QUERIES)
    row = member // GROUPS
    position = _positions(words, row, num_rows, IS_CHAINS)
    last_row = (tile * QUERIES + QUERIES - 1) // GROUPS
    first_slot, end = _bounds(words, piece, position, last_row, NEAR, NUM_NEAR, FAR, IS_CHAINS)
    kind = query.dtype.element_ty
    if first_slot < end:
        wide, is_row = tl.arange(0, HEAD_DIM), row < num_rows
        at = row * HEADS + kv_head * GROUPS + member % GROUPS
        queries = tl.load(query + at[:, None] * HEAD_DIM + wide[None, :], mask=is_row[:, None], other=0.0)
        inside = tl.arange(0, _BLOCK)
        tile_at = inside[:, None] * HEAD_DIM + wide[None, :]
        # The cache's address is read on the device, so that one recording serves every session.
        keys = tl.multiple_of(tl.load(words + _KEYS).to(tl.pointer_type(kind)), 16) + layer_offset
        values = tl.multiple_of(tl.load(words + _VALUES).to(tl.pointer_type(kind)), 16) + layer_offset
        top = tl.full((QUERIES,), float("-inf"), tl.float32)
        weight = tl.zeros((QUERIES,), tl.float32)
        sums = tl.zeros((QUERIES, HEAD_DIM), tl.float32)
        # Whole blocks before the chains' first slot are the cache's own, for all rows.
        shared_end = tl.minimum(end, start // _BLOCK * _BLOCK) if IS_CHAINS else end
        for slot in range(first_slot, shared_end, _BLOCK):
            block = ((slot // _BLOCK) * KV_HEADS + kv_head) * _BLOCK * HEAD_DIM
            may_look = (slot + inside)[None, :] <= position[:, None]
            top, weight, sums = _look(
                queries, tl.load(keys + block + tile_at), tl.load(values + block + tile_at), may_look, scale,
                top, weight, sums, PRECISION,
            )  # fmt: skip
        # From the block of the chains' first slot on, each chain has its own copy. All rows go through all chains,
        # since a tile holds rows of several. Other chains' blocks are masked, and so change nothing of a row.
        if IS_CHAINS:
            owner = _owners(words, row, num_rows)
            top, weight, sums = _look_at_tails(
                queries, keys, values, tail_keys + tail_offset, tail_values + tail_offset, owner, position, scale,
                start, tl.maximum(first_slot, shared_end), end, kv_head, top, weight, sums,
                KV_HEADS, HEAD_DIM, PRECISION,
            )  # fmt: skip
        # Each piece leaves its own sums, largest score and weight; `combine` adds them up in their order.
        at = piece.to(tl.int64) * num_rows * HEADS + at
        tl.store(mixed + at[:, None] * HEAD_DIM + wide[None, :], sums, mask=is_row[:, None])
        tl.store(highest + at, top, mask=is_row)
        tl.store(total + at, weight, mask=is_row)


@triton.jit
def combine(
    mixed, highest, total, words, output, num_rows,
    HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, NEAR: tl.constexpr, NUM_NEAR: tl.constexpr, FAR: tl.constexpr,
    IS_CHAINS: tl.constexpr,
):  # fmt: skip
    """Add up the pieces, in their order, up to the row's own slot, for one row and head in each program."""
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    position = _positions(words, row, num_rows, IS_CHAINS)
    beyond = position - NUM_NEAR * NEAR
    num_pieces = tl.where(beyond < 0, position // NEAR, NUM_NEAR + beyond // FAR) + 1
    wide, few = tl.arange(0, HEAD_DIM), tl.arange(0, COMBINED_AT_ONCE)
    stride = num_rows * HEADS
    at = row * HEADS + head
    top = tl.full((COMBINED_AT_ONCE,), float("-inf"), tl.float32)
    for first in range(0, num_pieces, COMBINED_AT_ONCE):
        piece = first + few
        top = tl.maximum(top, tl.load(highest + piece * stride + at, mask=piece < num_pieces, other=float("-inf")))
    best = tl.max(top, axis=0)
    weight = tl.zeros((1,), tl.float32)
    sums = tl.zeros((HEAD_DIM,), tl.float32)
    for first in range(0, num_pieces, COMBINED_AT_ONCE):
        piece = first + few
        is_there = piece < num_pieces
        of_piece = piece * stride + at
        factor = tl.exp(tl.load(highest + of_piece, mask=is_there, other=float("-inf")) - best)
        weight += tl.sum(factor * tl.load(total + of_piece, mask=is_there, other=0.0), axis=0)
        parts = tl.load(mixed + of_piece[:, None] * HEAD_DIM + wide[None, :], mask=is_there[:, None], other=0.0)
        sums += tl.sum(factor[:, None] * parts, axis=0)
    tl.store(output + at * HEAD_DIM + wide, (sums / weight).to(output.dtype.element_ty))


@triton.jit
def gate(gate_up, output, width, WIDE: tl.constexpr):
    """Apply the gate to one row and stretch of the width in each program."""
    row, at = tl.program_id(0).to(tl.int64), tl.program_id(1) * WIDE + tl.arange(0, WIDE)
    is_inside = at < width
    gate = tl.load(gate_up + row * 2 * width + at, mask=is_inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * width + width + at, mask=is_inside, other=0.0).to(tl.float32)
    value = gate / (1.0 + tl.exp(-gate)) * up
    tl.store(output + row * width + at, value.to(output.dtype.element_ty), mask=is_inside)
