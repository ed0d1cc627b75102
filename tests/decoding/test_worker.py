"""The compute thread: turns, flags, failures, sessions."""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from decoding.completion.completion import Chunk, HealedPrompt, complete, prompt_tokens
from decoding.completion.sessions import Session, SessionPool
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import CompletionOptions, CompletionRequest, CompletionStats, ScoredToken
from decoding.service.jobs import ChoiceDone, Delta, EngineState, Event, Job, JobDone, Mailbox
from decoding.service.running_job import RunningJob
from decoding.service.worker import MAX_WAITING, MAX_WAITING_IDLE, Worker


class Client:
    """Sends jobs and keeps what comes back."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    def ask(self, prompt: str, *, on_event: Callable[[Event], None] = lambda _: None, **fields: Any) -> Asked:
        asked = self.hold(prompt, on_event=on_event, **fields)
        self.release(asked)
        return asked

    def release(self, asked: Asked) -> None:
        self._mailbox.put(asked.job)

    def hold(self, prompt: str, *, on_event: Callable[[Event], None] = lambda _: None, **fields: Any) -> Asked:
        asked = Asked()

        def deliver(event: Event) -> None:
            asked.events.append(event)
            on_event(event)
            if isinstance(event, JobDone):
                asked.done.set()

        asked.job = Job(CompletionRequest(prompt=prompt, **{"max_tokens": 20, **fields}), deliver)
        return asked


class Asked:
    """One job and its events."""

    job: Job

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.done = threading.Event()

    def wait(self) -> Asked:
        assert self.done.wait(30)
        return self

    @property
    def stats(self) -> CompletionStats:
        return next(event.stats for event in self.events if isinstance(event, ChoiceDone))

    @property
    def error(self) -> str:
        last = self.events[-1]
        return last.error if isinstance(last, JobDone) else ""

    @property
    def texts(self) -> dict[int, str]:
        found: dict[int, str] = {}
        for event in self.events:
            if isinstance(event, Delta):
                found[event.choice] = found.get(event.choice, "") + event.text
        return found

    @property
    def tokens(self) -> dict[int, tuple[ScoredToken, ...]]:
        found: dict[int, tuple[ScoredToken, ...]] = {}
        for event in self.events:
            if isinstance(event, Delta):
                found[event.choice] = found.get(event.choice, ()) + event.tokens
        return found

    @property
    def reasons(self) -> list[str]:
        return [event.stats.reason for event in self.events if isinstance(event, ChoiceDone)]

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Delta))


@pytest.fixture
def state() -> EngineState:
    return EngineState()


@pytest.fixture
def worker(llama: ModelSet, state: EngineState) -> Worker:
    return Worker(llama, SessionPool(llama, max_sessions=3, budget_bytes=1 << 30), state, max_running=3)


@pytest.fixture
def client(worker: Worker) -> Iterator[Client]:
    mailbox = Mailbox()
    thread = threading.Thread(target=worker.serve, args=(mailbox,), name="compute")
    thread.start()
    yield Client(mailbox)
    mailbox.put(None)
    thread.join(60)
    assert not thread.is_alive()


def test_one_thread_computes_and_a_turn_is_one_pass(
    llama: ModelSet, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two long requests at once: the passes of the target alternate between them, and all are in one thread."""
    passes: list[tuple[str, int]] = []
    watch_passes(llama, monkeypatch, lambda cache: passes.append((threading.current_thread().name, id(cache))))
    both_are_in = threading.Event()
    first = client.ask("a" * 200, on_event=lambda _: both_are_in.wait(60), max_tokens=40)
    second = client.ask("b" * 200, max_tokens=40)
    both_are_in.set()
    first.wait()
    second.wait()
    assert {thread for thread, _ in passes} == {"compute"}
    caches = [cache for _, cache in passes]
    alone = caches.index(next(cache for cache in caches if cache != caches[0]))
    shared = caches[alone : len(caches) - 1 - caches[::-1].index(caches[0])]
    assert len(shared) > 4
    assert all(a != b for a, b in itertools.pairwise(shared))


