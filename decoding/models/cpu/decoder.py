"""Runs our forward pass of the Llama family on a CPU: prepares the job on which the compiled kernels work.

Any number of rows gives equal bits for each of them (forward.py), so nothing is padded, a prompt is read in pieces of
any length, and whatever was computed once may be used again.

Dimension letters: T rows, V vocabulary, L layers, N query heads, H key heads, D head size, C width of the model.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from decoding.kv_cache import KVCache
from decoding.models.cpu import job_layout, matmul, quantized_matmul
from decoding.models.cpu.packing import Memory, Packed, pack, up
from decoding.models.cpu.quantized_forms import FORMS
from decoding.models.cpu.simd import LANES, MAX_ROWS, PAIRS
from decoding.models.cpu.thread_team import Table, ThreadTeam, give_way_address
from decoding.models.cpu.trimmed_head import TrimmedHead, is_worth_trimming
from decoding.models.language_model import Capabilities, PassGivenUp
from decoding.models.torch.decoder import Shape, Weights
from decoding.models.weights.stored_blocks import StoredWeights

STEP_WIDTH = 16
PREFILL_WIDTH = 64
_NO_IDS = np.zeros(0, np.int64)
Stored = NDArray[np.int16] | NDArray[np.float32]


class Slots:
    """The keys and values of one sequence. The system gives memory to pages only when they are written."""

    def __init__(self, shape: Shape, kind: int) -> None:
        """`kind` is float32 or pairs of bfloat16."""
        self.capacity = up(shape.max_len, job_layout.SLOTS)
        stores = (shape.layers, shape.kv_heads, self.capacity)
        stored = np.int16 if kind == PAIRS else np.float32
        # Keys lie in blocks of 64 slots, in which the same dimension of all slots is side by side: one, or a pair.
        # Values lie slot by slot, or panel by panel in pairs of slots.
        self.keys = np.zeros((*stores, shape.head_dim), stored)
        self.values = np.zeros((*stores, up(shape.head_dim, LANES)), stored)
        self.addresses = self.keys.ctypes.data, self.values.ctypes.data
        # (L, H, panels, slots, numbers of a panel): the same memory, in its order.
        panel = LANES if kind == PAIRS else self.values.shape[-1]
        self._values_by_slot = self.values.reshape(*stores[:2], self.values.shape[-1] // panel, self.capacity, panel)

    @property
    def num_bytes(self) -> int:
        """The memory in bytes that keys and values can take."""
        return self.keys.nbytes + self.values.nbytes

    def copy_blocks(self, other: Slots, first: int, end: int) -> None:
        """Take over blocks of slots, from `first` up to `end`, of another store of the same model."""
        slots = slice(first * job_layout.SLOTS, end * job_layout.SLOTS)
        self.keys[:, :, slots] = other.keys[:, :, slots]
        self._values_by_slot[:, :, :, slots] = other._values_by_slot[:, :, :, slots]

    def block_bytes(self, number: int) -> bytes:
        """Return keys and values of a block of slots."""
        return b"".join(part.tobytes() for part in self._parts_of(number))

    def fill_block(self, number: int, content: memoryview) -> None:
        """Take a block of slots over from its bytes. Raises `ValueError` where they are of another form."""
        keys, values = self._parts_of(number)
        if len(content) != keys.nbytes + values.nbytes:
            raise ValueError("a block of another form")
        numbers = np.frombuffer(content, keys.dtype)
        keys[:], values[:] = numbers[: keys.size].reshape(keys.shape), numbers[keys.size :].reshape(values.shape)

    def _parts_of(self, number: int) -> tuple[Stored, Stored]:
        """Return views of a block's keys (L, H, slots, D) and values (L, H, panels, slots, numbers of a panel)."""
        slots = slice(number * job_layout.SLOTS, (number + 1) * job_layout.SLOTS)
        return self.keys[:, :, slots], self._values_by_slot[:, :, :, slots]


