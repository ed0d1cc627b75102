"""Defines what checks work with, and how a check reports."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from decoding.config import EngineConfig
from decoding.models.language_model import Cache
from decoding.models.loading.model_set import ModelSet
from decoding.speculation.drafting import Drafter, DraftRequest
from decoding.speculation.sampling import Sampling
from decoding.speculation.speculate import speculate

GREEDY = Sampling()


class Skipped(Exception):  # noqa: N818 - no error: a check that has no subject here
    """There is nothing here that this check could look at; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The models to check, with random weights. `config` names the device for checks that load the shipped pair."""

    models: ModelSet
    config: EngineConfig

    @property
    def device(self) -> torch.device:
        """The device that is checked."""
        return self.models.target.device


# A check returns a sentence on what it found. It raises `AssertionError` if that is wrong, and `Skipped`.
Check = Callable[[Setting], str]


def random_ids(count: int, vocabulary: int, seed: int = 0) -> list[int]:
    """Draw tokens of which some stretches repeat, so that there is something to look up."""
    drawn = random.Random(seed)  # noqa: S311 - any tokens will do
    few = [drawn.randrange(vocabulary) for _ in range(max(8, count // 4))]
    ids: list[int] = []
    while len(ids) < count:
        start = drawn.randrange(len(few))
        ids += few[start : start + drawn.randrange(4, 20)]
    return ids[:count]


def decode(
    models: ModelSet, prompt_ids: Sequence[int], drafter: Drafter, num_tokens: int, cache: Cache, sampling: Sampling
) -> list[int]:
    """Return the tokens that follow a prompt."""
    drafter.begin(DraftRequest(prompt_ids=prompt_ids, max_tokens=num_tokens, sampling=sampling))
    emitted: list[int] = []
    for outcome in speculate(models.target, cache, prompt_ids, drafter, sampling):
        emitted += outcome.emitted_ids
        if len(emitted) >= num_tokens:
            break
    drafter.close()
    return emitted[:num_tokens]


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the relative error: the norm of the difference over the norm of `wanted`."""
    wanted = wanted.double()
    return float((found.double() - wanted).norm() / wanted.norm())
