"""Several drafters as one: who is asked, and how much of a draft is verified, is for the policy to say.

Candidates are ranked by what the policy believes of them, and verified as one chain or, where rows are cheap, as
several. All see every outcome, those that sleep when they are woken. A drafter that raises is dropped for the rest of
the request.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from decoding.drafters.chain_selection import Candidate, choose_chains, merge
from decoding.policy.calibration import checked_language
from decoding.policy.policy import FEW_TOKENS, Policy
from decoding.speculation.drafting import NOTHING, Draft, Drafter, DraftRequest, Outcome

log = logging.getLogger(__name__)

EMPTY = Draft()
# Rounds that pass without a look at the accounts once all sleep: the look is a hundredth of a small target's step.
NUM_SKIPPED = 7


class Combined:
    """Asks in the order given, and keeps the clock for the policy; without one, the first draft is taken as it is."""

    name = "combined"
    num_unread = 0

    def __init__(
        self,
        drafters: Sequence[Drafter],
        policy: Policy | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`clock` tells seconds."""
        self._all = list(drafters)
        self._active = list(drafters)
        self._policy = policy
        self._clock = clock
        self._language = ""
        self._asleep: dict[str, list[int]] = {}  # by name, the tokens that it has not seen yet
        self._resting: set[str] = set()  # those that have too much to read for this answer
        self._num_left = 0
        self._num_emitted = 0
        self._num_to_skip = 0
        self._is_skipping = False
        self._proposed_at: float | None = None
        self._observed_at: float | None = None
        self._draft_ms = 0.0

    @property
    def needs(self) -> frozenset[str]:
        """What any of those that are awake needs."""
        if self._is_skipping:
            return NOTHING
        return frozenset().union(*(drafter.needs for drafter in self._active if drafter.name not in self._asleep))

    def begin(self, request: DraftRequest) -> None:
        """Bring dropped drafters back and tell all of them."""
        self._active = list(self._all)
        self._asleep.clear()
        self._language = checked_language(request.language)
        self._resting.clear()
        self._num_left = request.max_tokens
        self._num_emitted = self._num_to_skip = 0
        self._is_skipping = False
        self._proposed_at = self._observed_at = None
        self._for_all(lambda drafter: drafter.begin(request))

    def propose(self, budget: int) -> Draft:
        """The chains that promise most, each cut to the length at which it does; at most `budget` tokens in each."""
        if not self._active or budget < 1:
            return EMPTY
        if self._policy is None:
            return self._first(budget)
        self._is_skipping = self._num_to_skip > 0
        if self._is_skipping:
            self._num_to_skip -= 1
            self._observed_at = None
            return EMPTY
        if self._observed_at is not None:
            self._policy.rested((self._clock() - self._observed_at) * 1e3)
        chosen = self._best(budget, self._policy)
        if len(self._asleep) == len(self._active):
            self._num_to_skip = NUM_SKIPPED
        self._proposed_at = self._clock()
        return chosen

    def observe(self, outcome: Outcome) -> None:
        """Tell all that are awake, and let the policy learn what it cost."""
        if not self._all:
            return
        if self._is_skipping and self._policy is not None:
            self._policy.passed_over()
            self._count(outcome)
            return
        observed_at = self._clock()
        if self._policy is not None:
            self._learn(outcome, observed_at, self._policy)
        if len(self._asleep) < len(self._active):
            self._for_all(lambda drafter: drafter.observe(outcome), but=self._asleep)
        self._count(outcome)
        self._observed_at = self._clock()
        self._draft_ms += (self._observed_at - observed_at) * 1e3

    def close(self) -> None:
        """Tell all, the dropped ones too; what they learn from, they get to see first."""
        if self._policy is not None and self._num_emitted:
            self._policy.ended(self._num_emitted)
        for drafter in list(self._active):
            self._wake(drafter)
        for drafter in self._all:
            try:
                drafter.close()
            except Exception:
                log.exception("drafter %s failed to close", drafter.name)

    def take_draft_ms(self) -> float:
        """The time that drafting took since this was last asked."""
        taken, self._draft_ms = self._draft_ms, 0.0
        return taken

    def _count(self, outcome: Outcome) -> None:
        """Take in what was emitted, for those too that sleep."""
        self._num_emitted += len(outcome.emitted_ids)
        self._num_left -= len(outcome.emitted_ids)
        for unseen in self._asleep.values():
            unseen.extend(outcome.emitted_ids)

    def _first(self, budget: int) -> Draft:
        probes: tuple[tuple[int, ...], ...] = ()
        for drafter in list(self._active):
            draft = self._ask(drafter, budget)
            probes += draft.probes
            if draft.token_ids:
                ids, name = draft.token_ids[:budget], draft.drafter or drafter.name
                return replace(draft, token_ids=ids, drafter=name, probes=probes)
        return Draft(probes=probes) if probes else EMPTY

    def _best(self, budget: int, policy: Policy) -> Draft:
        policy.language = self._language
        candidates: list[Candidate] = []
        probes: tuple[tuple[int, ...], ...] = ()
        best_rate = 0.0
        for drafter in list(self._active):
            name = drafter.name
            if name in self._resting or not policy.is_awake(name):
                self._asleep.setdefault(name, [])
                continue
            if best_rate >= policy.sure_rate:
                break
            draft = self._ask_at_cost(drafter, budget, best_rate, policy)
            if draft is None:
                continue
            for probe in draft.probes:
                policy.probed(name, 1 + len(probe), is_own_step=policy.max_chains == 1)
            probes += draft.probes
            rate = 0.0
            for chain in (draft, *draft.rivals) if policy.max_chains > 1 else (draft,):
                if ids := chain.token_ids[:budget]:
                    candidates.append(self._believed(Draft(ids, name, chain.match_len, chain.scores), policy))
                    rate = max(rate, candidates[-1].rate)
            policy.promised(name, rate, best_rate)
            best_rate = max(best_rate, rate)
        chosen = self._choose(candidates, budget, policy) if candidates else EMPTY
        return replace(chosen, probes=probes) if probes else chosen

    def _believed(self, draft: Draft, policy: Policy) -> Candidate:
        scores = draft.scores if len(draft.scores) >= len(draft.token_ids) else ()
        beliefs = policy.beliefs(draft.drafter, draft.match_len, scores[: len(draft.token_ids)], len(draft.token_ids))
        if len(beliefs) < len(draft.token_ids):  # the others are improbable
            draft = replace(draft, token_ids=draft.token_ids[: len(beliefs)])
        return Candidate(draft, tuple(beliefs), *policy.cut(beliefs))

    def _choose(self, candidates: list[Candidate], budget: int, policy: Policy) -> Draft:
        if len({candidate.token_ids[0] for candidate in candidates}) < len(candidates):
            candidates = [
                Candidate(merged.draft, merged.beliefs, *policy.cut(merged.beliefs)) for merged in merge(candidates)
            ]
        best = max(candidates, key=lambda candidate: candidate.rate)
        if best.length == 0:
            tried = policy.is_to_be_tried(best.draft.drafter, best.draft.match_len)
            return best.cut(1).draft if tried else EMPTY
        if policy.max_chains == 1 or len(candidates) == 1:
            return best.cut(best.length).draft
        leading = best.cut(best.length)
        first, *others = choose_chains(candidates, leading, budget, policy.max_chains, policy.rate)
        return replace(first.draft, rivals=tuple(other.draft for other in others))

    def _ask_at_cost(self, drafter: Drafter, budget: int, best_rate: float, policy: Policy) -> Draft | None:
        """What it proposes, on its account; None where it isn't worth asking."""
        began = self._clock()
        if drafter.name in self._asleep:
            self._wake(drafter)
        num_unread, name = drafter.num_unread, drafter.name
        wanted, promised = policy.ask(name, budget, num_unread=num_unread, num_left=self._num_left, best_rate=best_rate)
        if not wanted:
            if num_unread > FEW_TOKENS:
                self._resting.add(name)
            return None
        if promised and promised <= best_rate:
            return None
        draft = self._ask(drafter, wanted)
        took_ms = (self._clock() - began) * 1e3
        num_drafted = len(draft.token_ids)
        policy.paid(name, took_ms, num_asked=wanted, num_drafted=num_drafted, num_unread=num_unread)
        return draft

    def _learn(self, outcome: Outcome, now: float, policy: Policy) -> None:
        policy.language = self._language
        draft = outcome.draft
        num_rows = 1 + len(draft.token_ids)
        for other in draft.rivals:
            num_rows += 1 + len(other.token_ids)
        # The first step of a request carries the end of its prompt, too, and probes are steps of their own elsewhere:
        # such rounds say nothing of the others.
        if self._proposed_at is not None and self._num_emitted and not (draft.probes and policy.max_chains == 1):
            policy.stepped(num_rows + sum(1 + len(p) for p in draft.probes), (now - self._proposed_at) * 1e3)
        if not draft.token_ids:
            return
        policy.verified(
            draft.drafter,
            draft.match_len,
            len(draft.token_ids),
            outcome.num_accepted,
            scores=draft.scores,
            num_rows=num_rows - 1,
        )
        for rival in draft.rivals:
            pairs = zip(rival.token_ids, outcome.emitted_ids, strict=False)
            agreed = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
            num_judged = min(len(rival.token_ids), len(outcome.emitted_ids)) if agreed is None else agreed + 1
            accepted = num_judged if agreed is None else agreed
            policy.verified(rival.drafter, rival.match_len, num_judged, accepted, scores=rival.scores, is_leading=False)

    def _wake(self, drafter: Drafter) -> None:
        unseen = self._asleep.pop(drafter.name, None)
        if unseen:
            missed = Outcome(emitted_ids=tuple(unseen), num_accepted=0, draft=EMPTY)
            self._tell(drafter, lambda told: told.observe(missed))

    def _ask(self, drafter: Drafter, budget: int) -> Draft:
        began = self._clock()
        try:
            return drafter.propose(budget)
        except Exception:
            self._drop(drafter)
            return EMPTY
        finally:
            self._draft_ms += (self._clock() - began) * 1e3

    def _for_all(self, tell: Callable[[Drafter], None], *, but: dict[str, list[int]] | None = None) -> None:
        for drafter in list(self._active):
            if not but or drafter.name not in but:
                self._tell(drafter, tell)

    def _tell(self, drafter: Drafter, tell: Callable[[Drafter], None]) -> None:
        try:
            tell(drafter)
        except Exception:
            self._drop(drafter)

    def _drop(self, drafter: Drafter) -> None:
        log.exception("drafter %s failed and is dropped for this request", drafter.name)
        self._active.remove(drafter)
        self._asleep.pop(drafter.name, None)
