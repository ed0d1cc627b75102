"""Places the rows of a pass: in sequence at a cache's end, or as several chains that begin there.

Every chain has a tail of its own: a copy of the cache's last, partly filled block and the blocks behind it, so that a
slot is a position for every row, and each number is what a step for that chain alone would give, to the bit. The usual
way, one block of rows with a mask for the tree (Miao et al. 2023, https://arxiv.org/abs/2305.09781), gives equal
numbers only up to rounding. Dimension letters as in decoder.py; Z chains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from decoding.kv_cache import BLOCK, Blocks, KVCache
from decoding.models.torch.attention import Stored, attend, attend_chains, block_mask

MAX_CHAINS = 4
TAIL_BLOCKS = 2  # a step is shorter than a block


class RowPlacement(Protocol):
    """The places of a pass's rows; a layer's keys and values are stored there before its rows look at them."""

    @property
    def positions(self) -> slice | Tensor:
        """The positions (T,) of the rows."""

    def attend_and_store(self, index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Store keys and values (T, H, D) of layer `index` and attend with `query` (T, N, D): return (T, N D)."""


class CacheEnd:
    """Rows that follow the end of a cache in sequence."""

    def __init__(self, cache: KVCache[Blocks], num_rows: int, heads: int) -> None:
        """`heads` is the number of query heads, N."""
        self._store, self._start = cache.store, len(cache)
        self.positions = slice(self._start, self._start + num_rows)
        device, kv_heads = cache.store.keys.device, cache.store.keys.shape[2]
        self._mask = block_mask(self._start, num_rows, heads // kv_heads, device, torch.float32)

    def attend_and_store(self, index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Store keys and values in the cache and attend to it; see `RowPlacement`."""
        head_dim, num_blocks = query.shape[-1], len(self._mask)
        keys, values = self._store.keys[index], self._store.values[index]
        self._write(keys, key)
        self._write(values, value)
        rows = _below_one_another(query.to(keys.dtype), keys.shape[1])
        mixed = attend(rows, keys[:num_blocks], values[:num_blocks], self._mask, head_dim**-0.5)
        return _side_by_side(mixed, len(query))

    def _write(self, store: Tensor, rows: Tensor) -> None:
        """Put (T, H, D) rows into the (blocks, H, 64, D) store."""
        done = 0
        while done < len(rows):
            block, slot = divmod(self._start + done, BLOCK)
            count = min(BLOCK - slot, len(rows) - done)
            store[block, :, slot : slot + count] = rows[done : done + count].transpose(0, 1)
            done += count


class Tails:
    """Memory for the tails of `MAX_CHAINS` chains, and of one more for padding rows."""

    def __init__(self, store: Blocks) -> None:
        layers, _, kv_heads, _, head_dim = store.keys.shape
        shape = (layers, MAX_CHAINS + 1, TAIL_BLOCKS, kv_heads, BLOCK, head_dim)
        # Zeros and not uninitialised memory: a NaN there would survive the mask.
        self.keys = torch.zeros(shape, dtype=store.keys.dtype, device=store.keys.device)
        self.values = torch.zeros_like(self.keys)

    def keep(self, number: int, num_tokens: int, store: Blocks, start: int) -> None:
        """Copy the slots of a chain's first tokens, from slot `start` on, into a cache."""
        num_main, taken = start // BLOCK, 0
        while taken < num_tokens:
            block, slot = divmod(start + taken, BLOCK)
            count = min(BLOCK - slot, num_tokens - taken)
            place = (slice(None), slice(None), slice(slot, slot + count))
            store.keys[:, block][place] = self.keys[:, number, block - num_main][place]
            store.values[:, block][place] = self.values[:, number, block - num_main][place]
            taken += count


class Chains:
    """Rows of several chains that all begin at the end of a cache, padded to `width` rows."""

    def __init__(
        self, chains: Sequence[Sequence[int]], cache: KVCache[Blocks], tails: Tails, *, width: int, heads: int
    ) -> None:
        """`heads` is the number of query heads, N."""
        lengths = [len(chain) for chain in chains]
        assert len(chains) <= MAX_CHAINS
        assert sum(lengths) <= width
        lengths.append(width - sum(lengths))
        self.token_ids = [token_id for chain in chains for token_id in chain]
        self.token_ids += [self.token_ids[-1]] * lengths[-1]
        store = self._store = cache.store
        device = store.keys.device
        self._start = len(cache)
        self._num_main, in_block = divmod(self._start, BLOCK)
        offsets = torch.tensor([i for length in lengths for i in range(length)], device=device)
        self.positions = self._start + offsets  # (T,)
        self._chain = torch.tensor([z for z, length in enumerate(lengths) for _ in range(length)], device=device)
        self._block, self._slot = (in_block + offsets) // BLOCK, (in_block + offsets) % BLOCK
        num_chains, num_tail = len(lengths), -(-(in_block + max(lengths)) // BLOCK)
        self._room = tails
        self._tails = Stored(tails.keys[:, :num_chains, :num_tail], tails.values[:, :num_chains, :num_tail])
        self._tails.keys[:, :, 0] = store.keys[:, None, self._num_main]
        self._tails.values[:, :, 0] = store.values[:, None, self._num_main]
        slots = torch.arange(num_tail * BLOCK, device=device).view(num_tail, 1, 1, BLOCK)
        groups = heads // store.keys.shape[2]
        self._owner = self._chain.repeat(groups)
        self._mask = torch.zeros(num_tail, 1, groups * width, BLOCK, device=device)
        self._mask.masked_fill_(slots > (in_block + offsets).repeat(groups).view(1, 1, -1, 1), -torch.inf)

    def attend_and_store(self, index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Store keys and values in the chains' tails and attend to cache and tails; see `RowPlacement`."""
        tails = Stored(self._tails.keys[index], self._tails.values[index])
        tails.keys[self._chain, self._block, :, self._slot] = key.to(tails.keys.dtype)
        tails.values[self._chain, self._block, :, self._slot] = value.to(tails.values.dtype)
        main = Stored(self._store.keys[index, : self._num_main], self._store.values[index, : self._num_main])
        rows = _below_one_another(query.to(tails.keys.dtype), key.shape[1])
        mixed = attend_chains(rows, main, tails, self._owner, self._mask, query.shape[-1] ** -0.5)
        return _side_by_side(mixed, len(query))

    def keep(self, number: int, num_tokens: int) -> None:
        """Copy the slots of a chain's first tokens into the cache."""
        self._room.keep(number, num_tokens, self._store, self._start)


def _below_one_another(query: Tensor, kv_heads: int) -> Tensor:
    """Return (H, N/H * T, D) from (T, N, D): the query heads that share a key head below one another."""
    return query.transpose(0, 1).reshape(kv_heads, -1, query.shape[-1])


def _side_by_side(mixed: Tensor, num_rows: int) -> Tensor:
    """Return (T, N D) from (H, N/H * T, D)."""
    return mixed.view(-1, num_rows, mixed.shape[-1]).transpose(0, 1).reshape(num_rows, -1)
