"""Several drafters as one: the first that has something to say is heard, and all see every outcome."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from decoding.drafting import Draft, Drafter, DraftRequest, Outcome

log = logging.getLogger(__name__)


class Combined:
    """Asks in the order given; a drafter that raises is dropped for the rest of the request."""

    name = "combined"

    def __init__(self, drafters: Sequence[Drafter]) -> None:
        self._all = list(drafters)
        self._active = list(drafters)

    def begin(self, request: DraftRequest) -> None:
        """Bring dropped drafters back and tell all of them."""
        self._active = list(self._all)
        for drafter in list(self._active):
            try:
                drafter.begin(request)
            except Exception:
                self._drop(drafter)

    def observe(self, outcome: Outcome) -> None:
        """Tell all."""
        for drafter in list(self._active):
            try:
                drafter.observe(outcome)
            except Exception:
                self._drop(drafter)

    def propose(self, budget: int) -> Draft:
        """The first draft that is not empty, cut to the budget."""
        for drafter in list(self._active):
            try:
                draft = drafter.propose(budget)
            except Exception:
                self._drop(drafter)
                continue
            if draft.token_ids:
                return Draft(draft.token_ids[:budget], draft.drafter or drafter.name)
        return Draft()

    def close(self) -> None:
        """Tell all, the dropped ones too."""
        for drafter in self._all:
            try:
                drafter.close()
            except Exception:
                log.exception("drafter %s failed to close", drafter.name)

    def _drop(self, drafter: Drafter) -> None:
        log.exception("drafter %s failed and is dropped for this request", drafter.name)
        self._active.remove(drafter)
