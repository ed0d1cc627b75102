"""Gives models of transformers our attention: a cache with rollback by moving an end, sums by blocks.

A model that asks transformers' table of attention functions can be given `attention.attend`, whose result for a row
doesn't depend on the row's place, and a cache layer that shows it only the live blocks. Knows nothing of what the model
does besides.
"""

from __future__ import annotations

from typing import Any, Final

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn
from transformers import Cache
from transformers.cache_utils import StaticLayer
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from decoding.kv_cache import BLOCK
from decoding.models.torch.attention import attend

NAME: Final = "tabcast_blocks"


class BlockLayer(StaticLayer):
    """The keys and values of one layer, (1, H, capacity, D); `length` is set from outside before each forward pass."""

    keys: Tensor
    values: Tensor

    def __init__(self, capacity: int) -> None:
        super().__init__(max_cache_len=capacity)
        self.length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate memory; a CPU keeps float32, in which small products are fastest there."""
        if key_states.device.type == "cpu":
            key_states, value_states = key_states.float(), value_states.float()
        super().lazy_initialization(key_states, value_states)

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write (1, H, T, D) at the end; return the live part, in whole blocks."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[-2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        live = _whole_blocks(end)
        return self.keys[:, :, :live], self.values[:, :, :live]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the width of the mask for the next `query_length` rows, and the slot it begins at."""
        return _whole_blocks(self.length + query_length), 0

    def get_seq_length(self) -> int:
        """Return the slot where the next row goes."""
        return self.length


class BlockStore:
    """The layers of one sequence, in the form that a model of transformers takes."""

    def __init__(self, num_layers: int, capacity: int) -> None:
        # A layer that shares another's keys, or has none, never initialises its own, which then takes no memory.
        self.layers = [BlockLayer(capacity) for _ in range(num_layers)]
        self.cache = Cache(layers=list(self.layers))

    def seek(self, length: int) -> None:
        """Move the end to `length`: the next rows go there, over whatever lies there."""
        for layer in self.layers:
            layer.length = length

    def copy_blocks(self, other: BlockStore, first: int, end: int) -> None:
        """Take over blocks of slots, from `first` up to `end`, of another store of the same model."""
        slots = slice(first * BLOCK, end * BLOCK)
        for layer, others in zip(self.layers, other.layers, strict=True):
            if others.is_initialized:
                if not layer.is_initialized:
                    layer.lazy_initialization(others.keys, others.values)
                layer.keys[:, :, slots] = others.keys[:, :, slots]
                layer.values[:, :, slots] = others.values[:, :, slots]

    @property
    def num_bytes(self) -> int:
        """The memory in bytes; 0 before the first row."""
        ready = [layer for layer in self.layers if layer.is_initialized]
        return sum(store.numel() * store.element_size() for layer in ready for store in (layer.keys, layer.values))


class BlockAttention:
    """Our attention in the form of transformers' table; counts its calls, because a model may ignore the table."""

    def __init__(self) -> None:
        self.num_calls = 0

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        **options: Any,
    ) -> tuple[Tensor, None]:
        """Return (1, T, N, E) of queries (1, N, T, D) over live keys (1, H, S, D) and values (1, H, S, E), E <= D.

        Raises `NotImplementedError` for what `attend` can't do: soft caps, sinks, biases by position.
        """
        asked = [name for name in ("softcap", "s_aux", "position_bias") if options.get(name) is not None]
        if attention_mask is None or asked:
            raise NotImplementedError(f"attention with {', '.join(asked) or 'no mask'}")
        self.num_calls += 1
        _, num_heads, num_rows, head_dim = query.shape
        _, kv_heads, num_slots, value_dim = value.shape
        # Query heads that share a key head stand below one another: (H, N/H * T, D).
        rows = query[0].to(key.dtype).reshape(kv_heads, -1, head_dim)
        missing = -num_slots % BLOCK  # 0 with our cache, more where the model is called without one
        mask = F.pad(attention_mask[0, 0], (0, missing), value=-torch.inf).view(num_rows, -1, BLOCK).transpose(0, 1)
        mask = mask.repeat(1, num_heads // kv_heads, 1)
        keys, values = (_blocks(F.pad(part, (0, head_dim - part.shape[-1], 0, missing))) for part in (key, value))
        mixed = attend(rows, keys, values, mask.unsqueeze(1), head_dim**-0.5 if scaling is None else scaling)
        mixed = mixed.view(num_heads, num_rows, head_dim)[..., :value_dim]
        return mixed.transpose(0, 1).unsqueeze(0).to(query.dtype), None


ATTENTION: Final = BlockAttention()


def register() -> None:
    """Enter our attention and its mask into transformers' tables, under `NAME`."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, ATTENTION)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, _mask)


def _blocks(part: Tensor) -> Tensor:
    """Return (1, H, S, D) as (S / 64, H, 64, D)."""
    blocks: Tensor = part[0].unflatten(1, (-1, BLOCK))
    return blocks.transpose(0, 1)


def _mask(*, allow_is_causal_skip: bool = True, **arguments: Any) -> Tensor:
    """Return (1, 1, T, S): 0 where a row may look, −inf where not.

    Never left out, because the slots are whole blocks.
    """
    allowed = sdpa_mask(**arguments, allow_is_causal_skip=False)
    assert isinstance(allowed, Tensor)
    mask: Tensor = torch.zeros(allowed.shape, dtype=torch.float32, device=allowed.device)
    mask[~allowed] = -torch.inf
    return mask


def _whole_blocks(length: int) -> int:
    return -(-length // BLOCK) * BLOCK
