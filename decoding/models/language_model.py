"""What speculation, requests and drafters need of a model, whoever computes it.

Our own forward pass (`decoder.py`) and any causal model of transformers (`generic.py`) have this form, and wrappers
may. Knows no weights. Dimension letters: T rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from decoding.kv_cache import KVCache

# The store is the affair of the model that made it: caches are never handed from one model to another.
Cache = KVCache[Any]


class Sizes(Protocol):
    """`vocabulary` counts the tokenizer's ids, without padding; `max_len` bounds prompt and answer together."""

    @property
    def vocabulary(self) -> int:
        """V, the width of the logits."""

    @property
    def max_len(self) -> int:
        """The longest sequence that a cache holds, in tokens."""


class LanguageModel(Protocol):
    """Computes logits of tokens that follow a cache's end. Every row is a function of its token and those before it."""

    # Set by the row-invariance probe at loading: the most rows of a step.
    step_width: int

    @property
    def shape(self) -> Sizes:
        """The sizes that others need to know."""

    @property
    def chunk(self) -> int:
        """How many tokens have to be read together to give the same bits; 1 where any number does."""

    @property
    def prefill_width(self) -> int:
        """The most tokens that `prefill` and `advance` take, a multiple of `chunk`."""

    @property
    def has_own_threads(self) -> bool:
        """Whether it computes with threads of its own; torch is left with work too small to wake threads for."""

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are stored in."""

    @property
    def num_parameters(self) -> int:
        """Counted once where weights are tied."""

    def new_cache(self) -> Cache:
        """An empty cache for one sequence."""

    def step(self, token_ids: Sequence[int], cache: Cache) -> Tensor:
        """Logits (T, V) after each of 1 to `step_width` tokens that follow the cache's end; commits nothing."""

    def prefill(self, token_ids: Sequence[int], cache: Cache) -> None:
        """Compute whole absolute chunks, at most `prefill_width` tokens, and commit them."""

    def advance(self, token_ids: Sequence[int], cache: Cache) -> Tensor:
        """Compute and commit 1 to `prefill_width` tokens; logits (V,) after the last.

        The quickest way and not the row-invariant one: what a draft is made with.
        """

    def hidden(self) -> Tensor | None:
        """(T, C) of the last step's rows, before the last norm, valid until the next call; None where not known."""


class StepsChains(Protocol):
    """A model with a pass for several chains that all begin at a cache's end (decoding/speculation/step.py).

    Each has a tail of its own, so that every row is to the bit what `step` gives for that chain alone.
    """

    # Of one pass; the row-invariance probe sets it to 1 where rows of chains are not those of steps.
    max_chains: int

    def step_chains(self, chains: Sequence[Sequence[int]], cache: Cache) -> list[Tensor]:
        """Logits (T, V) of each of 1 to `max_chains` chains, `step_width` rows in all; commits nothing.

        `hidden` then tells the rows of all, one chain behind the other.
        """

    def keep_chain(self, number: int, num_tokens: int) -> None:
        """Write the slots of the first tokens of a chain of the last `step_chains` into its cache; commits nothing."""


@runtime_checkable
class DraftsAhead(Protocol):
    """A model that chooses greedily by itself, several tokens at a time, without telling the host of each."""

    def draft_ahead(
        self, token_ids: Sequence[int], cache: Cache, num_tokens: int, least_share: float = 0.0
    ) -> list[tuple[int, float]]:
        """At most `num_tokens` that follow the cache's end and `token_ids`, each with its probability.

        It may end behind the first whose probability is below `least_share`.
        Commits `token_ids`, 1 to `prefill_width`, and all that follow but the last.
        """
