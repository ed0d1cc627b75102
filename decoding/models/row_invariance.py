"""Finds out at loading at which width a row's result doesn't depend on which row it is.

Matrix libraries choose their kernels by shape, and some add up a row differently at the edge of a tile. Speculative
decoding is an equality only at widths where that doesn't happen, so all steps run at one width that was tried.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch

from decoding.models.decoder import Decoder

WIDTHS = {"cpu": (8, 4, 16, 1), "cuda": (16, 8, 1)}
PREFIX_CHUNKS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """`width` is the first tried whose rows agree; width 1 agrees with itself and leaves no room for drafts."""

    width: int
    disagreeing: tuple[int, ...]

    def describe(self) -> str:
        """One line for `tabcast doctor`."""
        others = f"; rows disagreed at {', '.join(map(str, self.disagreeing))}" if self.disagreeing else ""
        return f"steps of {self.width} rows, equal to the bit in every row{others}"


def probe(model: Decoder) -> Probe:
    """Try the device's widths and set `model.step_width` to the first whose rows agree."""
    disagreeing: list[int] = []
    for width in WIDTHS.get(model.device.type, (8, 4, 1)):
        model.step_width = width
        if _rows_agree(model):
            return Probe(width=width, disagreeing=tuple(disagreeing))
        disagreeing.append(width)
    model.step_width = 1
    return Probe(width=1, disagreeing=tuple(disagreeing))


def _rows_agree(model: Decoder) -> bool:
    """Compare one step over `step_width` tokens with as many steps that each begin one token later."""
    rng = random.Random(0)  # noqa: S311 - any tokens will do
    tokens = [rng.randrange(model.shape.vocabulary) for _ in range(PREFIX_CHUNKS * model.chunk + 2 * model.step_width)]
    cache = model.new_cache()
    for start in range(0, PREFIX_CHUNKS * model.chunk, model.chunk):
        model.prefill(tokens[start : start + model.chunk], cache)
    rest = tokens[len(cache) :]
    together = torch.cat([model.step(rest[: model.step_width], cache)])
    for offset in range(model.step_width):
        alone = model.step(rest[offset : offset + model.step_width], cache)[0]
        if not torch.equal(alone, together[offset]):
            return False
        cache.commit(rest[offset : offset + 1])
    return True
