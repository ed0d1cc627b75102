"""Asks drafters in order and takes the first proposal. For callers without measured costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from decoding.drafters.roster import Roster
from decoding.speculation.drafting import EMPTY, PER_PROPOSAL, Chain, Draft, Drafter, DraftRequest, Outcome


class InOrder:
    """Takes the chains of the first drafter that has any to verify, and the probes of all that were asked."""

    name = "in order"
    cost = PER_PROPOSAL
    num_unread = 0

    def __init__(self, drafters: Sequence[Drafter]) -> None:
        self._roster = Roster(drafters)

    @property
    def needs(self) -> frozenset[str]:
        """The needs of all drafters."""
        return self._roster.needs

    def begin(self, request: DraftRequest) -> None:
        """Tell all drafters of the request."""
        self._roster.begin(request)

    def propose(self, budget: int) -> Draft:
        """Return the first draft that has tokens to verify, of at most `budget` tokens in each chain."""
        if budget < 1:
            return EMPTY
        probes: list[Chain] = []
        for drafter in list(self._roster.active):
            draft = self._roster.ask(drafter, budget)
            probes += draft.probes
            if draft.leading.token_ids:
                chains = [replace(chain.cut(budget), drafter=drafter.name) for chain in draft.verified]
                return Draft((*chains, *probes))
        return Draft(tuple(probes))

    def observe(self, outcome: Outcome) -> None:
        """Tell all drafters of the outcome."""
        self._roster.observe(outcome)

    def close(self) -> None:
        """Tell all drafters that the request is over."""
        self._roster.close()
