"""Passes that are given up between two layers: what follows is what it would have been without them."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from decoding.completion.completion import complete, prompt_tokens
from decoding.completion.sessions import Session, SessionPool
from decoding.models.language_model import LanguageModel, PassGivenUp, gives_up
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import CompletionOptions, CompletionRequest
from decoding.service.jobs import ChoiceDone, EngineState, Event, Job, Mailbox
from decoding.service.worker import Worker
from decoding.speculation.speculate import read_prompt

NUM_TOKENS = 64
TEXT = "".join(f"value_{i} = compute({i}, other_{i % 7})\n" for i in range(12))


@pytest.fixture
def target(llama: ModelSet) -> Iterator[Any]:
    """A model that gives passes up."""
    assert gives_up(llama.target)
    yield llama.target
    llama.target.give_up(is_wanted=False)


def prompt(model: LanguageModel, rng: random.Random, num_tokens: int = NUM_TOKENS) -> list[int]:
    return [rng.randrange(model.shape.vocabulary) for _ in range(num_tokens)]


def test_a_pass_that_nobody_wants_ends_and_leaves_the_cache_as_it_was(target: Any, rng: random.Random) -> None:
    ids = prompt(target, rng)
    cache, cold = target.new_cache(), target.new_cache()
    target.prefill(ids[:32], cache)
    target.give_up(is_wanted=True)
    with pytest.raises(PassGivenUp):
        target.prefill(ids[32:], cache)
    assert cache.token_ids == ids[:32]
    assert cache.num_chunked == 32
    # Nobody could begin a step again, so that it is done in any case.
    first = target.step(ids[32:40], cache).clone()
    target.give_up(is_wanted=False)
    target.prefill(ids[32:], cache)
    target.prefill(ids, cold)
    assert torch.equal(target.step([5, 6], cache).clone(), target.step([5, 6], cold))
    cold.roll_back(32)
    assert torch.equal(first, target.step(ids[32:40], cold))


def test_given_up_at_any_moment_it_is_done_whole_or_not_at_all(target: Any, rng: random.Random) -> None:
    ids = prompt(target, rng)
    cold = target.new_cache()
    target.prefill(ids, cold)
    expected = target.step([5, 6, 7], cold).clone()
    cache, outcomes = target.new_cache(), set()
    for attempt in range(150):
        cache.roll_back(0)
        target.give_up(is_wanted=False)
        timer = threading.Timer(0.00004 * (attempt % 50), target.give_up, kwargs={"is_wanted": True})
        timer.start()
        try:
            target.prefill(ids, cache)
            outcomes.add(True)
            assert torch.equal(target.step([5, 6, 7], cache), expected)
        except PassGivenUp:
            outcomes.add(False)
            assert not len(cache)
        timer.join()
    assert False in outcomes


def test_a_prompt_goes_on_where_it_was_given_up(target: Any, rng: random.Random) -> None:
    ids = prompt(target, rng, 3 * NUM_TOKENS + 1)
    cache, lengths = target.new_cache(), []
    for number, _ in enumerate(read_prompt(target, cache, ids)):
        lengths.append(len(cache))
        target.give_up(is_wanted=number in (0, 1, 3))
    assert lengths[:6] == [64, 64, 64, 128, 128, 192]
    cold = target.new_cache()
    for _ in read_prompt(target, cold, ids):
        pass
    assert torch.equal(target.step(ids[-1:], cache).clone(), target.step(ids[-1:], cold))


class Engine:
    """A worker that serves in this thread, and what happens when a prompt's passes begin."""

    def __init__(self, models: ModelSet, monkeypatch: pytest.MonkeyPatch) -> None:
        self.models, self.mailbox = models, Mailbox()
        self.worker = Worker(
            models, SessionPool(models, max_sessions=4, budget_bytes=1 << 40), EngineState(), max_running=3
        )
        self.passes: list[tuple[int, bool]] = []
        self.at_pass: dict[int, Callable[[], None]] = {}
        inner = models.target.prefill

        def prefill(ids: list[int], cache: Any) -> None:
            self.at_pass.pop(len(self.passes), lambda: None)()
            self.passes.append((len(ids), False))
            inner(ids, cache)
            self.passes[-1] = (len(ids), True)

        monkeypatch.setattr(models.target, "prefill", prefill)

    def job(self, text: str, **options: Any) -> tuple[Job, list[Event]]:
        events: list[Event] = []
        asked = CompletionRequest(prompt=text, max_tokens=6, tabcast=CompletionOptions(heal=False, **options))
        return Job(asked, events.append), events

    def serve(self, *jobs: Job) -> None:
        """Serve these and what comes meanwhile, until nothing is left."""
        for job in jobs:
            self.mailbox.put(job)
        self.worker._turn = self.mailbox.turn
        while True:
            arrived = self.mailbox.take(wait=False)
            if not arrived and not self.worker.num_jobs:
                return
            self.worker.turn([job for job in arrived if job is not None])


