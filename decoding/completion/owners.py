"""Keeps apart what the owners of requests leave behind: nobody's text may show in another's answer or its time.

Knows no session and no request.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Any

from decoding.models.loading.model_set import ModelSet

# chosen: more than are at work at one time. What an owner's texts have taught takes 10 MB at the most.
MAX_OWNERS = 128


@dataclass(frozen=True, slots=True)
class Owner:
    """Somebody who sends requests: `models` remember the tokens of his texts, and `texts` is for his drafters."""

    name: str
    models: ModelSet
    texts: dict[str, Any] = field(default_factory=dict)


class Owners:
    """The owners whose requests came lately. The one without a name has the engine's own models."""

    def __init__(self, models: ModelSet) -> None:
        self._models = models
        self._known: OrderedDict[str, Owner] = OrderedDict()

    def of(self, name: str) -> Owner:
        """Return the owner of this name."""
        if name not in self._known:
            self._known[name] = Owner(name, replace(self._models) if name else self._models)
        self._known.move_to_end(name)
        while len(self._known) > MAX_OWNERS:
            self._known.popitem(last=False)
        return self._known[name]
