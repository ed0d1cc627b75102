"""Caches what a model has computed of one token sequence, in a fixed-size store; rollback moves its end.

Knows tensors and token ids; it doesn't know what computes them, only by which of two ways each slot was computed. The
bookkeeping is equal for every model; each model's own store decides how keys and values lie in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

BLOCK = 64


class Store(Protocol):
    """Holds what a model has computed; slot numbers equal positions."""

    @property
    def num_bytes(self) -> int:
        """The memory of the store in bytes."""

    def copy_blocks(self, other: Any, first: int, end: int) -> None:
        """Take over blocks of 64 slots, from `first` up to `end`, of another store of the same model."""


@runtime_checkable
class KeepsBlocks(Protocol):
    """A store whose blocks of 64 slots can be kept elsewhere, as bytes that say nothing of its capacity."""

    def block_bytes(self, number: int) -> bytes:
        """Return keys and values of a block."""

    def fill_block(self, number: int, content: memoryview) -> None:
        """Take a block over from its bytes. Raises `ValueError` where they are of another form."""


StoreT = TypeVar("StoreT", bound=Store)


class Blocks:
    """Keys and values by blocks of 64 slots: the store of our own forward pass."""

    keys: Tensor  # (L, blocks, H, 64, D)
    values: Tensor  # (L, blocks, H, 64, D)

    def __init__(
        self, *, layers: int, kv_heads: int, head_dim: int, capacity: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        num_blocks = -(-capacity // BLOCK)
        shape = (layers, num_blocks, kv_heads, BLOCK, head_dim)
        # Zeros and not uninitialised memory: a NaN there would survive the mask.
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.capacity = num_blocks * BLOCK

    @property
    def num_bytes(self) -> int:
        """The memory of keys and values in bytes."""
        return 2 * self.keys.numel() * self.keys.element_size()

    @torch.inference_mode()
    def copy_blocks(self, other: Blocks, first: int, end: int) -> None:
        """Take over blocks, from `first` up to `end`, of another store of the same model."""
        self.keys[:, first:end] = other.keys[:, first:end]
        self.values[:, first:end] = other.values[:, first:end]

    def block_bytes(self, number: int) -> bytes:
        """Return keys and values of a block."""
        halves = (store[:, number].contiguous().cpu().view(torch.uint8) for store in (self.keys, self.values))
        return b"".join(half.numpy().tobytes() for half in halves)

    @torch.inference_mode()
    def fill_block(self, number: int, content: memoryview) -> None:
        """Take a block over from its bytes. Raises `ValueError` where they are of another form."""
        block = self.keys[:, number]
        size = block.numel() * block.element_size()
        if len(content) != 2 * size:
            raise ValueError("a block of another form")
        found = torch.frombuffer(bytearray(content), dtype=self.keys.dtype).to(self.keys.device)
        for store, half in zip((self.keys, self.values), found.chunk(2), strict=True):
            store[:, number] = half.view_as(block)


class KVCache(Generic[StoreT]):
    """The tokens that a store holds, and which of them may be reused.

    Slots below `num_chunked` were computed by whole prefill chunks, the others of `token_ids` by steps. The two differ
    in their last bits, so a warm run reuses only slots that a cold run of this prompt would compute alike. Slots behind
    the end hold leftovers; no row attends to them before they are overwritten.
    """

    def __init__(self, store: StoreT, *, capacity: int, can_roll_back: bool = True) -> None:
        """`can_roll_back` is False where a store forgets as it goes on, as a recurrent state does."""
        self.store = store
        self.capacity = capacity
        self.can_roll_back = can_roll_back
        self.token_ids: list[int] = []
        self.num_chunked = 0

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def num_bytes(self) -> int:
        """The memory of the store in bytes."""
        return self.store.num_bytes

    def common_prefix_len(self, token_ids: Sequence[int]) -> int:
        """Return how many tokens of this sequence begin `token_ids`."""
        ours, theirs = self.token_ids, list(token_ids)
        equal, end = 0, min(len(ours), len(theirs))
        while equal < end:  # by halves, because comparing lists is quicker than looking at each of their items
            middle = (equal + end + 1) // 2
            if ours[equal:middle] == theirs[equal:middle]:
                equal = middle
            else:
                end = middle - 1
        return equal

    def reuse(self, prompt_ids: Sequence[int], chunk: int) -> int:
        """Roll back to what a cold run over `prompt_ids` would hold; return how many tokens that is.

        The last prompt token is always computed again, because its logits are needed.
        """
        chunked = num_prefill_tokens(len(prompt_ids), chunk)
        common = min(self.common_prefix_len(prompt_ids), len(prompt_ids) - 1)
        if self.num_chunked == chunked and common >= chunked:
            kept = common
        else:
            kept = min(common, self.num_chunked, chunked) // chunk * chunk
        if kept < len(self) and not self.can_roll_back:
            kept = 0
        self.roll_back(kept)
        return kept

    def copy_beginning(self, other: KVCache[StoreT], length: int) -> None:
        """Hold the first `length` tokens of another cache of the same model: what is missing here is copied.

        The slots stay those that were computed, to the bit, and so does by which way each was.
        """
        assert self.can_roll_back and length <= len(other)  # noqa: PT018 - one condition
        start = min(self.common_prefix_len(other.token_ids), length)
        if self.num_chunked < min(start, other.num_chunked):
            start = self.num_chunked  # by steps here and by chunks there: theirs are worth more
        start = start // BLOCK * BLOCK
        self.roll_back(start)
        self.store.copy_blocks(other.store, start // BLOCK, -(-length // BLOCK))
        self.token_ids += other.token_ids[start:length]
        if self.num_chunked == start:
            self.num_chunked = max(start, min(other.num_chunked, length))

    def roll_back(self, length: int) -> None:
        """Forget the tokens from `length` on."""
        assert 0 <= length <= len(self.token_ids)
        del self.token_ids[length:]
        self.num_chunked = min(self.num_chunked, length)

    def commit(self, token_ids: Sequence[int], *, by_chunk: bool = False) -> None:
        """Take the next slots as valid: their keys and values have been written."""
        assert len(self.token_ids) + len(token_ids) <= self.capacity
        assert not by_chunk or self.num_chunked == len(self.token_ids)
        self.token_ids += token_ids
        if by_chunk:
            self.num_chunked = len(self.token_ids)


def num_prefill_tokens(prompt_len: int, chunk: int) -> int:
    """Return how many tokens of a prompt a cold run computes by whole absolute chunks; steps compute the rest.

    The rest is one token at least.
    """
    return (prompt_len - 1) // chunk * chunk
