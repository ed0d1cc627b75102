"""Keeps the drafters of a request: who is awake, and what those that sleep have missed.

A drafter that raises is dropped for the rest of the request: drafts are advice. Knows no policy and no clock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from decoding.speculation.drafting import EMPTY, Draft, Drafter, DraftRequest, Outcome

log = logging.getLogger(__name__)


class Roster:
    """Tells drafters of rounds, in the given order. One that sleeps is told of the missed rounds when it is woken."""

    def __init__(self, drafters: Sequence[Drafter]) -> None:
        self._all = list(drafters)
        self.active = list(drafters)
        self._unseen_ids: dict[str, list[int]] = {}  # by the name of each that sleeps

    @property
    def is_empty(self) -> bool:
        """Whether there are no drafters at all."""
        return not self._all

    @property
    def awake(self) -> list[Drafter]:
        """The drafters that see each round."""
        return [drafter for drafter in self.active if drafter.name not in self._unseen_ids]

    @property
    def needs(self) -> frozenset[str]:
        """The needs of all drafters that are awake."""
        return frozenset().union(*(drafter.needs for drafter in self.awake))

    @property
    def all_sleep(self) -> bool:
        """Whether no drafter is awake."""
        return len(self._unseen_ids) == len(self.active)

    def begin(self, request: DraftRequest) -> None:
        """Bring dropped drafters back, wake all and tell them of the request."""
        self.active = list(self._all)
        self._unseen_ids.clear()
        for drafter in self._all:
            self._tell(drafter, lambda told: told.begin(request))

    def ask(self, drafter: Drafter, budget: int) -> Draft:
        """Return a drafter's proposal; an empty draft if it fails."""
        try:
            return drafter.propose(budget)
        except Exception:
            self._drop(drafter)
            return EMPTY

    def observe(self, outcome: Outcome) -> None:
        """Tell the drafters that are awake, and remember the emitted tokens for the others."""
        for drafter in self.awake:
            self._tell(drafter, lambda told: told.observe(outcome))
        self.note(outcome)

    def note(self, outcome: Outcome) -> None:
        """Remember the emitted tokens for drafters that sleep."""
        for unseen_ids in self._unseen_ids.values():
            unseen_ids.extend(outcome.emitted_ids)

    def put_to_sleep(self, drafter: Drafter) -> None:
        """Tell a drafter of no more rounds until it is woken."""
        self._unseen_ids.setdefault(drafter.name, [])

    def wake(self, drafter: Drafter) -> None:
        """Tell a drafter of the rounds that it missed, if it slept."""
        if unseen_ids := self._unseen_ids.pop(drafter.name, None):
            missed = Outcome(emitted_ids=tuple(unseen_ids), num_accepted=0, draft=EMPTY)
            self._tell(drafter, lambda told: told.observe(missed))

    def close(self) -> None:
        """Tell all drafters, the dropped ones too; they first get to see the rounds that they missed."""
        for drafter in list(self.active):
            self.wake(drafter)
        for drafter in self._all:
            try:
                drafter.close()
            except Exception:
                log.exception("drafter %s failed to close", drafter.name)

    def _tell(self, drafter: Drafter, tell: Callable[[Drafter], None]) -> None:
        try:
            tell(drafter)
        except Exception:
            self._drop(drafter)

    def _drop(self, drafter: Drafter) -> None:
        log.exception("drafter %s failed and is dropped for this request", drafter.name)
        self.active = [other for other in self.active if other is not drafter]
        self._unseen_ids.pop(drafter.name, None)
