"""Defines what speculation, requests and drafters need of a model, whoever computes it.

Our own forward pass (`torch/decoder.py`) and any causal model of transformers (`transformers/model.py`) have this form,
and wrappers may. Knows no weights. Dimension letters: T rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeGuard

import torch
from torch import Tensor

from decoding.kv_cache import KVCache

# The type of the store depends on the model: caches are never handed from one model to another.
Cache = KVCache[Any]


class Sizes(Protocol):
    """A model's sizes: `vocabulary` counts the tokenizer's ids, without padding; `max_len` bounds prompt and answer."""

    @property
    def vocabulary(self) -> int:
        """V, the width of the logits."""

    @property
    def max_len(self) -> int:
        """The longest sequence that a cache holds, in tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a model can do beyond a step of one row.

    `step_width` is the most rows of a step. `max_chains` is how many chains one pass takes (see `StepsChains`), 1 where
    they are computed one after the other. `drafts_ahead` and `skips_layers` say whether the model is one that
    `DraftsAhead`, and one that `SkipsLayers`; `gives_up` whether it is one that `GivesUp`.
    """

    step_width: int = 1
    max_chains: int = 1
    drafts_ahead: bool = False
    skips_layers: bool = False
    gives_up: bool = False

    @property
    def verifies_drafts(self) -> bool:
        """Whether a step has room for a drafted token."""
        return self.step_width > 1

    def at_width(self, step_width: int) -> Capabilities:
        """Return these capabilities with another width of steps."""
        return replace(self, step_width=step_width)


class LanguageModel(Protocol):
    """Computes logits of tokens that follow a cache's end. Every row is a function of its token and those before it."""

    # What the model claims, reduced at loading to what the row-invariance probe has confirmed.
    capabilities: Capabilities

    @property
    def shape(self) -> Sizes:
        """The sizes that others need to know."""

    @property
    def chunk(self) -> int:
        """How many tokens have to be read together to give equal bits; 1 where any number does."""

    @property
    def prefill_width(self) -> int:
        """The most tokens that `prefill` and `advance` take, a multiple of `chunk`."""

    @property
    def has_own_threads(self) -> bool:
        """Whether it computes with threads of its own; torch then gets only work too small to wake threads for."""

    @property
    def device(self) -> torch.device:
        """The device that the weights are on."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the stored weights."""

    @property
    def num_parameters(self) -> int:
        """The number of weights; tied ones count once."""

    def new_cache(self) -> Cache:
        """Make an empty cache for one sequence."""

    def step(self, token_ids: Sequence[int], cache: Cache) -> Tensor:
        """Return logits (T, V) after each of 1 to `step_width` tokens that follow the cache's end; commit nothing."""

    def prefill(self, token_ids: Sequence[int], cache: Cache) -> None:
        """Compute whole absolute chunks, at most `prefill_width` tokens, and commit them."""

    def advance(self, token_ids: Sequence[int], cache: Cache) -> Tensor:
        """Compute and commit 1 to `prefill_width` tokens; return logits (V,) after the last.

        This is the quickest way and not the row-invariant one: it makes drafts.
        """

    @property
    def hidden_width(self) -> int:
        """The width C of `hidden`; 0 where a model doesn't give its hidden states."""

    def hidden(self) -> Tensor | None:
        """Return hidden states (T, C) of the last step's rows, before the last norm, or None.

        They are valid until the next call.
        """


class StepsChains(LanguageModel, Protocol):
    """A model with a pass for several chains that all begin at a cache's end (decoding/speculation/step.py).

    Each has a tail of its own, so that every row is to the bit what `step` gives for that chain alone.
    """

    def step_chains(self, chains: Sequence[Sequence[int]], cache: Cache) -> list[Tensor]:
        """Return logits (T, V) of each of 1 to `max_chains` chains, `step_width` rows in all; commit nothing.

        `hidden` then returns the rows of all, one chain behind the other.
        """

    def keep_chain(self, number: int, num_tokens: int) -> None:
        """Write the slots of a chain's first tokens, from the last `step_chains`, into its cache; commit nothing."""


class DraftsAhead(LanguageModel, Protocol):
    """A model that chooses greedily by itself, several tokens at a time, without passing each to the host."""

    def draft_ahead(
        self,
        token_ids: Sequence[int],
        cache: Cache,
        num_tokens: int,
        least_share: float = 0.0,
        text_ids: Sequence[int] = (),
    ) -> list[tuple[int, float]]:
        """Return at most `num_tokens` that follow the cache's end and `token_ids`, each with its probability.

        It may end behind the first whose probability is below `least_share`. With `text_ids` it may choose among
        frequent tokens and those of this text alone. Commits `token_ids`, 1 to `prefill_width`, and all that follow but
        the last.
        """


class SkipsLayers(LanguageModel, Protocol):
    """A model that can do without some of its layers."""

    @property
    def num_layers(self) -> int:
        """The number of layers, two at least."""

    def with_layers(self, kept: Sequence[int], *, is_trial: bool = False) -> LanguageModel:
        """Return the model with the kept layers only; the weights are shared.

        With `is_trial` it is not prepared for speed.
        """


class PassGivenUp(Exception):  # noqa: N818 - it says what is the case
    """A pass was given up as it was wanted; nothing of it is in the cache, and it can be done again."""


class GivesUp(LanguageModel, Protocol):
    """A model whose `prefill` ends soon when nobody wants it any more, by raising `PassGivenUp`."""

    def give_up(self, *, is_wanted: bool) -> None:
        """Let `prefill` be given up as long as this is wanted; any thread may call it."""


def gives_up(model: LanguageModel) -> TypeGuard[GivesUp]:
    """Return whether a pass of the model that reads a prompt can be given up."""
    return model.capabilities.gives_up


def steps_chains(model: LanguageModel) -> TypeGuard[StepsChains]:
    """Return whether one pass of the model takes several chains."""
    return model.capabilities.max_chains > 1


def drafts_ahead(model: LanguageModel) -> TypeGuard[DraftsAhead]:
    """Return whether the model drafts several tokens by itself."""
    return model.capabilities.drafts_ahead


def skips_layers(model: LanguageModel) -> TypeGuard[SkipsLayers]:
    """Return whether the model can do without one of its layers."""
    return model.capabilities.skips_layers


def padded(token_ids: Sequence[int], width: int) -> list[int]:
    """Return a step's 1 to `width` tokens, padded with rows up to the width that nobody looks at."""
    assert 0 < len(token_ids) <= width
    return [*token_ids, *([token_ids[-1]] * (width - len(token_ids)))]