class CpuDecoder:
    """A model that computes 1 to `prefill_width` rows at a time into a cache."""

    def __init__(self, shape: Shape, packed: Packed, *, threads: int) -> None:
        """`packed` is never written to, and may be shared with other models."""
        self.shape = shape
        self.chunk = 1
        self.has_own_threads = True
        self.capabilities = Capabilities(
            step_width=STEP_WIDTH, drafts_ahead=True, skips_layers=shape.layers > 1, gives_up=True
        )
        self.num_layers = shape.layers
        self.prefill_width = PREFILL_WIDTH
        self.device = torch.device("cpu")
        self.dtype = packed.dtype
        self.num_parameters = packed.num_parameters
        self.num_read_bytes = packed.head_bytes + sum(packed.layer_bytes)
        self._packed = packed
        self._threads = threads
        self._memory = Memory()
        self._memory.share(packed.memory)
        self._logits = self._memory.zeros(STEP_WIDTH, up(int(packed.head[job_layout.OUTPUTS]), LANES))
        # Made once, because making a tensor takes as long as several rows of a small matrix.
        logits = torch.from_numpy(self._logits)[:, : shape.vocabulary]
        self._views = [logits[:num_rows] for num_rows in range(STEP_WIDTH + 1)]
        self._hidden = self._memory.zeros(PREFILL_WIDTH, up(shape.width, LANES))
        self._num_stepped = 0
        # Steps and drafts are short, and whoever asked for them can't begin again.
        self._never, self._wanted_end = (self._memory.hold(np.zeros(1, np.int64)) for _ in range(2))
        self._job = self._new_job()
        scratch = [self._scratch() for _ in range(threads)]
        eps = np.float32(shape.norm_eps)
        # The threads look at this one; drafting puts a trimmed head into it for a while.
        self._head = packed.head.copy()
        self._trimmed: TrimmedHead | None = None
        self._team = ThreadTeam(self._job, packed.layers, self._head, eps, scratch, self._memory)
        weakref.finalize(self, self._team.close)

    def with_layers(self, kept: Sequence[int], *, is_trial: bool = False) -> CpuDecoder:
        """Return the model with the kept layers only; the weights are shared."""
        del is_trial  # this model prepares nothing for speed in any case
        return CpuDecoder(replace(self.shape, layers=len(kept)), self._packed.with_layers(kept), threads=self._threads)

    def of_each_form(self) -> CpuDecoder:
        """Return the model with one layer of each form: the kernels do with it whatever they do with all layers."""
        forms = self._packed.forms
        return self.with_layers(sorted({form: layer for layer, form in reversed([*enumerate(forms)])}.values()))

    def new_cache(self) -> KVCache[Slots]:
        """Make an empty cache for one sequence."""
        slots = Slots(self.shape, self._packed.cache_kind)
        return KVCache(slots, capacity=slots.capacity)

    def step(self, token_ids: Sequence[int], cache: KVCache[Slots]) -> Tensor:
        """Return logits (T, V) after each of 1 to `step_width` tokens that follow the cache's end; commit nothing.

        They are valid until the next call.
        """
        self._run(token_ids, cache, num_logit_rows=len(token_ids))
        self._num_stepped = len(token_ids)
        return self._views[len(token_ids)]

    def prefill(self, token_ids: Sequence[int], cache: KVCache[Slots]) -> None:
        """Compute 1 to `prefill_width` tokens and commit them. Raises `PassGivenUp`, with the cache as it was."""
        self._prepare(token_ids, cache, num_logit_rows=0)
        self._job[job_layout.GIVE_UP] = self._wanted_end.ctypes.data
        if not self._team.run():
            raise PassGivenUp
        cache.commit(token_ids, by_chunk=True)

    def advance(self, token_ids: Sequence[int], cache: KVCache[Slots]) -> Tensor:
        """Compute and commit 1 to `prefill_width` tokens; return logits (V,) after the last.

        They are valid until the next call.
        """
        self._run(token_ids, cache, num_logit_rows=1)
        cache.commit(token_ids)
        return self._views[1][0]

    def give_up(self, *, is_wanted: bool) -> None:
        """Let `prefill` end at the next layer while this is wanted; any thread may call it."""
        self._wanted_end[0] = is_wanted

    def draft_ahead(
        self,
        token_ids: Sequence[int],
        cache: KVCache[Slots],
        num_tokens: int,
        least_share: float = 0.0,
        text_ids: Sequence[int] = (),
    ) -> list[tuple[int, float]]:
        """Return greedy tokens that follow, each with its probability; see `language_model.DraftsAhead`."""
        ids, shares = np.zeros(num_tokens, np.int64), np.zeros(num_tokens, np.float32)
        self._prepare(token_ids, cache, num_logit_rows=1, num_more=num_tokens - 1)
        num_outputs, others = self.shape.vocabulary, _NO_IDS
        if len(text_ids) and (trimmed := self._trim()) is not None:
            trimmed.hold(text_ids)
            num_outputs, others = trimmed.num_outputs, trimmed.others
            self._head[:] = trimmed.table
        rest = (self._tokens, self._counters, num_outputs, others, np.float32(least_share), ids, shares)
        try:
            num_chosen = self._team.draft(*rest)
        finally:
            self._head[:] = self._packed.head
        cache.commit([*token_ids, *ids[: num_chosen - 1].tolist()])
        return list(zip(ids[:num_chosen].tolist(), shares[:num_chosen].tolist(), strict=True))

    @property
    def hidden_width(self) -> int:
        """The width C of `hidden`."""
        return self.shape.width

    def hidden(self) -> Tensor:
        """Return hidden states (T, C) of the last step's rows, before the last norm, valid until the next call."""
        return torch.from_numpy(self._hidden[: self._num_stepped, : self.shape.width])

    def _trim(self) -> TrimmedHead | None:
        """Return the trimmed head, made at first use; None for a head that isn't worth it or can't be trimmed."""
        if self._trimmed is None and (panels := self._packed.head_panels) and is_worth_trimming(self.shape.vocabulary):
            self._trimmed = TrimmedHead(self._packed.head, panels, self.shape.vocabulary)
        return self._trimmed

    def _run(self, token_ids: Sequence[int], cache: KVCache[Slots], *, num_logit_rows: int) -> None:
        self._prepare(token_ids, cache, num_logit_rows=num_logit_rows)
        self._team.run()

    def _prepare(
        self, token_ids: Sequence[int], cache: KVCache[Slots], *, num_logit_rows: int, num_more: int = 0
    ) -> None:
        """Fill in the job of these rows, which `num_more` passes of one row may follow."""
        num_rows, start = len(token_ids), len(cache)
        end = start + num_rows + num_more
        if not 0 < num_rows <= PREFILL_WIDTH or num_logit_rows > STEP_WIDTH:
            raise IndexError(f"{num_rows} rows, logits of {num_logit_rows}")
        # The kernels check no bounds: with a wrong number they would read foreign memory.
        if min(token_ids) < 0 or max(token_ids) >= self.shape.vocabulary or end > cache.capacity:
            raise IndexError(f"tokens {min(token_ids)} to {max(token_ids)} or slot {end} out of bounds")
        job = self._job
        job[job_layout.GIVE_UP] = self._never.ctypes.data
        self._tokens[:num_rows] = token_ids
        self._counters.fill(0)
        job[job_layout.NUM_ROWS], job[job_layout.START], job[job_layout.NUM_LOGIT_ROWS] = (
            num_rows,
            start,
            num_logit_rows,
        )
        job[job_layout.CAPACITY] = cache.capacity
        job[job_layout.KEYS], job[job_layout.VALUES] = cache.store.addresses

    def _new_job(self) -> Table:
        """Make the job's table, as job_layout.py describes it."""
        shape, memory = self.shape, self._memory
        inner = up((shape.heads + 2 * shape.kv_heads) * shape.head_dim, LANES)
        buffer_width = max(inner, self._packed.widest + LANES)
        self._tokens = memory.hold(np.zeros(PREFILL_WIDTH, np.int64))
        num_phases = 2 + job_layout.PHASES * shape.layers
        self._counters = memory.hold(np.zeros(2 * num_phases * job_layout.COUNTER_BYTES // 8, np.int64))
        job = np.zeros(job_layout.JOB, np.int64)
        for column, value in {
            **self._packed.job,
            job_layout.NUM_LAYERS: shape.layers,
            job_layout.WIDTH: shape.width,
            job_layout.HEADS: shape.heads,
            job_layout.KV_HEADS: shape.kv_heads,
            job_layout.HEAD_DIM: shape.head_dim,
            job_layout.BUFFER_STRIDE: buffer_width * 4,
            job_layout.TOKENS: self._tokens.ctypes.data,
            job_layout.HIDDEN: self._hidden.ctypes.data,
            job_layout.BUFFER: memory.zeros(PREFILL_WIDTH, buffer_width).ctypes.data,
            job_layout.MIXED: memory.zeros(PREFILL_WIDTH, up(shape.heads * shape.head_dim, LANES)).ctypes.data,
            job_layout.LOGITS: self._logits.ctypes.data,
            job_layout.COUNTERS: self._counters.ctypes.data,
            job_layout.GIVE_WAY: give_way_address(),
            job_layout.CACHE_KIND: self._packed.cache_kind,
            job_layout.THREADS: self._threads,
            **dict(zip((job_layout.ALL_NORMED, job_layout.ALL_ROUNDED), self._prepared(), strict=True)),
            **{job_layout.MULTIPLY + kind: _multiply_address(kind) for kind in self._packed.kinds},
        }.items():
            job[column] = value
        return job

    def _scratch(self) -> Table:
        shape, memory = self.shape, self._memory
        mine = np.zeros(job_layout.THREAD, np.int64)
        mine[job_layout.NORMED], mine[job_layout.ROUNDED] = self._prepared()
        mine[job_layout.SCORES] = memory.zeros(MAX_ROWS, up(shape.max_len, job_layout.SLOTS)).ctypes.data
        mine[job_layout.QUERIES] = memory.zeros(MAX_ROWS, up(shape.head_dim, LANES)).ctypes.data
        tile = max(PREFILL_WIDTH * job_layout.TILE_PANELS * LANES, MAX_ROWS * up(shape.head_dim, LANES))
        mine[job_layout.TILE] = memory.zeros(tile).ctypes.data
        return mine

    def _prepared(self) -> tuple[int, int]:
        """Make memory for rows that are normalised, and for such that are rounded; return the addresses."""
        rounded = np.zeros((PREFILL_WIDTH, up(self._packed.deepest, LANES)), np.int16)
        normed = self._memory.zeros(PREFILL_WIDTH, up(self.shape.width, LANES))
        return normed.ctypes.data, self._memory.hold(rounded).ctypes.data


def _multiply_address(kind: int) -> int:
    return quantized_matmul.multiply_address(kind) if kind in FORMS else matmul.multiply_address(kind)


def build(shape: Shape, weights: Weights | StoredWeights, *, threads: int) -> CpuDecoder:
    """Make the model of these weights."""
    return CpuDecoder(shape, pack(weights, threads=threads), threads=threads)
