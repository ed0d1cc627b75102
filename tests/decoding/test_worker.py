"""The compute thread: turns, flags, failures, sessions."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from decoding.jobs import ChoiceDone, Delta, EngineState, Event, Job, JobDone, Mailbox
from decoding.models.pair import ModelSet
from decoding.protocol import CompletionOptions, CompletionRequest
from decoding.worker import Worker


class Client:
    """Sends jobs and keeps what comes back."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    def ask(self, prompt: str, *, on_event: Callable[[Event], None] = lambda _: None, **fields: Any) -> Asked:
        asked = Asked()

        def deliver(event: Event) -> None:
            asked.events.append(event)
            on_event(event)
            if isinstance(event, JobDone):
                asked.done.set()

        asked.job = Job(CompletionRequest(prompt=prompt, **{"max_tokens": 20, **fields}), deliver)
        self._mailbox.put(asked.job)
        return asked


class Asked:
    """One job and its events."""

    job: Job

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.done = threading.Event()

    def wait(self) -> Asked:
        assert self.done.wait(60)
        return self

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
    return Worker(llama, 3, state)


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
    forward = llama.target.forward

    def watched(token_ids: list[int], cache: Any) -> torch.Tensor:
        passes.append((threading.current_thread().name, id(cache)))
        return forward(token_ids, cache)

    monkeypatch.setattr(llama.target, "forward", watched)
    both_are_in = threading.Event()
    first = client.ask("a" * 200, on_event=lambda _: both_are_in.wait(10), max_tokens=40)
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


def test_a_cancelled_job_says_nothing_more(client: Client, state: EngineState) -> None:
    asked = client.ask("x = ", max_tokens=200, on_event=lambda _: setattr(asked.job, "is_cancelled", True))
    client.ask("y = ").wait()
    assert len(asked.events) == 1
    assert state.counters()["requests_cancelled_total"] == 1


def test_superseded_jobs_end_in_order_and_others_go_on(client: Client) -> None:
    options = CompletionOptions(session="a.py")
    blocked = threading.Event()
    other = client.ask("y = ", max_tokens=30, on_event=lambda _: blocked.wait(10))
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
    assert "ZeroDivisionError" in failed.events[-1].error
    assert client.ask("import os\n").wait().text == healthy.text
    assert state.counters()["requests_failed_total"] == 1


def test_sessions_are_bounded_and_the_next_request_of_a_document_finds_its_own(worker: Worker, client: Client) -> None:
    for i in range(12):
        client.ask(f"document_{i} = " * 20).wait()
    assert len(worker._idle) == 3
    warm = client.ask("document_11 = " * 20 + "1").wait()
    cold = client.ask("something else entirely " * 10).wait()
    cached = [next(e for e in asked.events if isinstance(e, ChoiceDone)).stats.cached_tokens for asked in (warm, cold)]
    assert cached[0] > 64
    assert cached[1] < 64
