"""Several drafters as one: who is asked, and how much of a draft is verified, is for the policy to say.

All see every outcome. A drafter that raises is dropped for the rest of the request.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from decoding.drafting import Draft, Drafter, DraftRequest, Outcome
from decoding.policy import Policy

log = logging.getLogger(__name__)

EMPTY = Draft()


class Combined:
    """Asks in the order given, and keeps the clock for the policy; without one, the first draft is taken as it is."""

    name = "combined"
    num_unread = 0

    def __init__(self, drafters: Sequence[Drafter], policy: Policy | None = None) -> None:
        self._all = list(drafters)
        self._active = list(drafters)
        self._policy = policy
        self._num_left = 0
        self._num_emitted = 0
        self._proposed_at: float | None = None
        self._draft_ms = 0.0

    @property
    def needs(self) -> frozenset[str]:
        """What any of them needs."""
        return frozenset().union(*(drafter.needs for drafter in self._active))

    def begin(self, request: DraftRequest) -> None:
        """Bring dropped drafters back and tell all of them."""
        self._active = list(self._all)
        self._num_left = request.max_tokens
        self._num_emitted = 0
        self._for_all(lambda drafter: drafter.begin(request))

    def propose(self, budget: int) -> Draft:
        """The draft that promises most, cut to the length at which it does; at most `budget` tokens."""
        if not self._active or budget < 1:
            return EMPTY
        chosen = self._first(budget) if self._policy is None else self._best(budget, self._policy)
        self._proposed_at = time.perf_counter()
        return chosen

    def observe(self, outcome: Outcome) -> None:
        """Tell all, and let the policy learn what it cost."""
        if not self._all:
            return
        observed_at = time.perf_counter()
        draft = outcome.draft
        # The first step of a request carries the end of its prompt, too: it says nothing of the others.
        if self._policy is not None and self._proposed_at is not None and self._num_emitted:
            self._policy.stepped(1 + len(draft.token_ids), (observed_at - self._proposed_at) * 1e3)
        if self._policy is not None and draft.token_ids:
            self._policy.verified(draft.drafter, draft.match_len, len(draft.token_ids), outcome.num_accepted)
        self._num_emitted += len(outcome.emitted_ids)
        self._num_left -= len(outcome.emitted_ids)
        self._for_all(lambda drafter: drafter.observe(outcome))
        self._draft_ms += (time.perf_counter() - observed_at) * 1e3

    def close(self) -> None:
        """Tell all, the dropped ones too."""
        if self._policy is not None and self._num_emitted:
            self._policy.ended(self._num_emitted)
        for drafter in self._all:
            try:
                drafter.close()
            except Exception:
                log.exception("drafter %s failed to close", drafter.name)

    def take_draft_ms(self) -> float:
        """The time that drafting took since this was last asked."""
        taken, self._draft_ms = self._draft_ms, 0.0
        return taken

    def _first(self, budget: int) -> Draft:
        for drafter in list(self._active):
            draft = self._ask(drafter, budget)
            if draft.token_ids:
                return Draft(draft.token_ids[:budget], draft.drafter or drafter.name, draft.match_len)
        return EMPTY

    def _best(self, budget: int, policy: Policy) -> Draft:
        best, best_rate = EMPTY, 0.0
        for drafter in list(self._active):
            num_unread = drafter.num_unread
            wanted, promised = policy.ask(drafter.name, budget, num_unread=num_unread, num_left=self._num_left)
            if not wanted or (best.token_ids and promised <= best_rate):
                continue
            asked_at = self._draft_ms
            draft = self._ask(drafter, wanted)
            policy.paid(
                drafter.name,
                self._draft_ms - asked_at,
                num_asked=wanted,
                num_drafted=len(draft.token_ids),
                num_unread=num_unread,
            )
            length, rate = policy.cut(drafter.name, draft.match_len, min(len(draft.token_ids), budget))
            if length and rate > best_rate:
                best, best_rate = Draft(draft.token_ids[:length], drafter.name, draft.match_len), rate
        return best

    def _ask(self, drafter: Drafter, budget: int) -> Draft:
        began = time.perf_counter()
        try:
            return drafter.propose(budget)
        except Exception:
            self._drop(drafter)
            return EMPTY
        finally:
            self._draft_ms += (time.perf_counter() - began) * 1e3

    def _for_all(self, tell: Callable[[Drafter], None]) -> None:
        for drafter in list(self._active):
            try:
                tell(drafter)
            except Exception:
                self._drop(drafter)

    def _drop(self, drafter: Drafter) -> None:
        log.exception("drafter %s failed and is dropped for this request", drafter.name)
        self._active.remove(drafter)
