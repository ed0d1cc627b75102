"""What is learnt of drafters outlives an engine, and a file that is broken does no harm."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from decoding.completion.experience import experience_key
from decoding.completion.sessions import KEEP_EVERY, SessionPool
from decoding.models.loading.model_set import ModelSet
from decoding.policy.policy import VERSION
from decoding.storage import policy_state


def pool(models: ModelSet, *, remembers: bool = True) -> SessionPool:
    return SessionPool(models, max_sessions=4, budget_bytes=1 << 40, remembers=remembers)


def belief(of: SessionPool) -> float:
    return of._policy.beliefs(of._policy.open_answer(), "lookup", 3, (), 1)[0]


def teach(of: SessionPool) -> None:
    for _ in range(30):
        of._policy.record_verification(of._policy.open_answer(), "lookup", 3, 4, 0)
    of.give_back(of.lease("", [1, 2, 3]))


def test_a_pool_goes_on_from_what_the_last_one_learnt(llama: ModelSet) -> None:
    first = pool(llama)
    before = belief(first)
    teach(first)
    assert not policy_state.path().exists()
    for _ in range(KEEP_EVERY):
        first.give_back(first.lease("", [1, 2, 3]))
    assert belief(pool(llama)) == pytest.approx(belief(first), abs=1e-3)
    assert belief(pool(llama)) < before / 2
    assert belief(pool(llama, remembers=False)) == before
    kept = policy_state.path().read_text(encoding="utf-8")
    assert list(policy_state.path().parent.iterdir()) == [policy_state.path()]  # nothing is left beside it
    assert set(json.loads(kept)) == {experience_key(llama)}


def test_a_pool_that_remembers_nothing_writes_nothing(llama: ModelSet) -> None:
    quiet = pool(llama, remembers=False)
    teach(quiet)
    quiet.keep_experience()
    pool(llama).keep_experience()  # and neither does one that was never used
    assert not policy_state.path().exists()


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"k": ', "[" * 100_000, '"' + "x" * (1 << 20) + '"'])
def test_a_broken_file_is_as_none_and_is_replaced(llama: ModelSet, content: str) -> None:
    policy_state.path().write_text(content, encoding="utf-8")
    assert policy_state.load("k") is None
    policy_state.save("k", {"a": 1})
    assert policy_state.load("k") == {"a": 1}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with a name")
def test_a_pipe_in_its_place_holds_up_nothing(llama: ModelSet) -> None:
    os.mkfifo(policy_state.path())
    assert policy_state.load("k") is None
    policy_state.save("k", 1)
    assert policy_state.load("k") == 1


def test_a_number_of_any_size_is_no_time(llama: ModelSet) -> None:
    huge = 10**400
    kept = {"unit_ms": huge, "gain_steps": [huge, huge], "reliability": {"": {"match 3": [huge, huge]}}}
    drafters = {"lookup": kept, "draft": {"unit_ms": float("nan"), "gain_steps": [float("nan")] * 2}}
    state = {"version": VERSION, "answer_tokens": huge, "drafters": drafters}
    policy_state.save(experience_key(llama), state)
    assert belief(pool(llama)) == belief(pool(llama, remembers=False))


def test_few_sets_are_kept_the_latest_of_them() -> None:
    for i in range(policy_state.MAX_SETS + 3):
        policy_state.save(f"set {i}", i)
    assert policy_state.load("set 0") is None
    assert policy_state.load(f"set {policy_state.MAX_SETS + 2}") == policy_state.MAX_SETS + 2
    policy_state.save("set 5", "again")
    policy_state.save("another", 0)
    assert policy_state.load("set 5") == "again"


def test_a_place_that_cannot_be_written_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(policy_state.VARIABLE, os.fspath(tmp_path / "file" / "below.json"))
    policy_state.save("k", 1)
    assert policy_state.load("k") is None
