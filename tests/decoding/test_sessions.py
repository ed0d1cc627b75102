"""Who gets which cache, how much memory they may take together, and what is remembered of the old text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from decoding.completion.cache_budget import cache_budget_bytes
from decoding.completion.completion import complete, prompt_tokens
from decoding.completion.sessions import MAX_BRANCHES, MAX_TRUNKS, MIN_SHARED, Session, SessionPool
from decoding.drafters import registry
from decoding.models.loading.model_set import ModelSet
from decoding.policy.policy import Policy
from decoding.protocol import DRAFTERS, CompletionOptions, CompletionRequest
from decoding.speculation.drafting import DraftRequest


@pytest.fixture
def one_bytes(llama: ModelSet) -> int:
    return Session(llama).num_bytes


def use(pool: SessionPool, document: str, ids: list[int]) -> Session:
    """A request that reads its prompt and is over; what it computes doesn't matter here."""
    session = pool.lease(document, ids)
    session.cache.roll_back(session.cache.common_prefix_len(ids))
    session.cache.commit(ids[len(session.cache) :])
    pool.give_back(session)
    return session


def text(first: int, length: int = 100) -> list[int]:
    return [first] * length


def test_the_least_recently_used_goes_when_memory_is_short(llama: ModelSet, one_bytes: int) -> None:
    pool = SessionPool(llama, max_sessions=99, budget_bytes=3 * one_bytes + 1)
    sessions = {name: use(pool, name, text(i)) for i, name in enumerate("abc")}
    assert use(pool, "a", text(0, 110)) is sessions["a"]
    assert pool.num_bytes <= 3 * one_bytes
    use(pool, "d", text(7))  # takes the place of b, which was used longest ago
    assert len(pool) == 3
    held = [session.document for session in pool._idle]
    assert held == ["c", "a", "d"]


def test_a_budget_of_nothing_still_serves_and_leased_sessions_are_left_alone(llama: ModelSet) -> None:
    pool = SessionPool(llama, max_sessions=99, budget_bytes=0)
    first, second = pool.lease("a", text(1)), pool.lease("b", text(2))
    assert first is not second
    pool.give_back(first)
    assert len(pool) == 1
    pool.give_back(second)
    assert len(pool) == 1


def test_a_document_finds_its_cache_and_leaves_others_theirs(llama: ModelSet) -> None:
    """Two documents with the same context files in front keep a cache each."""
    pool = SessionPool(llama, max_sessions=9, budget_bytes=1 << 40)
    shared = text(9, MIN_SHARED + 6)
    a = use(pool, "a", [*shared, *text(1, 120)])
    b = use(pool, "b", [*shared, *text(2, 120)])
    assert a is not b
    assert use(pool, "a", [*shared, *text(1, 110), 5]) is a
    assert use(pool, "b", [*shared, *text(2, 110), 5]) is b
    # Nearly all is shared: another name for the same text.
    assert use(pool, "c", [*shared, *text(2, 105)]) is b


def test_a_place_that_is_left_keeps_its_cache_and_what_it_shares_is_copied(llama: ModelSet) -> None:
    pool = SessionPool(llama, max_sessions=9, budget_bytes=1 << 40)
    above = text(9, 200)
    one = use(pool, "a", [*above, *text(1, 90)])
    leased = pool.lease("a", [*above, *text(2, 90)])
    assert leased is not one
    assert len(leased.cache) == 200
    assert len(one.cache) == 290
    pool.give_back(leased)
    two = use(pool, "a", [*above, *text(2, 95)])
    assert two is leased
    assert use(pool, "a", [*above, *text(1, 91)]) is one
    third = use(pool, "a", [*above, *text(3, 90)])
    assert len(pool) == MAX_BRANCHES
    # From now on the place goes that was left longest ago.
    assert use(pool, "a", [*above, *text(4, 90)]) is two
    assert [session.document for session in pool._idle] == ["a"] * MAX_BRANCHES
    assert third in pool._idle


def test_requests_branch_off_the_trunk_and_never_take_it(llama: ModelSet) -> None:
    pool = SessionPool(llama, max_sessions=9, budget_bytes=1 << 40)
    file = [*text(1, 100), *text(2, 100), *text(3, 100)]
    trunk = pool.lease("a", file, is_trunk=True)
    trunk.cache.commit(file[:250])  # still being read, by idle work
    branch = pool.lease("a", [*file[:230], *text(7, 80)])
    assert branch is not trunk
    assert len(branch.cache) == 230
    pool.give_back(trunk)
    pool.give_back(branch)
    changed = [*file[:150], *text(8, 100)]
    again = pool.lease("a", changed, is_trunk=True)
    assert again is not trunk  # the old text serves until the new one was read
    assert len(again.cache) == 150
    pool.give_back(again)
    assert not use(pool, "a", changed[:149]).is_trunk
    assert pool.num_shared(file) == 250
    for number in range(10, 10 + MAX_TRUNKS - 2):
        window = pool.lease("a", text(number, 300), is_trunk=True)
        window.cache.commit(text(number, 300)[len(window.cache) :])
        pool.give_back(window)
    assert pool.lease("a", text(99, 300), is_trunk=True) in (trunk, again)  # the one that was used longest ago


