"""The automaton and the suffix array against a search through everything, and the drafter over both."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding.datastore.suffix_array import DEPTH, MAX_FOUND, SuffixArray, sort_places
from decoding.drafters import suffix
from decoding.drafters.in_order import InOrder
from decoding.drafters.suffix import SuffixDrafter
from decoding.drafters.suffix_automaton import ROOT, LiveText
from decoding.models.loading.model_set import ModelSet
from decoding.speculation.drafting import Draft, DraftRequest, NoDrafter, Outcome
from decoding.speculation.sampling import Sampling
from decoding.text.token_healing import Healing, TokenIndex
from tests.decoding.conftest import decode

SEPARATOR = 9
tokens = st.integers(0, 2)
pieces = st.lists(tokens, max_size=6)


def outcome(*emitted: int) -> Outcome:
    return Outcome(emitted_ids=emitted, num_accepted=0, draft=Draft())


def count(texts: list[list[int]], run: list[int]) -> int:
    return sum(text[i : i + len(run)] == run for text in texts for i in range(len(text) - len(run) + 1))


def longest_end(texts: list[list[int]], ids: list[int], most: int) -> int:
    return max(n for n in range(min(len(ids), most) + 1) if n == 0 or count(texts, ids[-n:]))


def stores(*texts: list[int]) -> SuffixArray:
    ids = np.array([token_id for text in texts for token_id in (*text, SEPARATOR)], dtype=np.uint16)
    return SuffixArray(ids, sort_places(ids), SEPARATOR)


@given(st.lists(st.tuples(st.integers(0, 2), pieces), max_size=12), st.lists(tokens, min_size=1, max_size=8))
def test_the_automaton_tells_every_run_and_how_often_it_stood(
    written: list[tuple[int, list[int]]], wanted: list[int]
) -> None:
    """Also where several texts are written by turns."""
    live = LiveText()
    writers, texts = [live.open() for _ in range(3)], [list[int]() for _ in range(3)]
    for number, ids in written:
        writers[number].write(ids)
        texts[number] += ids
    automaton = live.automata[0]
    state, matched = automaton.find(wanted)
    assert matched == longest_end(texts, wanted, len(wanted))
    state, matched, counts = automaton.followers(state, matched)
    followed = {i: count(texts, [*wanted[len(wanted) - matched :], i]) for i in range(3)}
    assert counts == {token_id: often for token_id, often in followed.items() if often}
    assert live.holds(wanted) == bool(count(texts, wanted))


def test_a_state_found_before_a_text_was_added_is_still_right_behind_it() -> None:
    live = LiveText()
    live.open().write([1, 2, 3, 4])
    automaton = live.automata[0]
    state, matched = automaton.find([7, 2, 3])
    live.open().write([5, 2, 3, 6])
    assert automaton.followers(state, matched)[2] == {4: 1, 6: 1}
    assert automaton.follow(state, matched, 6) == automaton.find([2, 3, 6])


def test_live_text_is_bounded_and_forgets_the_oldest() -> None:
    live = LiveText(max_states=200)
    for number in range(100):
        # What is only there to have something before a text counts, too.
        live.open([number + 7, number + 8]).write([number, number + 1, number + 2] * 4)
        assert sum(map(len, live.automata)) <= 200 + 2 * 2 * 14
    assert live.holds([99, 100, 101, 99])
    assert not live.holds([0, 1])


def test_a_text_of_one_token_takes_no_longer_than_any_other() -> None:
    live = LiveText()
    live.open().write([7] * 20_000)
    assert len(live.automata[0]) == 20_001
    assert live.automata[0].find([7] * 30)[1] == 30


@settings(deadline=None)
@given(
    st.lists(st.lists(tokens, max_size=30), min_size=1, max_size=5),
    st.lists(tokens, min_size=1, max_size=2 * DEPTH),
    st.integers(1, 4),
)
def test_the_suffix_array_finds_the_longest_match(texts: list[list[int]], recent: list[int], length: int) -> None:
    found = stores(*texts).find(recent, length)
    assert found.match_len == longest_end(texts, recent, DEPTH)
    if not found.match_len:
        assert found.following == []
        return
    end = recent[len(recent) - found.match_len :]
    assert len(found.following) == min(count(texts, end), len(found.following)) > 0
    for ids in found.following:
        # What is cut short stands at the end of its text.
        assert any(
            [*end, *ids] == text[i:] or (len(ids) == length and [*end, *ids] == text[i : i + len(end) + length])
            for text in texts
            for i in range(len(text) + 1)
        )


@given(st.lists(st.integers(0, 1), min_size=1, max_size=120), st.sampled_from([np.uint16, np.uint32]))
def test_places_are_sorted_by_what_stands_before_them(ids: list[int], kind: type[np.unsignedinteger]) -> None:
    order = sort_places(np.array(ids, dtype=kind)).tolist()
    assert sorted(order) == list(range(len(ids) + 1))
    before = [ids[max(0, place - DEPTH) : place][::-1] for place in order]
    assert before == sorted(before)


def test_many_equal_places_are_bounded() -> None:
    found = stores([1, 2, 3] * 200).find([1, 2], 5)
    assert found.match_len == 2
    assert len(found.following) <= MAX_FOUND


@given(st.lists(st.integers(0, 2**32 - 1), min_size=12, max_size=12), st.lists(tokens, min_size=1, max_size=5))
def test_a_damaged_order_raises_nothing(order: list[int], recent: list[int]) -> None:
    array = SuffixArray(np.array([1, 2, 0, 9] * 2 + [1, 2, 9], np.uint16), np.array(order, np.uint32), SEPARATOR)
    found = array.find(recent, 3)
    assert all(token_id in (0, 1, 2) for ids in found.following for token_id in ids)


def test_what_followed_in_earlier_answers_is_drafted_with_its_share() -> None:
    live = LiveText()
    drafter = SuffixDrafter(lambda: live, tuple)
    for answer in ([5, 6, 7], [5, 6, 7], [5, 8, 8]):
        drafter.begin(DraftRequest(prompt_ids=[1, 2, 3, answer[-1]]))
        drafter.observe(outcome(9, 3, 4, *answer))
        drafter.close()
    drafter.begin(DraftRequest(prompt_ids=[0, 9, 3, 4]))
    draft = drafter.propose(3)
    assert (draft.leading.token_ids[:2], draft.leading.drafter, draft.leading.match_len) == ((5, 6), "suffix", 3)
    assert [rival.token_ids[:2] for rival in draft.verified[1:]] == []  # all went on with 5
    drafter.observe(outcome(5))
    draft = drafter.propose(3)
    assert draft.leading.token_ids[0] == 6
    assert [rival.token_ids[0] for rival in draft.verified[1:]] == [8]
    assert 2 * draft.verified[1].scores[0] == pytest.approx(draft.leading.scores[0])
    assert drafter.propose(1).leading.token_ids == (6,)


def test_datastores_are_asked_where_the_live_text_knows_nothing() -> None:
    store = stores([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], [2, 3, 4, 8])
    drafter = SuffixDrafter(LiveText, lambda: [store])
    drafter.begin(DraftRequest(prompt_ids=[7, 1, 2, 3]))
    draft = drafter.propose(4)
    assert (draft.leading.token_ids, draft.leading.match_len) == ((4, 5, 6), 3)
    assert all(0 < score < 1 for score in draft.leading.scores)
    drafter.begin(DraftRequest(prompt_ids=[7, 7]))
    assert drafter.propose(4) == Draft()


def test_hints_are_learnt_and_typing_goes_on_costs_what_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    live = LiveText()
    drafter = SuffixDrafter(lambda: live, tuple)
    rng = random.Random(3)
    prompt = [rng.randrange(500) for _ in range(300)]
    for typed in range(4):
        before = live.num_tokens
        drafter.begin(DraftRequest(prompt_ids=[*prompt, *range(600, 600 + typed)], hint_ids=[[901, 902, 903, 904]]))
        learnt = live.num_tokens - before
        assert learnt == 304 if typed == 0 else learnt <= DEPTH
        drafter.close()
    drafter.begin(DraftRequest(prompt_ids=[*prompt, 902, 903]))
    assert drafter.propose(1).leading.token_ids == (904,)


def test_in_the_middle_only_what_changed_is_learnt() -> None:
    live = LiveText()
    drafter = SuffixDrafter(lambda: live, tuple)
    rng = random.Random(4)
    above, below = [[rng.randrange(500) for _ in range(200)] for _ in range(2)]
    for line in ([], [700, 701]):
        before = live.num_tokens
        drafter.begin(DraftRequest(prompt_ids=[*above, *line, *below]))
        drafter.close()
    assert live.num_tokens - before == 2 + DEPTH
    assert live.holds([*above[-3:], 700, 701, *below[:3]])


def test_drafts_begin_with_what_healing_allows() -> None:
    healing = Healing(TokenIndex([b"", b"a", b"ab", b"x"]), b"a")
    for follower, expected in ((2, (2,)), (3, ())):
        drafter = SuffixDrafter(LiveText, lambda follower=follower: [stores([5, 6, follower, 4])])  # type: ignore[misc]
        drafter.begin(DraftRequest(prompt_ids=[5, 6], healing=healing))
        assert drafter.propose(1).leading.token_ids == expected


@settings(deadline=None)
@given(st.lists(st.tuples(st.lists(tokens, min_size=1, max_size=20), st.lists(tokens, max_size=9)), max_size=6))
def test_every_draft_is_what_followed_somewhere(requests: list[tuple[list[int], list[int]]]) -> None:
    live = LiveText(max_states=1000)
    drafter = SuffixDrafter(lambda: live, tuple)
    texts: list[list[int]] = []
    for prompt, emitted in requests:
        drafter.begin(DraftRequest(prompt_ids=prompt))
        texts.append(list(prompt))
        for token_id in emitted:
            draft = drafter.propose(4)
            for chain in draft.verified:
                assert len(chain.scores) == len(chain.token_ids)
                if chain.token_ids:
                    end = texts[-1][len(texts[-1]) - chain.match_len :]
                    assert count(texts, [*end, chain.token_ids[0]]), "nothing follows that never did"
            drafter.observe(outcome(token_id))
            texts[-1].append(token_id)
        drafter.close()


def test_state_numbers_of_a_forgotten_automaton_do_no_harm(llama: ModelSet, rng: random.Random) -> None:
    """Texts come and go in the middle of a request, as when several sessions take turns."""
    live = LiveText(max_states=50)
    prompt = [rng.randrange(8, 500) for _ in range(40)]
    plain = decode(llama, prompt, NoDrafter(), 40)

    class Busy(SuffixDrafter):
        def propose(self, budget: int) -> Draft:
            live.open().write([rng.randrange(500) for _ in range(20)])
            return super().propose(budget)

    for _ in range(3):
        assert decode(llama, prompt, InOrder([Busy(lambda: live, tuple)]), 40) == plain


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_datastore_leaves_the_output_as_it_is(llama: ModelSet, rng: random.Random, temperature: float) -> None:
    """One that is right here and wrong there."""
    prompt = [rng.randrange(8, 500) for _ in range(30)]
    sampling = Sampling(temperature=temperature, seed=1)
    plain = decode(llama, prompt, NoDrafter(), 40, sampling=sampling)
    misled = [*prompt, *plain[:20], *[token_id + 1 for token_id in plain[20:30]], *plain[30:]]
    ids = np.array([*misled, 2**16 - 1], dtype=np.uint16)
    array = SuffixArray(ids, sort_places(ids), 2**16 - 1)
    steps = []

    class Watched(SuffixDrafter):
        def observe(self, outcome: Outcome) -> None:
            steps.append(outcome.num_accepted)
            super().observe(outcome)

    drafter = InOrder([Watched(LiveText, lambda: [array])])
    assert decode(llama, prompt, drafter, 40, sampling=sampling) == plain
    assert max(steps) > 0
    assert 0 in steps


def test_an_answer_that_was_given_before_is_drafted_whole(llama: ModelSet, rng: random.Random) -> None:
    live = LiveText()
    prompt = [rng.randrange(8, 500) for _ in range(40)]
    proposed = []

    class Watched(SuffixDrafter):
        def observe(self, outcome: Outcome) -> None:
            proposed.append((len(outcome.draft.leading.token_ids), outcome.num_accepted))
            super().observe(outcome)

    drafter = Watched(lambda: live, tuple)
    plain = decode(llama, prompt, drafter, 40)
    drafter.close()
    proposed.clear()
    assert decode(llama, prompt, drafter, 40) == plain
    assert sum(accepted for _, accepted in proposed) >= 25
    assert suffix.MAX_DRAFT >= max(length for length, _ in proposed) > 0
    assert ROOT == 0
