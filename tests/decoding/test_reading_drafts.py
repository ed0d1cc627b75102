"""What a draft model reads while there is nothing else to do, so that it can be asked at once by the next request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from decoding.completion.completion import prompt_tokens
from decoding.completion.sessions import Session, SessionPool
from decoding.drafters.draft_model import FEW_TOKENS, DraftModel
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import CompletionRequest
from decoding.service.jobs import Job
from decoding.service.worker import Worker
from decoding.text.prompt_layout import before_cursor
from tests.decoding.test_reading import LINES, Client, at, cold, trunk

SLOW = {1: 30.0, 2: 30.0, 4: 31.0, 8: 40.0, 16: 80.0}
# A drafted token takes a fifth of a step, or twice as long as one.
QUICK, USELESS = {1: 6.0, 64: 64.0}, {1: 60.0, 64: 64.0}


def pool_of(models: ModelSet) -> SessionPool:
    return SessionPool(models, max_sessions=9, budget_bytes=1 << 40)


def with_draft(llama: ModelSet, draft_step_ms: dict[int, float]) -> ModelSet:
    return replace(llama, step_ms=SLOW, draft_step_ms=draft_step_ms, method="draft")


def reader(pool: SessionPool) -> DraftModel:
    session = pool._idle[-1]
    return next(drafter for drafter in session._made.values() if isinstance(drafter, DraftModel))


def watched(models: ModelSet, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of tokens of the draft's passes that are read and not drafted."""
    read: list[int] = []
    assert models.draft is not None
    inner = models.draft.advance

    def advance(token_ids: list[int], cache: Any) -> Any:
        read.append(len(token_ids))
        return inner(token_ids, cache)

    monkeypatch.setattr(models.draft, "advance", advance)
    return read


def turns(worker: Worker, most: int = 500) -> None:
    for _ in range(most):
        if worker._to_read is None and not worker.num_jobs:
            return
        worker.turn([])
    raise AssertionError("it never ends")


def test_the_draft_reads_what_was_asked_once_nothing_else_is_to_be_done(
    llama: ModelSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = with_draft(llama, QUICK)
    pool = pool_of(models)
    client, read = Client(models, pool), watched(models, monkeypatch)
    request = at(list(LINES), 9)
    stats = client.ask(request)
    client.settle()
    assert reader(pool).num_unread > FEW_TOKENS  # nothing was read before the first token, nor for so short an answer
    turns(client.worker)
    assert reader(pool).num_unread == 1
    assert len(read) > 3
    assert max(read) <= 20  # a request that comes meanwhile need not wait for long
    assert sum(read) >= len(before_cursor(models.layout, prompt_tokens(models, request).ids)) - 1
    assert stats.token_ids == cold(llama, request)


@pytest.mark.parametrize("request_", [trunk(list(LINES)), at(list(LINES), 12, prepare="place")])
def test_it_reads_what_was_read_ahead_too(llama: ModelSet, request_: CompletionRequest) -> None:
    models = with_draft(llama, QUICK)
    pool = pool_of(models)
    worker = Client(models, pool).worker
    worker.turn([Job(request_, lambda _: None)])
    turns(worker)
    drafter = reader(pool)
    assert drafter.num_unread == 1
    assert drafter._text.ids == before_cursor(models.layout, prompt_tokens(models, request_).ids)


def test_it_reads_nothing_that_does_not_pay(llama: ModelSet, monkeypatch: pytest.MonkeyPatch) -> None:
    models = with_draft(llama, USELESS)
    client, read = Client(models, pool_of(models)), watched(models, monkeypatch)
    client.ask(at(list(LINES), 9))
    turns(client.worker)
    assert not read


def test_a_request_comes_first(llama: ModelSet, monkeypatch: pytest.MonkeyPatch) -> None:
    models = with_draft(llama, QUICK)
    pool = pool_of(models)
    client, read = Client(models, pool), watched(models, monkeypatch)
    client.ask(at(list(LINES), 9))
    while not read:
        client.worker.turn([])
    num_read = len(read)
    request = at(list(LINES), 14)
    assert client.ask(request).token_ids == cold(llama, request)
    assert len(read) == num_read
    turns(client.worker)
    assert reader(pool).num_unread == 1


def test_a_draft_that_fails_while_it_reads_is_left_alone(llama: ModelSet, monkeypatch: pytest.MonkeyPatch) -> None:
    models = with_draft(llama, QUICK)
    client = Client(models, pool_of(models))
    client.ask(at(list(LINES), 9))

    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(models.draft, "advance", fail)
    turns(client.worker)
    request = at(list(LINES), 14)
    assert client.ask(request).token_ids == cold(llama, request)


def test_a_session_without_a_draft_model_reads_nothing(llama: ModelSet) -> None:
    session = Session(replace(llama, draft=None))
    session.expect([1, 2, 3])
    assert not session.read_drafts_ahead(20.0)
