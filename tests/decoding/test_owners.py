"""Several people on one engine: what one of them sent shows in nobody else's answer or its time, and all get turns."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from decoding.completion import owners
from decoding.completion.owners import Owners
from decoding.completion.sessions import SessionPool
from decoding.drafters.registry import LIVE_TEXT
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import CompletionOptions, CompletionRequest
from decoding.service.jobs import EngineState, Job, Mailbox
from decoding.service.turns import Circle
from decoding.service.worker import MAX_WAITING, Worker
from tests.decoding.test_worker import Asked, Client

PROMPT = "def area(width, height):\n" + "    # the sides of a rectangle, in metres\n" * 12 + "    return "


@dataclass
class Running:
    """A job that is computed by nobody."""

    job: Job


def job(owner: str, session: str = "") -> Job:
    request = CompletionRequest(prompt="x", tabcast=CompletionOptions(session=session))
    return Job(request, lambda _: None, owner)


@pytest.fixture
def pool(llama: ModelSet) -> SessionPool:
    return SessionPool(llama, max_sessions=3, budget_bytes=1 << 30)


@pytest.fixture
def worker(llama: ModelSet, pool: SessionPool) -> Worker:
    return Worker(llama, pool, EngineState(), max_running=2)


@pytest.fixture
def client(worker: Worker) -> Iterator[Client]:
    mailbox = Mailbox()
    thread = threading.Thread(target=worker.serve, args=(mailbox,), name="compute")
    thread.start()
    yield Client(mailbox)
    mailbox.put(None)
    thread.join(60)
    assert not thread.is_alive()


def ask(client: Client, owner: str, prompt: str = PROMPT, **fields: Any) -> Asked:
    asked = client.hold(prompt, **fields)
    asked.job.owner = owner
    client.release(asked)
    return asked


def test_nobody_else_is_served_from_somebodys_cache(client: Client) -> None:
    first = ask(client, "anna").wait()
    again = ask(client, "anna").wait()
    other = ask(client, "berta").wait()
    assert again.stats.cached_tokens > 0
    assert first.stats.cached_tokens == other.stats.cached_tokens == 0
    assert first.text == again.text == other.text


def test_a_cache_that_is_full_is_not_handed_on(client: Client) -> None:
    """Here three sessions fit: a fourth person's takes the place of another's, and begins with nothing."""
    texts = set()
    for owner in ("anna", "berta", "clara", "doris", "emily"):
        asked = ask(client, owner, tabcast=CompletionOptions(session="a.py")).wait()
        assert asked.stats.cached_tokens == 0
        texts.add(asked.text)
    assert len(texts) == 1


def test_the_one_with_the_most_caches_gives_one_up(llama: ModelSet) -> None:
    pool = SessionPool(llama, max_sessions=3, budget_bytes=1 << 30)
    berta = pool.lease("b.py", [1, 2, 3], owner="berta")
    pool.give_back(berta)
    for number, document in enumerate(("a.py", "b.py", "c.py", "d.py")):
        pool.give_back(pool.lease(document, [10 + number] * 100, owner="anna"))
    assert pool.lease("b.py", [1, 2, 3], owner="berta") is berta


def test_what_drafters_learn_stays_with_the_owner(pool: SessionPool) -> None:
    found = {}
    for owner in ("anna", "berta"):
        session = pool.lease("a.py", [1, 2, 3], owner=owner)
        session.drafters("suffix")
        found[owner] = session._state.texts[LIVE_TEXT]
        pool.give_back(session)
    assert found["anna"] is not found["berta"]
    assert pool.lease("b.py", [5], owner="anna")._state.texts[LIVE_TEXT] is found["anna"]


def test_the_tokens_of_texts_are_remembered_for_each_owner(llama: ModelSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners, "MAX_OWNERS", 2)
    known = Owners(llama)
    anna, berta = known.of("anna"), known.of("berta")
    assert len({id(models._encoded) for models in (llama, anna.models, berta.models)}) == 3
    assert known.of("anna") is anna
    assert known.of("").models is llama
    assert known.of("anna") is anna
    assert known.of("berta") is not berta  # the least recently used went


def test_a_newer_request_supersedes_those_of_its_owner_alone() -> None:
    older = job("anna", "a.py")
    assert job("anna", "a.py").supersedes(older)
    assert not job("berta", "a.py").supersedes(older)
    assert not job("anna", "b.py").supersedes(older)


def test_nothing_that_a_team_sends_is_kept_on_disk() -> None:
    options = CompletionOptions(prepare="trunk", keep=True)
    request = CompletionRequest(prompt="x", tabcast=options)
    assert Job(request, lambda _: None).may_be_kept
    assert not Job(request, lambda _: None, "anna").may_be_kept


def test_turns_go_to_whoever_has_used_least() -> None:
    circle: Circle[Running] = Circle()
    for owner in ("anna", "anna", "anna", "berta"):
        circle.append(Running(job(owner)))
    order = []
    for _ in range(40):
        running = circle.pop_next()
        order.append(running)
        circle.charge(running.job.owner, 4.0 if running.job.owner == "anna" else 1.0)
        circle.append(running)
    owners_of = [running.job.owner for running in order]
    assert owners_of.count("anna") == 8
    assert len({id(running) for running in order if running.job.owner == "anna"}) == 3


def test_time_is_neither_saved_up_nor_forgotten() -> None:
    circle: Circle[Running] = Circle()
    anna, berta = Running(job("anna")), Running(job("berta"))
    circle.append(anna)
    for _ in range(10):
        circle.append(circle.pop_next())
        circle.charge("anna", 1.0)
    circle.append(berta)  # it comes late, and has no ten turns before anna
    order = []
    for _ in range(6):
        running = circle.pop_next()
        order.append(running.job.owner)
        circle.charge(running.job.owner, 1.0)
        circle.append(running)
    assert order.count("anna") >= 2
    long = circle.pop_next()
    circle.charge(long.job.owner, 50.0)  # it ends with a long turn; its next request waits for the other's turns
    circle.append(Running(job(long.job.owner)))
    nexts = []
    for _ in range(3):
        nexts.append(circle.pop_next())
        circle.charge(nexts[-1].job.owner, 1.0)
        circle.append(nexts[-1])
    assert long.job.owner not in {running.job.owner for running in nexts}


def test_whoever_has_nothing_running_begins_at_once() -> None:
    circle: Circle[Running] = Circle()
    circle.append(Running(job("anna")))
    circle.append(Running(job("anna")))
    waiting = [job("anna"), job("anna"), job("berta")]
    assert circle.next_to_start(waiting, 2) is waiting[2]
    circle.append(Running(waiting.pop()))
    assert circle.next_to_start(waiting, 2) is None
    assert circle.next_to_start(waiting, 9) is waiting[0]
    assert circle.next_to_start([], 9) is None


def test_many_long_requests_of_one_do_not_hold_up_another(client: Client) -> None:
    started = threading.Event()
    long = [
        client.hold(PROMPT + "x" * number, on_event=lambda _: started.wait(30), max_tokens=150, n=16, temperature=1.0)
        for number in range(6)
    ]
    for asked in long:
        asked.job.owner = "anna"
        client.release(asked)
    short = client.hold(PROMPT, max_tokens=3)
    short.job.owner = "berta"
    client.release(short)
    started.set()
    short.wait()
    assert not any(asked.done.is_set() for asked in long)
    for asked in long:
        asked.job.is_cancelled = True


def test_too_many_waiting_requests_push_out_their_own_kind(worker: Worker) -> None:
    """The queue's bound is each owner's: nobody's waiting request is dropped for another's."""
    mine = job("berta")
    crowd = [job("anna") for _ in range(MAX_WAITING + 6)]
    worker.turn([mine, *crowd])
    assert not mine.is_dropped
    assert sum(waiting.is_dropped for waiting in crowd) == 6
