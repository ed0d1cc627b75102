"""What a target goes on with, by the engine's own decoding: on a CPU many times as fast as by transformers.

And it is what the engine will ask a draft about, to the bit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from decoding.config import METHOD_NO_DRAFT, EngineConfig
from decoding.models.loading.model_set import ModelSet, load_pair
from decoding.speculation.drafting import NoDrafter
from decoding.speculation.sampling import Sampling
from decoding.speculation.speculate import speculate


class Continue(Protocol):
    """Goes on after rows of ids (rows, length): (rows, num_tokens) int64, through ends and all."""

    def __call__(self, ids: Tensor, num_tokens: int, /) -> Tensor:
        """Greedily."""


class EngineContinuation:
    """The model of a folder in the engine, loaded when it is first asked."""

    def __init__(self, folder: Path, *, device: str, max_len: int) -> None:
        self._settings = EngineConfig(
            model=str(folder.absolute()),
            draft=METHOD_NO_DRAFT,
            parallel=METHOD_NO_DRAFT,
            heads=METHOD_NO_DRAFT,
            device=device,
            context_tokens=max(128, max_len),
        )
        self._loaded: ModelSet | None = None

    def __call__(self, ids: Tensor, num_tokens: int, /) -> Tensor:
        """Raises `ModelError` if the folder can't be loaded."""
        if self._loaded is None:
            self._loaded = load_pair(self._settings)[0]
        target = self._loaded.target
        rows: list[list[int]] = []
        for prompt in ids.tolist():
            emitted: list[int] = []
            for found in speculate(target, target.new_cache(), prompt, NoDrafter(), Sampling()):
                emitted += found.emitted_ids
                if len(emitted) >= num_tokens:
                    break
            rows.append(emitted[:num_tokens])
        return torch.tensor(rows)
