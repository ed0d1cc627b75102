"""Combines several drafters into one; the policy decides who is asked, and how much of a draft is verified.

Candidates are ranked by what the policy believes of them, and verified as one chain or, where rows are cheap, as
several. All see every outcome; those that sleep see it when they are woken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from decoding.drafters.chain_selection import Candidate, choose_chains, merge
from decoding.drafters.roster import Roster
from decoding.drafters.stopwatch import Stopwatch
from decoding.policy.accounts import AnswerAccount
from decoding.policy.policy import FEW_TOKENS, Policy
from decoding.speculation.drafting import (
    EMPTY,
    NO_TOKENS,
    NOTHING,
    PER_PROPOSAL,
    Chain,
    Draft,
    Drafter,
    DraftRequest,
    Outcome,
)

# chosen: once all sleep, so many rounds pass without a look at the accounts. measured: a look takes 10 µs, 3 % of the
# shipped target's step.
NUM_SKIPPED = 7


class Combined:
    """Asks drafters in the given order, and reports to the policy what each brought and how long it took."""

    name = "combined"
    cost = PER_PROPOSAL
    num_unread = 0

    def __init__(
        self,
        drafters: Sequence[Drafter],
        policy: Policy,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`clock` returns seconds."""
        self._roster = Roster(drafters)
        self._policy = policy
        for drafter in drafters:
            enrol(policy, drafter)
        self._watch = Stopwatch(clock)
        self._answer = AnswerAccount()
        self._num_to_skip = 0
        self._is_skipping = False

    @property
    def needs(self) -> frozenset[str]:
        """The needs of all drafters that are awake."""
        return NOTHING if self._is_skipping else self._roster.needs

    def begin(self, request: DraftRequest) -> None:
        """Bring dropped drafters back and tell all of them."""
        self._policy.end_answer(self._answer)
        self._answer = self._policy.open_answer(request.language, request.max_tokens)
        self._num_to_skip = 0
        self._is_skipping = False
        self._watch.begin()
        self._roster.begin(request)

    def propose(self, budget: int) -> Draft:
        """Return the most promising chains, each cut to its best length; at most `budget` tokens in each."""
        if not self._roster.active or budget < 1:
            return EMPTY
        self._is_skipping = self._num_to_skip > 0
        if self._is_skipping:
            self._num_to_skip -= 1
            self._watch.skip_round()
            return EMPTY
        if (gap_ms := self._watch.gap_ms()) is not None:
            self._policy.record_gap(gap_ms)
        chosen = self._best(budget)
        if self._roster.all_sleep:
            self._num_to_skip = NUM_SKIPPED
        self._watch.begin_step()
        return chosen

    def observe(self, outcome: Outcome) -> None:
        """Tell all drafters that are awake, and let the policy learn from the round."""
        if self._roster.is_empty:
            return
        if self._is_skipping:
            self._policy.skip_round()
            self._roster.note(outcome)
        else:
            observed_ms = self._watch.now_ms()
            self._learn(outcome, self._watch.step_ms(observed_ms))
            self._roster.observe(outcome)
            self._watch.end_round(observed_ms)
        self._answer.count(len(outcome.emitted_ids))

    def close(self) -> None:
        """Tell all drafters, the dropped ones too; they first get to see the rounds that they missed."""
        self._policy.end_answer(self._answer)
        self._roster.close()

    def take_draft_ms(self) -> float:
        """Return the milliseconds of drafting since the last call."""
        return self._watch.take_draft_ms()

    def _best(self, budget: int) -> Draft:
        policy = self._policy
        candidates: list[Candidate] = []
        probes: list[Chain] = []
        best_rate = 0.0
        for drafter in list(self._roster.active):  # a copy: falling asleep or failing changes the list
            name = drafter.name
            if not policy.is_awake(self._answer, name):
                self._roster.put_to_sleep(drafter)
                continue
            # The others stay awake: they aren't in debt, only superfluous in this round.
            if best_rate >= policy.sure_rate:
                break
            draft = self._ask_at_cost(drafter, budget, best_rate)
            if draft is None:
                continue
            # Only the probes' drafter learns from their rows, so it pays for them at once, whatever comes of the round.
            for probe in draft.probes:
                policy.record_probe(name, 1 + len(probe.token_ids), is_own_step=policy.max_chains == 1)
                probes.append(probe)
            rate = 0.0
            for chain in draft.verified[: policy.max_chains]:
                if chain.token_ids:
                    candidates.append(self._believed(replace(chain.cut(budget), drafter=name)))
                    rate = max(rate, candidates[-1].rate)
            # Recorded even where nothing was proposed, so that a drafter that stays silent is asked less often.
            policy.record_gain(name, rate, best_rate)
            best_rate = max(best_rate, rate)
        chosen = self._choose(candidates, budget) if candidates else ()
        return Draft((*chosen, *probes)) if chosen or probes else EMPTY

    def _believed(self, chain: Chain) -> Candidate:
        policy = self._policy
        num_tokens = len(chain.token_ids)
        scores = chain.scores if len(chain.scores) >= num_tokens else ()
        beliefs = policy.beliefs(self._answer, chain.drafter, chain.match_len, scores[:num_tokens], num_tokens)
        # The policy believes only a beginning of the chain; its end is too improbable.
        return Candidate(chain.cut(len(beliefs)), tuple(beliefs), *policy.best_cut(beliefs))

    def _choose(self, candidates: list[Candidate], budget: int) -> tuple[Chain, ...]:
        policy = self._policy
        if len({candidate.token_ids[0] for candidate in candidates}) < len(candidates):
            candidates = [
                Candidate(merged.chain, merged.beliefs, *policy.best_cut(merged.beliefs))
                for merged in merge(candidates)
            ]
        best = max(candidates, key=lambda candidate: candidate.rate)
        if best.length == 0:
            tried = policy.should_retry(best.chain.drafter, best.chain.match_len)
            return (best.chain.cut(1),) if tried else ()
        leading = best.cut(best.length)
        if policy.max_chains == 1 or len(candidates) == 1:
            return (leading.chain,)
        chosen = choose_chains(candidates, leading, budget, policy.max_chains, policy.rate)
        return tuple(candidate.chain for candidate in chosen)

    def _ask_at_cost(self, drafter: Drafter, budget: int, best_rate: float) -> Draft | None:
        """Return a drafter's proposal, at its own cost; None where it isn't worth asking."""
        began_ms = self._watch.now_ms()
        self._roster.wake(drafter)
        if drafter not in self._roster.active:  # it failed at what it had missed
            return None
        num_unread, name = drafter.num_unread, drafter.name
        policy = self._policy
        if num_unread > FEW_TOKENS and not self._answer.num_emitted:
            return None  # reading the prompt would stand between the user and the first token
        wanted, promised = policy.ask(self._answer, name, budget, num_unread=num_unread, best_rate=best_rate)
        if not wanted or (promised and promised <= best_rate):
            return None
        draft = self._ask(drafter, wanted)
        took_ms = self._watch.now_ms() - began_ms
        num_drafted = len(draft.leading.token_ids)
        policy.record_draft_cost(
            self._answer, name, took_ms, num_asked=wanted, num_drafted=num_drafted, num_unread=num_unread
        )
        return draft

    def _learn(self, outcome: Outcome, step_ms: float | None) -> None:
        policy = self._policy
        chains, probes = outcome.draft.verified or (NO_TOKENS,), outcome.draft.probes
        leading, *rivals = chains
        num_rows, num_probed = _num_rows(chains), _num_rows(probes)
        # The first step of a request also reads the end of its prompt, and without a pass for chains a probe is a step
        # of its own: such rounds say nothing of the time of others.
        if step_ms is not None and self._answer.num_emitted and not (probes and policy.max_chains == 1):
            policy.record_step(num_rows + num_probed, step_ms)
        if not leading.token_ids:
            return
        policy.record_verification(
            self._answer,
            leading.drafter,
            leading.match_len,
            len(leading.token_ids),
            outcome.num_accepted,
            scores=leading.scores,
            num_rows=num_rows - 1,
        )
        for rival in rivals:
            pairs = zip(rival.token_ids, outcome.emitted_ids, strict=False)
            agreed = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
            num_judged = min(len(rival.token_ids), len(outcome.emitted_ids)) if agreed is None else agreed + 1
            accepted = num_judged if agreed is None else agreed
            policy.record_verification(
                self._answer,
                rival.drafter,
                rival.match_len,
                num_judged,
                accepted,
                scores=rival.scores,
                is_leading=False,
            )

    def _ask(self, drafter: Drafter, budget: int) -> Draft:
        began_ms = self._watch.now_ms()
        draft = self._roster.ask(drafter, budget)
        self._watch.add_drafting(began_ms)
        return draft


def enrol(policy: Policy, drafter: Drafter) -> None:
    """Tell a policy what a drafter costs, as far as it was measured."""
    cost = drafter.cost
    policy.enrol(drafter.name, is_per_token=cost.is_per_token, token_ms=cost.token_ms, read_ms=cost.read_ms)


def _num_rows(chains: Sequence[Chain]) -> int:
    """Return the rows of a step that evaluates these chains, each behind one pending token."""
    return sum(1 + len(chain.token_ids) for chain in chains)
