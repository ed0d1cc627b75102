"""Look-up against a search through everything, and the draft model's book-keeping."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding.drafters.draft_model import DraftModel
from decoding.drafters.prompt_lookup import (
    GOES_ON,
    MAX_EDIT,
    MAX_MATCH,
    MAX_PLACES,
    MIN_MATCH,
    PromptLookup,
    common_prefix_len,
)
from decoding.models.loading.model_set import ModelSet
from decoding.speculation.drafting import EMPTY, Chain, Draft, DraftRequest, Outcome
from decoding.speculation.sampling import Sampling
from decoding.text.token_healing import Healing, TokenIndex
from tests.decoding.conftest import decode


def outcome(*emitted: int) -> Outcome:
    return Outcome(emitted_ids=emitted, num_accepted=0, draft=Draft())


def longest_match(ids: list[int]) -> int:
    """Of the end of `ids` with any earlier place, at most `MAX_MATCH`."""
    best = 0
    for place in range(1, len(ids)):
        length = 0
        while length < min(MAX_MATCH, place) and ids[place - length - 1] == ids[len(ids) - length - 1]:
            length += 1
        best = max(best, length)
    return best if best >= MIN_MATCH else 0


tokens = st.integers(0, 5)
texts = st.lists(tokens, min_size=1, max_size=MAX_PLACES)


@settings(deadline=None)
@given(
    st.lists(st.lists(tokens, min_size=1, max_size=MAX_PLACES), min_size=1, max_size=4), st.lists(tokens, max_size=9)
)
def test_the_longest_match_is_found_whatever_was_indexed_before(prompts: list[list[int]], emitted: list[int]) -> None:
    lookup = PromptLookup()
    for prompt in prompts:
        lookup.begin(DraftRequest(prompt_ids=prompt))
        ids = list(prompt)
        for token_id in emitted:
            lookup.observe(outcome(token_id))
            ids.append(token_id)
            draft = lookup.propose(4)
            wanted = longest_match(ids)
            assert draft.leading.match_len in (wanted, wanted + GOES_ON)  # more where an edited copy goes on
            if wanted:
                end = [*ids[len(ids) - wanted :], *draft.leading.token_ids]
                assert any(ids[i : i + len(end)] == end for i in range(len(ids) - wanted))


def essence(chain: Chain) -> tuple[tuple[int, ...], int]:
    return chain.token_ids, chain.match_len


def test_the_latest_of_equal_matches_is_copied_and_hints_only_if_they_match_longer() -> None:
    lookup = PromptLookup()
    lookup.begin(DraftRequest(prompt_ids=[1, 2, 3, 1, 2, 4, 9, 1, 2]))
    assert essence(lookup.propose(3).leading) == ((4, 9, 1), 2)
    lookup.begin(DraftRequest(prompt_ids=[1, 2, 3, 1, 2, 4, 9, 1, 2], hint_ids=[[5, 1, 2, 7], [9, 1, 2, 8, 8]]))
    assert essence(lookup.propose(9).leading) == ((8, 8), 3)
    lookup.begin(DraftRequest(prompt_ids=[9, 9]))
    assert lookup.propose(3) == Draft()


def test_a_copy_goes_on_behind_an_edit() -> None:
    lookup = PromptLookup()
    original = [*range(100, 120), 7, 8, 50, 51, 52, 7, 8, 60]
    lookup.begin(DraftRequest(prompt_ids=[*original, *range(100, 112)]))
    assert lookup.propose(3).leading.token_ids == (112, 113, 114)
    lookup.observe(outcome(9))  # instead of 112
    draft = lookup.propose(3)
    assert draft.leading.token_ids == (113, 114, 115)
    assert draft.leading.scores[0] < 0.3  # it is a guess: nothing matches
    lookup.observe(outcome(*range(113, 120), 7, 8))
    assert lookup.propose(1).leading.token_ids == (50,)
    lookup.begin(DraftRequest(prompt_ids=[*original, *range(100, 112)]))
    lookup.propose(1)
    lookup.observe(outcome(*range(112, 118), 9, 9, 7, 8))  # instead of 118 and 119
    draft = lookup.propose(2)
    assert draft.leading.token_ids == (50, 51)  # and not 60, which followed 7 and 8 later
    assert draft.verified[1].token_ids == (60, 100)


def test_a_copy_that_was_left_for_long_is_forgotten() -> None:
    lookup = PromptLookup()
    lookup.begin(DraftRequest(prompt_ids=[*range(100, 160), *range(100, 112)]))
    assert lookup.propose(1).leading.token_ids == (112,)
    for token_id in range(MAX_EDIT):
        lookup.observe(outcome(token_id))
        assert lookup.propose(1).leading.token_ids == (113 + token_id,)
    lookup.observe(outcome(99))
    assert lookup.propose(1).leading.token_ids == ()


def test_of_several_matches_most_decide_and_the_others_are_rivals() -> None:
    lookup = PromptLookup()
    lookup.begin(DraftRequest(prompt_ids=[1, 2, 3, 5, 0, 1, 2, 3, 5, 7, 1, 2, 4, 6, 8, 1, 2]))
    draft = lookup.propose(2)
    assert essence(draft.leading) == ((3, 5), 2)
    assert [essence(rival) for rival in draft.verified[1:]] == [((4, 6), 2)]
    assert 0 < draft.verified[1].scores[0] < draft.leading.scores[0] < draft.leading.scores[1] < 1
    assert {chain.drafter for chain in draft.verified} == {"lookup"}


def test_a_text_of_one_token_takes_no_longer_than_any_other() -> None:
    """The work of a proposal is bounded by the number of places tried, not by how many there are."""
    lookup = PromptLookup()
    lookup.begin(DraftRequest(prompt_ids=[7, 8] * 20_000))
    reads = 0

    class Counting(list[int]):
        def __getitem__(self, key: object) -> object:  # type: ignore[override]
            nonlocal reads
            reads += 1
            return super().__getitem__(key)  # type: ignore[index]

    lookup._text.ids = Counting(lookup._text.ids)
    assert lookup.propose(5).leading.token_ids
    assert reads < 2 * MAX_PLACES * (MAX_MATCH + 2)


@given(st.lists(st.integers(0, 2), max_size=30), st.lists(st.integers(0, 2), max_size=30))
def test_common_prefix(a: list[int], b: list[int]) -> None:
    length = common_prefix_len(a, b)
    assert a[:length] == b[:length]
    assert length == min(len(a), len(b)) or a[length] != b[length]


def test_drafts_begin_with_what_healing_allows(llama: ModelSet) -> None:
    index = TokenIndex([b"", b"a", b"ab", b"x"])
    healing = Healing(index, b"a")
    lookup = PromptLookup()
    for follower, expected in ((2, (2,)), (3, ())):
        lookup.begin(DraftRequest(prompt_ids=[5, 6, follower, 4, 5, 6], healing=healing))
        assert lookup.propose(1).leading.token_ids == expected
    assert llama.draft is not None
    rest = llama.index.token_bytes[300]
    model = DraftModel(llama.draft, llama.draft.new_cache())
    model.begin(DraftRequest(prompt_ids=[9, 10, 11], healing=Healing(llama.index, rest)))
    for token_id in model.propose(1).leading.token_ids:
        written = llama.index.token_bytes[token_id]
        assert written.startswith(rest) or rest.startswith(written)


def test_a_draft_model_that_sees_less_of_the_prompt_keeps_what_it_has_read(llama: ModelSet) -> None:
    """A new line moves the suffix in the prompt, and not the text before the cursor."""
    assert llama.draft is not None
    above, below = list(range(40, 80)), list(range(200, 230))

    def shorten(prompt_ids: Sequence[int]) -> list[int]:
        return [token_id for token_id in prompt_ids if token_id < 100]

    model = DraftModel(llama.draft, llama.draft.new_cache(), shorten=shorten)
    model.begin(DraftRequest(prompt_ids=[*above, *below, 9]))
    model.propose(2)
    model.observe(Outcome(emitted_ids=(11, 12), num_accepted=0, draft=EMPTY))
    text = model._text
    assert text.target_ids == [*above, *below, 9, 11, 12]
    assert text.position == len(text.target_ids)
    assert text.ids == [*above, 9, 11, 12]
    model.begin(DraftRequest(prompt_ids=[*above, 9, 11, 12, *below]))
    assert model.num_unread <= 3
    other = DraftModel(llama.draft, llama.draft.new_cache(), shorten=shorten)
    other.branch_from(model, [*above, *below])
    other.begin(DraftRequest(prompt_ids=[*above, *below]))
    assert other.num_unread == 1


def test_a_draft_model_that_is_the_target_is_right_also_when_sampling(
    llama: ModelSet, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the target's noise; only its own doubts, which are left out here, would end a draft."""
    monkeypatch.setattr("decoding.drafters.draft_model.MIN_PROBABILITY", 0.0)
    prompt = [rng.randrange(8, 500) for _ in range(20)]
    sampling = Sampling(temperature=0.9, top_k=20, seed=9)
    plain = decode(llama, prompt, PromptLookup(), 30, sampling=sampling)

    class Watched(DraftModel):
        judged, stood = 0, 0

        def observe(self, outcome: Outcome) -> None:
            Watched.judged += len(outcome.draft.leading.token_ids)
            Watched.stood += outcome.num_accepted
            super().observe(outcome)

    model = Watched(llama.target, llama.target.new_cache())
    assert decode(llama, prompt, model, 30, sampling=sampling) == plain
    assert Watched.judged > 5
    assert Watched.stood >= 0.9 * Watched.judged
