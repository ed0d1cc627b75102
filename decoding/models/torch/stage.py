"""Defines a stretch of a model's layers on one device, as a part of a model that is spread over several.

Dimension letters: T rows, V vocabulary, C width of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from decoding.kv_cache import Blocks, KVCache


class Outputs(Enum):
    """The purpose of a pass, which decides what it has to return."""

    ALL = "the logits of every row"
    LAST = "those of the last real row"
    NOTHING = "keys and values alone"


class Rows(NamedTuple):
    """The result of a stage: states (T, C) behind its layers, and of the last stage logits (T or 1, V) if wanted."""

    hidden: Tensor
    logits: Tensor | None


class Stage(Protocol):
    """Consecutive layers. The first stage embeds tokens, the last one has a norm and a head."""

    @property
    def num_layers(self) -> int:
        """The number of its layers."""

    @property
    def chunk(self) -> int:
        """The number of a prompt's tokens that are read together."""

    @property
    def device(self) -> torch.device:
        """The device that the weights are on."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of hidden states."""

    def new_cache(self) -> KVCache[Blocks]:
        """Make keys and values for these layers."""

    def run_stage(
        self, token_ids: Sequence[int], entry: Tensor | None, cache: KVCache[Blocks], wanted: Outputs
    ) -> Rows:
        """Compute rows at the cache's end, write their slots and commit nothing; valid until the next call.

        `entry` (T, C) are the states behind the stage before, on its device; None for the first.
        """
