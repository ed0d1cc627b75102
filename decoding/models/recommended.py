"""Lists the recommended models by the memory they need. Plain data: knows neither torch nor the hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """A target and a draft with the same tokenizer ("" for none); `needs_gib` with weights in bfloat16 and caches."""

    target: str
    draft: str
    needs_gib: float
    licence: str = "Apache-2.0"

    @property
    def names(self) -> str:
        """Return the names of both models, for a sentence."""
        return f"{self.target} with {self.draft}" if self.draft else self.target


_QWEN: Final = "Qwen/Qwen2.5-Coder-"
# The smallest comes first. The 3B has a research licence and is not offered.
RECOMMENDATIONS: Final = (
    Recommendation(target="bundled", draft="bundled", needs_gib=1),
    Recommendation(target=f"{_QWEN}1.5B", draft="", needs_gib=4),
    Recommendation(target=f"{_QWEN}7B", draft=f"{_QWEN}0.5B", needs_gib=20),
    Recommendation(target=f"{_QWEN}14B", draft=f"{_QWEN}0.5B", needs_gib=36),
    Recommendation(target=f"{_QWEN}32B", draft=f"{_QWEN}1.5B", needs_gib=74),
)


def largest_that_fits(gib: float) -> Recommendation:
    """Return the largest recommended model that fits into so much memory, else the shipped pair."""
    return [item for item in RECOMMENDATIONS if item.needs_gib <= gib or item is RECOMMENDATIONS[0]][-1]