def watch_passes(models: ModelSet, monkeypatch: pytest.MonkeyPatch, on_pass: Callable[[Any], None]) -> None:
    """Call before each pass of the target, with its cache."""
    for name, inner in (("step", models.target.step), ("prefill", models.target.prefill)):

        def watched(token_ids: list[int], cache: Any, compute: Any = inner) -> Any:
            on_pass(cache)
            return compute(token_ids, cache)

        monkeypatch.setattr(models.target, name, watched)


def test_a_cancelled_job_says_nothing_more(client: Client, state: EngineState) -> None:
    asked = client.ask("x = ", max_tokens=200, on_event=lambda _: setattr(asked.job, "is_cancelled", True))
    client.ask("y = ").wait()
    assert len(asked.events) == 1
    assert state.counters()["requests_cancelled_total"] == 1


def test_what_is_read_of_a_prompt_is_counted_also_if_its_stream_is_closed(client: Client, state: EngineState) -> None:
    asked = client.hold("x = " * 60, max_tokens=200, on_event=lambda _: setattr(asked.job, "is_cancelled", True))
    client.release(asked)
    stats = [event.stats for event in client.ask("y = " * 60).wait().events if isinstance(event, ChoiceDone)]
    counted = state.counters()
    assert counted["requests_cancelled_total"] == 1
    assert counted["choices_total"] == 1
    assert counted["prefilled_tokens_total"] > stats[0].prompt_tokens > stats[0].cached_tokens == 0


def test_superseded_jobs_end_in_order_and_others_go_on(client: Client) -> None:
    options = CompletionOptions(session="a.py")
    blocked = threading.Event()
    other = client.ask("y = ", max_tokens=30, on_event=lambda _: blocked.wait(60))
    older = [client.ask("x" * i, tabcast=options, max_tokens=200) for i in range(1, 4)]
    newest = client.ask("x = 1", tabcast=options)
    blocked.set()
    assert [asked.wait().reasons for asked in older] == [["superseded"]] * 3
    assert newest.wait().reasons != ["superseded"]
    assert other.wait().reasons != ["superseded"]


