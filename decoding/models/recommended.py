"""The pairs of models that are recommended, by the memory they need. Plain data: knows neither torch nor the hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from decoding.models.catalogue import CATALOGUE, GIB, KnownModel, known_model

NUM_TOKENS: Final = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """A target and a draft with the same tokenizer ("" for none); `needs_gib` with caches.

    What is `for_cpu` is a file in four bits there, and in bfloat16 on a GPU.
    """

    target: str
    draft: str
    needs_gib: float
    for_cpu: bool

    @property
    def names(self) -> str:
        """Return the names of both models, for a sentence."""
        return f"{self.target} with {self.draft}" if self.draft else self.target


def _recommended(model: KnownModel) -> Recommendation:
    on_cpu = bool(model.file)
    needed = model.needed_bytes(NUM_TOKENS, on_cpu=on_cpu)
    # measured: beside a file in four bits, one of 0.5B adds a tenth to the speed, and takes half as much memory again.
    draft = None if on_cpu else known_model(model.draft)
    if draft is not None:
        needed += draft.needed_bytes(NUM_TOKENS, on_cpu=on_cpu, is_draft=True)
    return Recommendation(
        target=model.name, draft=draft.name if draft else "", needs_gib=round(needed / GIB, 1), for_cpu=on_cpu
    )


BUNDLED: Final = Recommendation(target="bundled", draft="bundled", needs_gib=0.5, for_cpu=True)
# Smallest first.
RECOMMENDATIONS: Final = (BUNDLED, *map(_recommended, CATALOGUE))


def largest_that_fits(gib: float, *, on_cpu: bool) -> Recommendation:
    """Return the largest recommended model that fits into so much memory of a CPU or a GPU, else the shipped pair."""
    fitting = [item for item in RECOMMENDATIONS if item.for_cpu == on_cpu and item.needs_gib <= gib]
    return fitting[-1] if fitting else BUNDLED
