"""The lookahead drafter: what it makes of a target's choices, by itself and through a whole request."""

from __future__ import annotations

from collections.abc import Sequence

from decoding.drafters.lookahead import GUESSES, NGRAM, WINDOW, LookaheadDrafter
from decoding.speculation.drafting import Draft, DraftRequest, Outcome


def choose(token_id: int) -> int:
    """A target that counts: behind each token of 0 to 9 comes the next."""
    return (token_id + 1) % 10


def run(drafter: LookaheadDrafter, prompt_ids: Sequence[int], num_rounds: int) -> tuple[list[int], int]:
    """What a counting target emits in so many rounds, and how many drafted tokens stood."""
    ids, num_accepted = list(prompt_ids), 0
    drafter.begin(DraftRequest(prompt_ids=prompt_ids))
    for _ in range(num_rounds):
        draft = drafter.propose(8)
        emitted = [choose(ids[-1])]
        for token_id in draft.leading.token_ids:
            if token_id != emitted[-1]:
                break
            emitted.append(choose(token_id))
        num_accepted += len(emitted) - 1
        probe_ids = tuple(tuple(choose(token_id) for token_id in (ids[-1], *probe.token_ids)) for probe in draft.probes)
        ids += emitted
        outcome = Outcome(emitted_ids=tuple(emitted), num_accepted=len(emitted) - 1, draft=draft, probe_ids=probe_ids)
        drafter.observe(outcome)
    return ids[len(prompt_ids) :], num_accepted


def test_a_window_of_guesses_is_probed_each_round() -> None:
    drafter = LookaheadDrafter()
    drafter.begin(DraftRequest(prompt_ids=[3, 1, 4]))
    draft = drafter.propose(4)
    assert draft.leading.token_ids == ()
    assert [len(probe.token_ids) for probe in draft.probes] == [WINDOW]


def test_what_the_target_chose_behind_guesses_is_proposed_later_and_stands() -> None:
    emitted, num_accepted = run(LookaheadDrafter(), [5, 2, 7], 40)
    assert emitted == [(8 + i) % 10 for i in range(len(emitted))]
    # A round brings N - 1 drafted tokens and one more as soon as the pool knows all ten.
    assert num_accepted > 20 * (NGRAM - 1)


def test_the_pool_outlives_the_request() -> None:
    drafter = LookaheadDrafter()
    run(drafter, [5, 2, 7], 40)
    drafter.begin(DraftRequest(prompt_ids=[0, 0, 4]))
    assert drafter.propose(8).leading.token_ids == (5, 6, 7)
    assert drafter.propose(2).leading.token_ids == (5, 6)


def test_without_probes_nothing_is_learnt_and_nothing_breaks() -> None:
    drafter = LookaheadDrafter()
    drafter.begin(DraftRequest(prompt_ids=[1]))
    for token_id in range(20):
        assert drafter.propose(4).leading.token_ids == ()
        drafter.observe(Outcome(emitted_ids=(token_id,), num_accepted=0, draft=Draft()))


def test_the_latest_ngrams_of_a_key_come_first_and_no_more_than_a_few_are_kept() -> None:
    drafter = LookaheadDrafter(window=4, ngram=2)
    drafter.begin(DraftRequest(prompt_ids=[7]))
    last = 10 + 4 * GUESSES
    for choice in range(10, last + 1):
        probe = drafter.propose(0).probes[0].token_ids
        choices = (7, *(choice if guess == 7 else 7 for guess in probe))
        drafter.observe(Outcome(emitted_ids=(7,), num_accepted=0, draft=Draft(), probe_ids=(choices,)))
    draft = drafter.propose(4)
    chains = [chain.token_ids for chain in draft.verified]
    assert chains[0] == (last,)
    assert chains == sorted(chains, reverse=True)
    assert len(chains) == GUESSES