def test_a_failure_harms_only_its_own_request(
    llama: ModelSet, client: Client, state: EngineState, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = client.ask("import os\n").wait()
    step = llama.target.step
    monkeypatch.setattr(llama.target, "step", lambda *_: 1 / 0)
    failed = client.ask("import os\n").wait()
    monkeypatch.setattr(llama.target, "step", step)
    assert isinstance(failed.events[-1], JobDone)
    assert failed.events[-1].error == "the engine failed: its log tells why"
    assert client.ask("import os\n").wait().text == healthy.text
    assert state.counters()["requests_failed_total"] == 1


def test_sessions_are_bounded_and_the_next_request_of_a_document_finds_its_own(worker: Worker, client: Client) -> None:
    for i in range(12):
        client.ask(f"document_{i} = " * 20).wait()
    assert len(worker._pool) == 3
    warm = client.ask("document_11 = " * 20 + "1").wait()
    cold = client.ask("something else entirely " * 10).wait()
    cached = [asked.stats.cached_tokens for asked in (warm, cold)]
    assert cached[0] > 64
    assert cached[1] < 64


def test_a_stream_that_its_client_closes_leaves_a_warm_cache(
    llama: ModelSet, client: Client, state: EngineState
) -> None:
    """The next key of that document reads only what was typed, and goes on as a cold run would."""
    prompt = "def area(width, height):\n    return width\n" * 4
    options = CompletionOptions(session="a.py")
    gone = client.hold(
        prompt, tabcast=options, max_tokens=200, on_event=lambda _: setattr(gone.job, "is_cancelled", True)
    )
    client.release(gone)
    wait_until(lambda: state.counters().get("requests_cancelled_total") == 1)
    asked = client.ask(prompt + "wid", tabcast=options).wait()
    assert asked.stats.prompt_tokens - asked.stats.cached_tokens <= llama.target.capabilities.step_width
    request = asked.job.request
    pieces = list(complete(llama, Session(llama), request, prompt_tokens(llama, request)))
    assert "".join(piece.text for piece in pieces) == asked.text


def wait_until(is_so: Callable[[], bool]) -> None:
    for _ in range(6000):
        if is_so():
            return
        time.sleep(0.005)
    raise AssertionError("never so")


def test_cancellation_is_seen_within_one_pass(
    llama: ModelSet, client: Client, state: EngineState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set in the midst of the n-th pass of the target, it is the last: chunks while reading as well as steps."""
    passes = 0
    asked: Asked

    def on_pass(_: Any) -> None:
        nonlocal passes
        passes += 1
        if passes == last:
            asked.job.is_cancelled = True

    watch_passes(llama, monkeypatch, on_pass)
    for last in (1, 2, 7):
        passes = 0
        asked = client.hold("z" * 150 + str(last), max_tokens=100, tabcast=CompletionOptions(method="plain"))
        client.release(asked)
        wait_until(lambda: state.counters().get("requests_cancelled_total", 0) == 1)
        assert passes == last
        state.count("requests_cancelled_total", -1)


def test_turns_are_fair(llama: ModelSet, state: EngineState) -> None:
    """Of three that decode at once, none is ever a turn ahead of another."""
    worker = Worker(llama, SessionPool(llama, max_sessions=3, budget_bytes=1 << 30), state, max_running=3)
    turns: dict[str, int] = {}
    order: list[str] = []

    class Counted(RunningJob):
        def take_turn(self, state: EngineState) -> bool:
            name = self.job.request.prompt[0]
            order.append(name)
            turns[name] = turns.get(name, 0) + 1
            assert max(turns.values()) - min(turns.values()) <= 1 or len(turns) < 3
            return super().take_turn(state)

    mailbox = Mailbox()
    jobs = [Job(CompletionRequest(prompt=name * 30, max_tokens=12, seed=1), lambda _: None) for name in "abc"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("decoding.service.worker.RunningJob", Counted)
        for job in jobs:
            mailbox.put(job)
        mailbox.put(None)
        run_until_empty(worker, mailbox)
    assert set(order[:3]) == {"a", "b", "c"}
    assert all(set(order[i : i + 3]) == {"a", "b", "c"} for i in range(0, 27, 3))


def run_until_empty(worker: Worker, mailbox: Mailbox) -> None:
    """Serve what is in the mailbox to its end, in this thread."""
    jobs = [job for job in mailbox.take(wait=False) if job is not None]
    for job in jobs:
        mailbox.put(job)
    jobs[-1].deliver = ending(jobs, mailbox, jobs[-1].deliver)
    for job in jobs[:-1]:
        job.deliver = ending(jobs, mailbox, job.deliver)
    worker.serve(mailbox)


def ending(jobs: list[Job], mailbox: Mailbox, deliver: Callable[[Event], None]) -> Callable[[Event], None]:
    """Ends the worker once all jobs are done."""

    def wrapped(event: Event) -> None:
        deliver(event)
        if isinstance(event, JobDone):
            jobs.pop()
            if not jobs:
                mailbox.put(None)

    return wrapped


def test_idle_work_waits_for_keys_yields_to_them_and_is_dropped_first(client: Client, state: EngineState) -> None:
    blocked, seen = threading.Event(), list[str]()
    started = threading.Event()

    def idle(name: str) -> CompletionOptions:
        return CompletionOptions(session=name, priority="idle")

    def watch(name: str) -> Callable[[Event], None]:
        def on_event(_: Event) -> None:
            seen.append(name)
            started.set()
            blocked.wait(60)

        return on_event

    first = client.ask("a = ", max_tokens=60, tabcast=idle("a.py"), on_event=watch("idle"))
    assert started.wait(60)
    key = client.ask("b = ", max_tokens=30, tabcast=CompletionOptions(session="b.py"), on_event=watch("key"))
    others = [client.ask("c = ", tabcast=idle(f"{i}.py")) for i in range(MAX_WAITING_IDLE + 2)]
    blocked.set()
    key.wait()
    first.wait()
    once = seen.index("key")
    assert "idle" not in seen[once : len(seen) - 1 - seen[::-1].index("key")]
    assert first.reasons not in (["dropped"], ["superseded"])
    assert [asked.wait().reasons for asked in others[:2]] == [["dropped"]] * 2
    assert all(asked.wait().reasons != ["dropped"] for asked in others[2:])
    assert state.counters()["requests_dropped_total"] == 2


def test_a_key_takes_over_its_documents_idle_work_and_never_the_other_way(client: Client) -> None:
    blocked, started = threading.Event(), threading.Event()
    prompt = "value = compute(first, second)\n" * 6

    def on_event(_: Event) -> None:
        started.set()
        blocked.wait(60)

    ahead = CompletionOptions(session="a.py", priority="idle")
    idle = client.ask(prompt, max_tokens=100, tabcast=ahead, on_event=on_event)
    assert started.wait(60)
    key = client.ask(prompt + "v", tabcast=CompletionOptions(session="a.py"))
    later = client.ask(prompt, max_tokens=5, tabcast=ahead)
    blocked.set()
    assert idle.wait().reasons == ["superseded"]
    assert key.wait().reasons != ["superseded"]
    assert key.stats.cached_tokens > 50
    assert later.wait().reasons != ["superseded"]


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory")]
)
@pytest.mark.parametrize("after", [0, 1, 9])
def test_out_of_memory_is_tried_again_once_without_saying_anything_twice(
    llama: ModelSet, client: Client, state: EngineState, monkeypatch: pytest.MonkeyPatch, error: Exception, after: int
) -> None:
    fields: dict[str, Any] = {"max_tokens": 30, "temperature": 1.0, "n": 2}
    fields["tabcast"] = CompletionOptions(confidence=True)
    expected = client.ask("while True:", seed=7, **fields).wait()
    step, num_steps = llama.target.step, 0

    def short(token_ids: list[int], cache: Any) -> torch.Tensor:
        nonlocal num_steps
        num_steps += 1
        if num_steps == after + 1:
            raise error
        return step(token_ids, cache)

    monkeypatch.setattr(llama.target, "step", short)
    asked = client.ask("while True:", seed=7, **fields).wait()
    assert asked.texts == expected.texts
    assert asked.tokens == expected.tokens
    assert asked.reasons == expected.reasons
    assert state.counters()["out_of_memory_total"] == 1
    num_steps = -(10**6)
    monkeypatch.setattr(llama.target, "step", lambda *_: (_ for _ in ()).throw(error))
    failed = client.ask("while False:", **fields).wait()
    assert failed.events[-1] == JobDone("the engine is out of memory")
    monkeypatch.setattr(llama.target, "step", step)
    assert client.ask("while True:", seed=7, **fields).wait().texts == expected.texts


def test_a_drafter_that_fails_and_a_request_that_cannot_be_laid_out_harm_nobody(
    client: Client, state: EngineState, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = client.ask("import os\n").wait()
    with monkeypatch.context() as patch:
        patch.setattr("decoding.completion.fitting.prompt_tokens", lambda *_: 1 / 0)
        failed = client.ask("import os\n").wait()
    assert failed.error == "the engine failed: its log tells why"
    refused = client.ask("x", max_tokens=4000).wait()
    assert "leaves no room" in refused.error
    monkeypatch.setattr("decoding.drafters.prompt_lookup.PromptLookup.propose", lambda *_: 1 / 0)
    assert client.ask("import os\n").wait().text == healthy.text
    assert state.counters()["requests_failed_total"] == 1


def test_time_and_tokens_are_counted_by_phase(client: Client, state: EngineState) -> None:
    stats = client.ask("y = " * 60, tabcast=CompletionOptions(method="auto")).wait().stats
    counted = state.counters()
    for phase in ("queue", "layout", "prefill", "decode", "draft"):
        assert counted[f"{phase}_seconds_total"] >= 0
    assert counted["prefill_seconds_total"] > 0
    assert counted["tokens_total"] == stats.tokens
    assert counted["steps_total"] == stats.steps


def test_ten_thousand_requests_leave_nothing_behind(llama: ModelSet, state: EngineState) -> None:
    """Of all kinds of ends; answers are cut short, so that it takes seconds."""
    pool = SessionPool(llama, max_sessions=4, budget_bytes=1 << 30)
    worker = Worker(llama, pool, state, max_running=4)
    rng, ended = random.Random(0), 0
    mailbox = Mailbox()

    def deliver(event: Event) -> None:
        nonlocal ended
        ended += isinstance(event, JobDone)

    stub = [(0, Chunk(text="x", num_steps=1)), (0, Chunk(stats=CompletionStats(reason="stop")))]

    def stubbed(*_: Any) -> Iterator[tuple[int, Chunk]]:
        if rng.random() < 0.1:
            raise rng.choice([ValueError, MemoryError])
        yield from stub * rng.randrange(1, 4)

    num_cancelled = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("decoding.service.running_job.complete_choices", stubbed)
        patch.setattr("decoding.completion.fitting.prompt_tokens", lambda *_: HealedPrompt([1, 2, 3], b""))
        patch.setattr("decoding.service.worker.log", logging.getLogger("silent"))
        logging.getLogger("silent").disabled = True
        for i in range(10_000):
            options = CompletionOptions(session=f"{rng.randrange(40)}.py", priority=rng.choice(["normal", "idle"]))
            job = Job(CompletionRequest(prompt="x", tabcast=options), deliver)
            job.is_cancelled = rng.random() < 0.1
            num_cancelled += job.is_cancelled
            mailbox.put(job)
            if i % 50 == 49:
                worker_step(worker, mailbox)
                assert worker.num_jobs <= 4 + MAX_WAITING + MAX_WAITING_IDLE + 50
                assert len(pool) <= 4
        while worker.num_jobs:
            worker_step(worker, mailbox)
    assert ended + num_cancelled == 10_000
    assert len(pool._leased) == 0
    assert len(worker._pool._policy._accounts) <= 3


def worker_step(worker: Worker, mailbox: Mailbox) -> None:
    """Some turns of the worker's loop."""
    for _ in range(20):
        worker.turn(mailbox.take(wait=False))


def test_a_text_to_copy_that_can_not_be_tokens_is_passed_over(client: Client) -> None:
    plain = client.ask("import os\n").wait()
    asked = client.ask("import os\n", tabcast=CompletionOptions(draft_texts=("\ud83d", "import sys\n"))).wait()
    assert asked.error == ""
    assert asked.text == plain.text


@pytest.mark.parametrize("method", ["plain", "lookup", "draft"])
@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_an_answer_has_no_number_that_is_no_token(llama: ModelSet, method: Any, temperature: float) -> None:
    options = CompletionOptions(method=method, heal=False)
    request = CompletionRequest(
        prompt="for i in range(9):\n", max_tokens=12, temperature=temperature, seed=3, tabcast=options
    )

    def answered(models: ModelSet) -> tuple[int, ...]:
        *_, last = complete(models, Session(models), request, prompt_tokens(models, request))
        assert last.stats is not None
        return last.stats.token_ids

    gaps = answered(llama)[:2]
    without = replace(llama, unused_ids=gaps)
    assert not set(gaps) & set(answered(without))
    request = replace(request, tabcast=replace(options, method="plain"))
    plain = answered(without)
    request = replace(request, tabcast=options)
    assert answered(without) == plain
