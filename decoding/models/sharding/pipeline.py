"""A model whose layers lie on several devices, one stage behind another: for targets larger than one of them.

A pass goes through the stages in their order, and only the rows' hidden states move between devices; keys and values
stay with their layers. It computes what one device would, operation for operation.
Pipelines of layers: Huang et al. 2019 (https://arxiv.org/abs/1811.06965), here with one sequence and nothing in flight.
Dimension letters: T rows, V vocabulary, C width of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from decoding.kv_cache import Blocks, KVCache
from decoding.models.language_model import Capabilities, padded
from decoding.models.torch.decoder import Shape, Weights
from decoding.models.torch.stage import Outputs, Rows, Stage


@dataclass(frozen=True, slots=True)
class Parts:
    """The keys and values of all stages."""

    stores: tuple[Blocks, ...]

    @property
    def num_bytes(self) -> int:
        """The memory on all devices in bytes."""
        return sum(store.num_bytes for store in self.stores)

    def copy_blocks(self, other: Parts, first: int, end: int) -> None:
        """Take over blocks of slots, from `first` up to `end`, of another store of the same model."""
        for store, others in zip(self.stores, other.stores, strict=True):
            store.copy_blocks(others, first, end)


class Pipeline:
    """A `LanguageModel` of several stages, each with a stretch of the layers."""

    def __init__(self, shape: Shape, stages: Sequence[Stage], num_parameters: int) -> None:
        """`shape` is that of the whole model."""
        self.shape = shape
        self.chunk = self.prefill_width = stages[0].chunk
        self.has_own_threads = False
        self.capabilities = Capabilities()
        self.num_parameters = num_parameters
        self._stages = tuple(stages)
        self._hidden: Tensor | None = None

    @property
    def device(self) -> torch.device:
        """The device on which the logits come out."""
        return self._stages[-1].device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the embedding."""
        return self._stages[0].dtype

    @property
    def num_layers(self) -> tuple[int, ...]:
        """The number of layers of each stage."""
        return tuple(stage.num_layers for stage in self._stages)

    def new_cache(self) -> KVCache[Parts]:
        """Make an empty cache for one sequence, in parts on the devices of their layers."""
        stores = tuple(stage.new_cache().store for stage in self._stages)
        return KVCache(Parts(stores), capacity=stores[0].capacity)

    def step(self, token_ids: Sequence[int], cache: KVCache[Parts]) -> Tensor:
        """Return logits (T, V) after each of 1 to `step_width` tokens that follow the cache's end; commit nothing."""
        rows = self._run(padded(token_ids, self.capabilities.step_width), cache, Outputs.ALL)
        assert rows.logits is not None
        self._hidden = rows.hidden[: len(token_ids)]
        return rows.logits[: len(token_ids)]

    def prefill(self, token_ids: Sequence[int], cache: KVCache[Parts]) -> None:
        """Compute one whole absolute chunk and commit it."""
        assert len(token_ids) == self.chunk and len(cache) % self.chunk == 0  # noqa: PT018 - one condition
        self._run(token_ids, cache, Outputs.NOTHING)
        cache.commit(token_ids, by_chunk=True)

    def advance(self, token_ids: Sequence[int], cache: KVCache[Parts]) -> Tensor:
        """Compute and commit 1 to `chunk` tokens; return logits (V,) after the last."""
        rows = self._run(token_ids, cache, Outputs.LAST)
        cache.commit(token_ids)
        assert rows.logits is not None
        return rows.logits[0]

    @property
    def hidden_width(self) -> int:
        """The width C of `hidden`."""
        return self.shape.width

    def hidden(self) -> Tensor | None:
        """Return hidden states (T, C) of the last step's rows, before the last norm, valid until the next call."""
        return self._hidden

    def _run(self, token_ids: Sequence[int], cache: KVCache[Parts], wanted: Outputs) -> Rows:
        entry: Tensor | None = None
        for stage, store in zip(self._stages, cache.store.stores, strict=True):
            part = KVCache(store, capacity=cache.capacity)
            part.token_ids = cache.token_ids  # all parts end where the whole cache does
            rows = stage.run_stage(token_ids, entry, part, wanted)
            entry = rows.hidden
        return rows


def split(
    shape: Shape, weights: Weights, num_layers: Sequence[int], build: Callable[[Shape, Weights], Stage]
) -> Pipeline:
    """Make a pipeline of weights whose layers are already on their devices, `num_layers` for each stage."""
    stages: list[Stage] = []
    first = 0
    for count in num_layers:
        layers = weights.layers[first : first + count]
        first += count
        # Only the first stage embeds, and only the last one has a norm and a head; the others have empty tensors.
        device = layers[0].input_norm.device
        nothing = torch.empty(0, shape.width, dtype=weights.embedding.dtype, device=device)
        of_stage = Weights(
            embedding=weights.embedding if not stages else nothing,
            layers=layers,
            norm=weights.norm if first == shape.layers else nothing[0:0].flatten(),
            head=weights.head if first == shape.layers else nothing,
            rotary=weights.rotary.to(device),
        )
        stages.append(build(replace(shape, layers=count), of_stage))
    return Pipeline(shape, stages, weights.num_parameters)