def test_the_draft_models_cache_comes_along(llama: ModelSet) -> None:
    models = replace(llama, method="draft")
    prompt = models.encode("def area(width, height):\n    return width\n" * 9)
    one, two = Session(models), Session(models)
    for session in (one, two):
        (drafter,) = session.drafters("")
        drafter.begin(DraftRequest(prompt_ids=prompt))
        if session is one:
            drafter.propose(2)
            one.cache.commit(prompt)
    assert two.drafters("")[0].num_unread == len(prompt)
    two.branch_from(one, prompt)
    assert two.drafters("")[0].num_unread < 4


def test_memory_can_be_freed(llama: ModelSet) -> None:
    pool = SessionPool(llama, max_sessions=9, budget_bytes=1 << 40)
    leased = pool.lease("z", text(5))
    for i, name in enumerate("abc"):
        use(pool, name, text(i))
    assert pool.free_idle() == 3
    assert len(pool) == 1
    pool.drop(leased)
    assert pool.num_bytes == 0


@pytest.mark.parametrize(
    ("last", "answer", "now", "hint"),
    [
        ([1, 2, 3, 4, 5, 6], [7, 8], [1, 2, 3, 4, 9], [1, 2, 3, 4, 5, 6, 7, 8]),  # typed something else
        ([1, 2, 3, 4], [5, 6, 7], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6, 7]),  # typed what was shown
        ([1, 2, 3, 4], [5, 6], [1, 2, 3, 4, 5, 6], []),  # took all of it
        ([1, 2, 3, 4], [5, 6], [7, 8, 9, 1], []),  # another text
        (list(range(100)), [7], [*range(90), 0], [*range(82, 100), 7]),
    ],
)
def test_old_text_is_what_stood_where_the_prompt_goes_another_way(
    llama: ModelSet, last: list[int], answer: list[int], now: list[int], hint: list[int]
) -> None:
    session = Session(llama)
    session.remember(last, answer)
    assert list(session.old_text(now)) == hint


def test_the_old_answer_is_drafted_again(llama: ModelSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """One key later, what the model had said before is a hint, also where the request was closed early."""
    session = Session(llama, Policy({1: 1e3, 8: 1e3}))  # a target for which any draft pays
    request = CompletionRequest(
        prompt="alpha = 1\nbeta = 2\n", max_tokens=20, tabcast=CompletionOptions(heal=False, method="lookup")
    )
    pieces = complete(llama, session, request, prompt_tokens(llama, request))
    num_tokens = 0
    while num_tokens < 12:
        num_tokens += next(pieces).num_tokens
    pieces.close()  # type: ignore[attr-defined]
    told: list[DraftRequest] = []
    begin = session.drafters("lookup")[0].begin
    monkeypatch.setattr(session.drafters("lookup")[0], "begin", lambda asked: (told.append(asked), begin(asked)))
    prompt = prompt_tokens(llama, request)
    rest = list(complete(llama, session, request, prompt))
    assert rest[-1].stats is not None
    answer_ids = list(rest[-1].stats.token_ids)
    (old,) = (list(hint) for hint in told[0].hint_ids if len(hint))
    assert old[-num_tokens:] == answer_ids[:num_tokens]
    assert rest[-1].stats.steps < num_tokens  # and it was right


def test_the_budget(tmp_path: Path) -> None:
    assert cache_budget_bytes(7, torch.device("cpu")) == 7 << 20
    assert 1 << 26 < cache_budget_bytes(0, torch.device("cpu")) < 1 << 45


def test_a_method_chooses_the_drafters_that_are_there(llama: ModelSet) -> None:
    def names(method: str, models: ModelSet = llama) -> list[str]:
        return [drafter.name for drafter in Session(models).drafters(method)]

    alone = replace(llama, draft=None)
    assert names("plain") == []
    assert names("draft+lookup") == ["draft", "lookup"]
    assert names("lookup+lookup") == ["lookup"]
    assert {"lookup", "draft"} <= set(names("combine"))
    assert "draft" not in names("combine", alone)
    assert names("auto") == names("") != []
    assert names("", replace(llama, method="draft")) == ["draft"]
    assert names("draft", alone) == []
    assert Session(alone).notice("draft") == "drafter draft is left out: there is no draft model"
    assert Session(alone).notice("combine") == Session(alone).notice("auto") == ""  # nothing was asked for by name


def test_drafters_are_made_once_a_session_and_their_memory_counts(llama: ModelSet) -> None:
    session = Session(replace(llama, method="lookup"))
    before = session.num_bytes
    assert session.drafters("lookup+draft")[1] is session.drafters("draft")[0]
    assert session.num_bytes > before == Session(replace(llama, method="plain")).num_bytes


@pytest.mark.parametrize("name", registry.ENTRIES)
def test_a_registered_drafter_has_its_own_name_and_one_of_the_protocol(llama: ModelSet, name: str) -> None:
    assert name in DRAFTERS
    assert all(drafter.name == name for drafter in Session(llama).drafters(name))


def test_an_answer_says_what_it_was_made_without(llama: ModelSet) -> None:
    models = replace(llama, draft=None)
    request = CompletionRequest(prompt="alpha = 1\n", max_tokens=3, tabcast=CompletionOptions(method="draft"))
    *_, last = complete(models, Session(models), request, prompt_tokens(models, request))
    assert last.stats is not None
    assert "no draft model" in last.stats.notice
    assert last.stats.steps == last.stats.tokens
