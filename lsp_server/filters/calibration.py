"""Knows how sure each model is when it is right: the bounds on its log-probabilities that a wanted certainty means.

It must not know texts or settings.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple


class Bounds(NamedTuple):
    """The least log-probability of a text's first statement, and of each behind it."""

    first: float
    next: float

    @property
    def shows_all(self) -> bool:
        """Return whether nothing is too improbable."""
        return self.first == -math.inf


SHOWS_ALL: Final = Bounds(-math.inf, -math.inf)
# The bounds of who takes whatever is there.
UNBOUND: Final = Bounds(0.0, 0.0)


def bounds_of(min_confidence: float, model: str) -> Bounds:
    """Return the bounds for what is right in so many of all cases (0 to 1) with this model."""
    if min_confidence <= 0:
        return SHOWS_ALL
    return Bounds(math.log(min_confidence), math.log(min_confidence))
