"""Shifts the bound of confidence: how sure a suggestion must be for this user, in this place. Pure functions."""

from __future__ import annotations

import math
from typing import Final

from lsp_server.settings import Settings

# chosen: in log-odds. A bound of 0.3 becomes 0.54 or 0.14.
STEP: Final = 1.0
_SHIFTS: Final = {"low": STEP, "medium": 0.0, "high": -STEP}


def shifted(bound: float, shift: float) -> float:
    """Return a bound of probability moved by `shift` in log-odds; 0 (show all) and 1 stay."""
    if not shift or not 0 < bound < 1:
        return bound
    return 1 / (1 + math.exp(-(math.log(bound / (1 - bound)) + shift)))


def bound_for(settings: Settings) -> float:
    """Return how probable a suggestion must be by the user's settings."""
    return shifted(settings.min_confidence, _SHIFTS[settings.eagerness])
