"""The pairs of models that are recommended, by the memory they need. Plain data: knows neither torch nor the hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from decoding.models.catalogue import CATALOGUE, GIB, known_model

NUM_TOKENS: Final = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """A target and a draft with the same tokenizer ("" for none); `needs_gib` with weights in bfloat16 and caches."""

    target: str
    draft: str
    needs_gib: float

    @property
    def names(self) -> str:
        """Return the names of both models, for a sentence."""
        return f"{self.target} with {self.draft}" if self.draft else self.target


def _recommended(name: str, draft: str) -> Recommendation:
    models = [model for model in map(known_model, (name, draft)) if model is not None]
    needed = sum(model.needed_bytes(NUM_TOKENS) for model in models)
    return Recommendation(target=name, draft=draft, needs_gib=round(needed / GIB, 1))


# Smallest first.
RECOMMENDATIONS: Final = (
    Recommendation(target="bundled", draft="bundled", needs_gib=1),
    *(_recommended(model.name, model.draft) for model in CATALOGUE if not model.file),
)


def largest_that_fits(gib: float) -> Recommendation:
    """Return the largest recommended model that fits into so much memory, else the shipped pair."""
    return [item for item in RECOMMENDATIONS if item.needs_gib <= gib or item is RECOMMENDATIONS[0]][-1]
