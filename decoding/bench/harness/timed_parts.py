"""Wraps a drafter and a target so that the time that each takes is known."""

from __future__ import annotations

import time
from typing import Any

import torch

from decoding.speculation.drafting import Draft, Drafter, DraftingCost, DraftRequest, Outcome


class TimedDrafter:
    """A drafter that measures the time it takes."""

    def __init__(self, inner: Drafter) -> None:
        self._inner = inner
        self.name = inner.name
        self.seconds = 0.0

    @property
    def cost(self) -> DraftingCost:
        """The inner drafter's cost."""
        return self._inner.cost

    @property
    def needs(self) -> frozenset[str]:
        """The inner drafter's needs."""
        return self._inner.needs

    @property
    def num_unread(self) -> int:
        """What the inner drafter hasn't read yet."""
        return self._inner.num_unread

    def begin(self, request: DraftRequest) -> None:
        """Begin a request."""
        self._inner.begin(request)

    def observe(self, outcome: Outcome) -> None:
        """Observe a round, and count its time."""
        began = time.perf_counter()
        self._inner.observe(outcome)
        self.seconds += time.perf_counter() - began

    def propose(self, budget: int) -> Draft:
        """Propose tokens, and count the time."""
        began = time.perf_counter()
        draft = self._inner.propose(budget)
        self.seconds += time.perf_counter() - began
        return draft

    def close(self) -> None:
        """Close the inner drafter."""
        self._inner.close()


class TimedTarget:
    """A target that measures the time of its steps."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def step(self, *arguments: object) -> torch.Tensor:
        """Run a step, and count its time."""
        began = time.perf_counter()
        logits: torch.Tensor = self._inner.step(*arguments)
        self.seconds += time.perf_counter() - began
        return logits

    def step_chains(self, *arguments: object) -> list[torch.Tensor]:
        """Run a step of several chains, and count its time."""
        began = time.perf_counter()
        logits: list[torch.Tensor] = self._inner.step_chains(*arguments)
        self.seconds += time.perf_counter() - began
        return logits
