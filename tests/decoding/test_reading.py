"""How much of a prompt is read before an answer, and what is read ahead: jumps never change what the model writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding.completion.completion import HealedPrompt, complete, prompt_tokens
from decoding.completion.fitting import Fitted, fit
from decoding.completion.reading import ReadingSpeed
from decoding.completion.sessions import Session, SessionPool
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import CompletionOptions, CompletionRequest, CompletionStats
from decoding.service.jobs import ChoiceDone, Delta, EngineState, Event, Job
from decoding.service.running_job import rest_of
from decoding.service.worker import Worker

FORMS = [
    ("llama", "bfloat16"),
    ("llama", "bfloat16, torch"),
    ("qwen2", "float32"),
    ("gemma", "float32"),
    ("mamba", "float32"),
]
LINES = tuple(f"value_{i} = compute({i}, other_{i % 7})\n" for i in range(24))


def cold(models: ModelSet, request: CompletionRequest, prompt: HealedPrompt | None = None) -> tuple[int, ...]:
    *_, last = complete(models, Session(models), request, prompt or prompt_tokens(models, request))
    assert last.stats is not None
    return last.stats.token_ids


class Client:
    """Lets a worker do its turns, and keeps what it says."""

    def __init__(self, models: ModelSet, pool: SessionPool) -> None:
        self.worker = Worker(models, pool, EngineState(), max_running=2)

    def job(self, request: CompletionRequest) -> tuple[Job, list[Event]]:
        events: list[Event] = []
        return Job(request, events.append), events

    def ask(self, request: CompletionRequest) -> CompletionStats:
        job, events = self.job(request)
        self.worker.turn([job])
        while not any(isinstance(event, ChoiceDone) for event in events):
            self.worker.turn([])
        return next(event.stats for event in events if isinstance(event, ChoiceDone))

    def ask_noting(self, request: CompletionRequest) -> tuple[CompletionStats, HealedPrompt]:
        """Return also the prompt that was read, which depends on what the caches hold at its start."""
        prompts: list[HealedPrompt] = []

        def noted(models: ModelSet, asked: CompletionRequest, *more: Any) -> Fitted:
            fitted = fit(models, asked, *more)
            if asked is request:
                prompts.append(fitted.prompt)
            return fitted

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("decoding.service.running_job.fit", noted)
            return self.ask(request), prompts[0]

    def settle(self) -> None:
        while self.worker.num_jobs:
            self.worker.turn([])


def at(lines: list[str], line: int, head: str = "", **options: object) -> CompletionRequest:
    return CompletionRequest(
        prompt="".join(lines[:line]) + head,
        suffix="\n" + "".join(lines[line:]),
        max_tokens=4,
        tabcast=CompletionOptions(session="a.py", path="a.py", heal=False, **options),  # type: ignore[arg-type]
    )


def trunk(lines: list[str]) -> CompletionRequest:
    options = CompletionOptions(session="a.py", path="a.py", prepare="trunk")
    return CompletionRequest(prompt="".join(lines), tabcast=options)


@pytest.mark.parametrize(("family", "form"), FORMS)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_jumps_edits_and_evictions_change_no_answer(
    pairs: dict[tuple[str, str], ModelSet], family: str, form: str, data: st.DataObject
) -> None:
    """Warm equals cold, token for token, whatever was read ahead, broken off, copied or thrown away before."""
    models = pairs[family, form]
    num_bytes = data.draw(st.sampled_from([0, 3, 99])) * Session(models).num_bytes
    pool = SessionPool(models, max_sessions=data.draw(st.sampled_from([1, 2, 5])), budget_bytes=num_bytes)
    client, lines = Client(models, pool), list(LINES)
    client.worker._speed.token_ms = 1.0
    client.worker._speed.learn = lambda *_: None  # type: ignore[method-assign]
    for _ in range(data.draw(st.integers(2, 7))):
        line = data.draw(st.integers(0, len(lines)))
        what = data.draw(st.sampled_from(["jump", "edit", "trunk", "window", "place", "hurry", "hurry", "cancel"]))
        if what == "edit":
            lines[line:line] = ["edited = 1\n"] * data.draw(st.integers(1, 2))
        elif what in ("trunk", "window"):
            client.worker.turn([client.job(trunk(lines if what == "trunk" else lines[line:]))[0]])
        elif what == "cancel":
            job, _ = client.job(at(lines, line))
            client.worker.turn([job])
            job.is_cancelled = True
        elif what == "place":
            client.worker.turn([client.job(at(lines, line, prepare="place"))[0]])
        for _ in range(data.draw(st.sampled_from([0, 1, 3, 50]))):
            client.worker.turn([])
        if what in ("jump", "hurry"):
            limit_ms = data.draw(st.sampled_from([1, 60, 300]))
            hurry = {"latency_ms": limit_ms, "least_prefix": 40, "least_suffix": 30} if what == "hurry" else {}
            request = at(lines, line, data.draw(st.sampled_from(["", "va"])), **hurry)
            answer, prompt = client.ask_noting(request)
            assert answer.token_ids == cold(models, request, prompt)
    client.settle()
    assert len(pool) <= pool._max_sessions
    assert len(pool) == 1 or pool.num_bytes <= num_bytes


def test_a_jump_reads_the_suffix_and_the_line_once_the_trunk_was_read(llama: ModelSet) -> None:
    client = Client(llama, SessionPool(llama, max_sessions=9, budget_bytes=1 << 40))
    lines = list(LINES[:7])
    client.worker.turn([client.job(trunk(lines))[0]])
    client.settle()
    for line in (6, 3, 5):
        stats = client.ask(at(lines, line))
        prefix = len(prompt_tokens(llama, replace(at(lines, line), suffix="")).ids)
        assert stats.cached_tokens >= prefix - 4  # but for the special tokens behind it
    client.worker.turn([client.job(at(lines, 4, prepare="place"))[0]])
    client.settle()
    stats = client.ask(at(lines, 4, "v"))
    assert stats.prompt_tokens - stats.cached_tokens <= 4


def test_what_a_request_left_out_ends_no_place_that_the_cursor_has_reached_since(
    llama: ModelSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(llama, SessionPool(llama, max_sessions=9, budget_bytes=1 << 40))
    monkeypatch.setattr(client.worker._speed, "learn", lambda *_: None)
    client.worker._speed.token_ms = 1.0
    lines = list(LINES[:7])
    key, _ = client.job(at(lines, 5, latency_ms=60, least_prefix=40, least_suffix=30))
    place, events = client.job(at(lines, 2, prepare="place"))
    client.worker.turn([key, place])  # both came during one pass
    client.settle()
    assert [event.stats.reason for event in events if isinstance(event, ChoiceDone)] == ["prepared"]


def test_a_place_ends_what_is_left_of_an_older_place_and_that_ends_no_place(llama: ModelSet) -> None:
    client = Client(llama, SessionPool(llama, max_sessions=9, budget_bytes=1 << 40))
    requests = (at(list(LINES), 5, prepare="place"), at(list(LINES), 5), trunk(list(LINES)))
    place, key, below = (client.job(request)[0] for request in requests)
    rest = rest_of(key)
    assert all(job.supersedes(rest) for job in (place, key, rest_of(place)))
    assert not any(rest.supersedes(job) for job in (place, key, below))
    assert place.is_more_urgent(rest)
    assert rest.is_more_urgent(below)
    assert not below.supersedes(rest)


def test_idle_work_is_superseded_at_once_and_reads_little_at_a_time(
    llama: ModelSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(llama, SessionPool(llama, max_sessions=9, budget_bytes=1 << 40))
    client.worker._speed.token_ms = 1e3  # a slow model
    read: list[int] = []
    inner = llama.target.prefill
    monkeypatch.setattr(llama.target, "prefill", lambda ids, cache: (read.append(len(ids)), inner(ids, cache))[1])
    job, events = client.job(trunk(list(LINES)))
    place, place_events = client.job(at(list(LINES), 20, prepare="place"))
    client.worker.turn([job, place])
    client.worker.turn([])
    assert read == [8]
    key, key_events = client.job(at(list(LINES), 4))
    client.worker.turn([key])
    client.worker.turn([])
    assert place.is_superseded
    assert not job.is_superseded  # its document is the same, and it only waits
    while not any(isinstance(event, ChoiceDone) for event in key_events):
        client.worker.turn([])
    assert not events
    assert [event.stats.reason for event in place_events if isinstance(event, ChoiceDone)] == ["superseded"]
    client.worker._speed.token_ms = 0.01
    client.settle()
    assert [event.stats.reason for event in events if isinstance(event, ChoiceDone)] == ["prepared"]
    assert not any(isinstance(event, Delta) for event in events)


def test_the_speed_of_reading_is_measured(llama: ModelSet) -> None:
    speed = ReadingSpeed(replace(llama, step_ms={1: 10.0, 16: 32.0}))
    assert speed.token_ms == 2.0
    assert speed.idle_width == 10
    speed.learn(1, 500.0)  # a pass over one token says nothing of many
    assert speed.token_ms == 2.0
    for _ in range(99):
        speed.learn(64, 64.0)
    assert speed.token_ms == pytest.approx(1.0)
    speed.token_ms = 1e-4
    assert speed.idle_width == llama.target.prefill_width


def test_a_slow_model_reads_a_request_in_passes_that_end_soon_where_that_takes_no_longer(
    llama: ModelSet, torch_llama: ModelSet
) -> None:
    twice_as_long = replace(llama, step_ms={1: 50.0, 8: 100.0, 16: 190.0})
    speed = ReadingSpeed(twice_as_long)
    speed.learn(64, 64 * 5.0)
    assert speed.request_width == 8
    speed.token_ms = 1.0
    assert speed.request_width == 40
    speed.token_ms = 0.01
    assert speed.request_width == llama.target.prefill_width
    hardly_longer = ReadingSpeed(replace(llama, step_ms={1: 100.0, 8: 110.0, 16: 120.0}))
    assert hardly_longer.request_width == llama.target.prefill_width
    in_chunks = ReadingSpeed(replace(torch_llama, step_ms=twice_as_long.step_ms))
    assert in_chunks.request_width == torch_llama.target.prefill_width


def test_a_request_that_nobody_waits_for_ends_within_a_narrow_pass(
    llama: ModelSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = replace(llama, step_ms={1: 50.0, 8: 100.0, 16: 190.0})
    client = Client(models, SessionPool(models, max_sessions=9, budget_bytes=1 << 40))
    monkeypatch.setattr(client.worker._speed, "learn", lambda *_: None)
    read: list[int] = []
    inner = llama.target.prefill
    monkeypatch.setattr(llama.target, "prefill", lambda ids, cache: (read.append(len(ids)), inner(ids, cache))[1])
    job, events = client.job(at(list(LINES), 12))
    client.worker.turn([job])
    job.is_cancelled = True
    client.worker.turn([])
    assert read == [8]
    assert not client.worker.num_jobs
    assert not events
    request = at(list(LINES), 13)
    answer = client.ask(request)
    assert max(read) == 8
    assert answer.token_ids == cold(llama, request)


def test_the_draft_model_reads_no_prompt_before_the_first_token(
    llama: ModelSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def watched(name: str) -> Iterator[None]:
        inner = getattr(llama.target if name == "step" else llama.draft, name)
        monkeypatch.setattr(
            llama.target if name == "step" else llama.draft,
            name,
            lambda *args, **more: (calls.append(name), inner(*args, **more))[1],
        )
        yield

    assert llama.draft is not None
    for name in ("step", "advance", "draft_ahead"):
        next(watched(name))
    models = replace(llama, method="draft", step_ms=dict.fromkeys(range(1, 17), 1e4))  # reading always pays
    request = CompletionRequest(prompt="".join(LINES[:9]), max_tokens=12, tabcast=CompletionOptions(heal=False))
    list(complete(models, Session(models), request, prompt_tokens(models, request)))
    assert calls[0] == "step"
    assert set(calls) > {"step"}
