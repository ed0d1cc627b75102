"""Finds out at loading at which batch width a row's result doesn't depend on which row it is.

Matrix libraries choose their kernels by shape, and some add up a row differently at the edge of a tile. Speculative
decoding is an equality only at widths where that doesn't happen, so all steps run at one width that was tested.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from decoding.errors import ModelError
from decoding.models.language_model import LanguageModel, StepsChains, steps_chains
from decoding.models.weights.tensors import is_finite

WIDTHS = {"cpu": (8, 4, 16, 1), "cuda": (16, 8, 1)}
ANY_WIDTH = (16,)  # for kernels that pad nothing
NUM_TRIED = 8  # a model has to compute finite numbers for so many tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The result of probing. `width` is the first tried one whose rows agree; width 1 leaves no room for drafts.

    `is_padded` is False where fewer rows give equal bits and cost less. `disagreeing` are the widths tried in vain.
    `notice` says why nothing was tried, "" where something was.
    """

    width: int
    disagreeing: tuple[int, ...]
    is_padded: bool = True
    notice: str = ""

    def describe(self) -> str:
        """Return one line for `tabcast doctor`."""
        if self.notice:
            return self.notice
        others = f"; rows disagreed at {', '.join(map(str, self.disagreeing))}" if self.disagreeing else ""
        rows = f"{self.width} rows" if self.is_padded else f"1 to {self.width} rows"
        return f"steps of {rows}, equal to the bit in every row{others}"


@runtime_checkable
class HasForms(Protocol):
    """A model that knows which of its layers differ in numbers alone; the order of its sums depends on no number."""

    def of_each_form(self) -> LanguageModel:
        """Return the model with one layer of each form."""


def probe(model: LanguageModel) -> Probe:
    """Try the device's widths, and reduce `model.capabilities` to what holds at the first whose rows agree.

    Of a model whose layers have forms, one layer of each is tried: a large one takes seconds for all of them.
    """
    disagreeing: list[int] = []
    is_padded = model.chunk > 1
    tried = model.of_each_form() if isinstance(model, HasForms) else model
    for width in WIDTHS.get(model.device.type, (8, 4, 1)) if is_padded else ANY_WIDTH:
        tried.capabilities = model.capabilities = model.capabilities.at_width(width)
        if _rows_agree(tried):
            if steps_chains(tried) and not _chains_agree(tried):
                model.capabilities = replace(model.capabilities, max_chains=1)
            return Probe(width=width, disagreeing=tuple(disagreeing), is_padded=is_padded)
        disagreeing.append(width)
    model.capabilities = model.capabilities.at_width(1)
    return Probe(width=1, disagreeing=tuple(disagreeing))


def probe_plain(notice: str) -> Probe:
    """Return the result for a model that decodes plainly for a reason of its own."""
    return Probe(width=1, disagreeing=(), notice=notice)


def check_finite(model: LanguageModel, folder: Path) -> None:
    """Raise `ModelError` if a model computes numbers that aren't finite, although those of its folder all are."""
    token_ids = [token_id % model.shape.vocabulary for token_id in range(NUM_TRIED)]
    if not is_finite(model.advance(token_ids, model.new_cache())):
        raise ModelError(f"{folder}: this model computes no finite numbers: its weights or its config.json are wrong")


def _rows_agree(model: LanguageModel) -> bool:
    """Compare one step over `step_width` tokens with as many steps that each begin one token later.

    Where any number of tokens is said to give the same bits, those steps are of all widths, over a prompt that was read
    token by token.
    """
    rng = random.Random(0)  # noqa: S311 - any tokens will do
    width = model.capabilities.step_width
    tokens = [rng.randrange(model.shape.vocabulary) for _ in range(model.prefill_width + 2 * width)]
    prompt, rest = tokens[: model.prefill_width], tokens[model.prefill_width :]
    whole, pieces = model.new_cache(), model.new_cache()
    model.prefill(prompt, whole)
    for start in range(0, len(prompt), model.chunk):
        model.prefill(prompt[start : start + model.chunk], pieces)
    together = model.step(rest[:width], whole).clone()
    for offset in range(width):
        num_rows = width if model.chunk > 1 else offset + 1
        if not torch.equal(model.step(rest[offset : offset + num_rows], pieces)[0], together[offset]):
            return False
        pieces.commit(rest[offset : offset + 1])
    return True


def _chains_agree(model: StepsChains) -> bool:
    """Compare chains in one pass with steps of each, at a block's beginning and across its end."""
    rng = random.Random(1)  # noqa: S311 - any tokens will do
    max_chains = model.capabilities.max_chains
    length = model.capabilities.step_width // max_chains
    if length == 0:
        return False
    cache = model.new_cache()
    for num_tokens in (model.prefill_width, model.prefill_width - length // 2):
        tokens = [rng.randrange(model.shape.vocabulary) for _ in range(num_tokens)]
        if num_tokens == model.prefill_width:
            model.prefill(tokens, cache)
        else:
            model.advance(tokens, cache)
        chains = [[rng.randrange(model.shape.vocabulary) for _ in range(length)] for _ in range(max_chains)]
        together = [logits.clone() for logits in model.step_chains(chains, cache)]
        if not all(torch.equal(model.step(chain, cache), rows) for chain, rows in zip(chains, together, strict=True)):
            return False
    return True