@pytest.fixture
def engine(llama: ModelSet, target: Any, monkeypatch: pytest.MonkeyPatch) -> Engine:
    return Engine(llama, monkeypatch)


def answer(events: list[Event]) -> tuple[int, ...]:
    return next(event.stats.token_ids for event in events if isinstance(event, ChoiceDone))


def cold(models: ModelSet, job: Job) -> tuple[int, ...]:
    *_, last = complete(models, Session(models), job.request, prompt_tokens(models, job.request))
    assert last.stats is not None
    return last.stats.token_ids


def test_a_key_cuts_the_reading_of_idle_work_and_both_are_done(engine: Engine) -> None:
    idle, idle_events = engine.job(TEXT, session="a", prepare="trunk")
    key, key_events = engine.job("def other(): " + TEXT, session="b")
    engine.at_pass[1] = lambda: engine.mailbox.put(key)
    engine.serve(idle)
    assert [is_done for _, is_done in engine.passes][:3] == [True, False, True]
    assert answer(key_events) == cold(engine.models, key)
    assert [event.stats.reason for event in idle_events if isinstance(event, ChoiceDone)] == ["prepared"]
    again, events = engine.job(TEXT + "x = ", session="a")
    engine.serve(again)
    assert answer(events) == cold(engine.models, again)


def test_a_request_that_nobody_waits_for_is_cut_and_the_next_answer_is_the_cold_one(engine: Engine) -> None:
    gone, events = engine.job(TEXT, session="a")
    engine.at_pass[1] = lambda: engine.mailbox.cancel(gone)
    engine.serve(gone)
    assert [is_done for _, is_done in engine.passes] == [True, False]
    assert not events
    again, events = engine.job(TEXT + "y = ", session="a")
    engine.serve(again)
    assert answer(events) == cold(engine.models, again)


def test_requests_that_are_cancelled_one_after_the_other_still_read_on(engine: Engine) -> None:
    for _ in range(4):
        gone, _ = engine.job(TEXT * 4, session="a")
        engine.at_pass[len(engine.passes)] = lambda gone=gone: engine.mailbox.cancel(gone)
        engine.serve(gone)
    assert [is_done for _, is_done in engine.passes] == [False, True, False, True]


def test_a_request_is_not_cut_for_another_ones(engine: Engine) -> None:
    first, first_events = engine.job(TEXT, session="a")
    second, second_events = engine.job("def other(): " + TEXT, session="b")
    engine.at_pass[1] = lambda: engine.mailbox.put(second)
    engine.serve(first)
    assert all(is_done for _, is_done in engine.passes)
    assert answer(first_events) == cold(engine.models, first)
    assert answer(second_events) == cold(engine.models, second)


def test_what_arrives_between_two_turns_cuts_the_next_one_of_idle_work(engine: Engine) -> None:
    idle, _ = engine.job(TEXT, session="a", prepare="trunk")
    key, _ = engine.job(TEXT, session="b")
    wanted: list[bool] = []
    turn = engine.mailbox.turn
    engine.mailbox.put(key)
    for job in (idle, idle, key):
        with turn.of(job, lambda *, is_wanted: wanted.append(is_wanted)):
            pass
    assert wanted == [False, True, False, False]
    with turn.of(key, lambda *, is_wanted: wanted.append(is_wanted)):
        engine.mailbox.put(None)
    assert wanted[4:] == [False, True]
