"""Shifts the bound of confidence: how sure a suggestion must be for this user, in this place. Pure functions."""

from __future__ import annotations

import math
from typing import Final

from lsp_server.completion.habits import Habits, Place
from lsp_server.completion.trigger import scopes_of
from lsp_server.documents import store
from lsp_server.settings import Settings

# chosen: in log-odds. A bound of 0.35 becomes 0.59 or 0.17.
STEP: Final = 1.0
_SHIFTS: Final = {"low": STEP, "medium": 0.0, "high": -STEP}


def shifted(bound: float, shift: float) -> float:
    """Return a bound of probability moved by `shift` in log-odds; 0 (show all) and 1 stay."""
    if not shift or not 0 < bound < 1:
        return bound
    return 1 / (1 + math.exp(-(math.log(bound / (1 - bound)) + shift)))


def place_of(place: store.Place, language: str) -> Place:
    """Return the kind of place that habits are told apart by."""
    scopes = scopes_of(place, language)
    kind = next((scope for scope in ("docstring", "comment", "string") if scope in scopes), "")
    if not kind:
        kind = "in mid-line" if place.tail.strip() else "line end" if place.head.strip() else "empty line"
    return Place(language, kind)


def bound_for(settings: Settings, habits: Habits, place: Place) -> float:
    """Return how probable a suggestion must be by the user's settings, and by habit if they say so."""
    shift = habits.shift(place) if settings.eagerness == "auto" else _SHIFTS[settings.eagerness]
    return shifted(settings.min_confidence, shift)
