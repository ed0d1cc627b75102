"""Keys and values of one token sequence, in a fixed-size store that is rolled back by moving its end.

Knows tensors and token ids; it doesn't know what computes them, only by which of two ways each slot was computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BLOCK = 64


class KVCache:
    """Keys and values by blocks of 64 slots, slot equal to position.

    Slots below `num_chunked` were computed by whole prefill chunks, the others of `token_ids` by steps. The two differ
    in their last bits, so a warm run reuses only slots that a cold run of the same prompt would compute alike.
    Slots behind the end hold leftovers; no row attends to them before they are written anew.
    """

    keys: Tensor  # (L, blocks, H, 64, D)
    values: Tensor  # (L, blocks, H, 64, D)

    def __init__(
        self, *, layers: int, kv_heads: int, head_dim: int, capacity: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        num_blocks = -(-capacity // BLOCK)
        shape = (layers, num_blocks, kv_heads, BLOCK, head_dim)
        # Zeros and not leftovers of the allocator: a NaN there would survive the mask.
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.capacity = num_blocks * BLOCK
        self.token_ids: list[int] = []
        self.num_chunked = 0

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def num_bytes(self) -> int:
        """Memory that the store takes."""
        return 2 * self.keys.numel() * self.keys.element_size()

    def common_prefix_len(self, token_ids: Sequence[int]) -> int:
        """How many tokens of this sequence begin `token_ids`."""
        length = min(len(self.token_ids), len(token_ids))
        if self.token_ids[:length] == list(token_ids[:length]):
            return length
        return next(i for i in range(length) if self.token_ids[i] != token_ids[i])

    def reuse(self, prompt_ids: Sequence[int], chunk: int) -> int:
        """Roll back to what a cold run over `prompt_ids` would hold; return how many tokens that is.

        The last prompt token is always computed again, because its logits are wanted.
        """
        chunked = num_prefill_tokens(len(prompt_ids), chunk)
        common = min(self.common_prefix_len(prompt_ids), len(prompt_ids) - 1)
        if self.num_chunked == chunked and common >= chunked:
            kept = common
        else:
            kept = min(common, self.num_chunked, chunked) // chunk * chunk
        self.roll_back(kept)
        return kept

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
    """How many tokens of a prompt a cold run computes by whole absolute chunks; the rest, at least one, by steps."""
    return (prompt_len - 1) // chunk * chunk
