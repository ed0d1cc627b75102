"""The compute thread: the one thread that touches tensors. Takes jobs, lets them take turns, ends those that are over.

Between two looks at a job's flags it does at most one step or one prefill chunk. Knows no socket.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from decoding.complete import HealedPrompt, Session, complete, prompt_tokens
from decoding.config import EngineConfig
from decoding.errors import RequestError, TabcastError
from decoding.jobs import ChoiceDone, Delta, EngineState, Job, JobDone, Mailbox
from decoding.models.pair import ModelSet, load_pair
from decoding.protocol import CompletionStats

log = logging.getLogger(__name__)


def run(config: EngineConfig, mailbox: Mailbox, state: EngineState) -> None:
    """The thread's main: load, then serve until the mailbox says it is the end."""
    began = time.perf_counter()
    try:
        models, probe = load_pair(config, lambda share, what: state.update(progress=share, detail=what))
    except TabcastError as error:
        _fail(state, str(error))
        return
    except Exception as error:
        log.exception("loading failed")
        _fail(state, f"loading failed: {error!r}")
        return
    state.update(
        status="ready",
        detail=probe.describe(),
        model=models.name,
        device=str(models.target.device),
        languages=models.languages,
    )
    log.info("ready in %.1f s: %s", time.perf_counter() - began, probe.describe())
    Worker(models, config.sessions, state).serve(mailbox)


def _fail(state: EngineState, detail: str) -> None:
    log.error("%s", detail)
    state.update(status="failed", detail=detail)


class Worker:
    """Owns the models and the sessions; each turn of a running job is one step or one chunk."""

    def __init__(self, models: ModelSet, max_sessions: int, state: EngineState) -> None:
        self._models = models
        self._max_sessions = max_sessions
        self._state = state
        self._idle: list[Session] = []  # the most recently used last
        self._running: deque[_Running] = deque()
        self._waiting: deque[Job] = deque()

    def serve(self, mailbox: Mailbox) -> None:
        """Loop until `None` arrives."""
        while True:
            for job in mailbox.take(wait=not self._running and not self._waiting):
                if job is None:
                    return
                self._supersede(job)
                self._waiting.append(job)
            while self._waiting and len(self._running) < self._max_sessions:
                self._start(self._waiting.popleft())
            if self._running:
                self._take_turn(self._running.popleft())

    def _supersede(self, newer: Job) -> None:
        """The newest request of a document wins."""
        name = newer.request.tabcast.session
        for job in (*self._waiting, *(running.job for running in self._running)):
            if name and job.request.tabcast.session == name:
                job.is_superseded = True

    def _start(self, job: Job) -> None:
        if job.is_cancelled:
            return
        if job.is_superseded:
            job.deliver(ChoiceDone(0, CompletionStats(reason="superseded")))
            job.deliver(JobDone())
            return
        try:
            prompt = prompt_tokens(self._models, job.request)
        except RequestError as error:
            job.deliver(JobDone(str(error), is_request_error=True))
            return
        session = self._lease(prompt.ids)
        self._running.append(_Running(job, session, self._pieces(job, session, prompt)))

    def _pieces(self, job: Job, session: Session, prompt: HealedPrompt) -> Iterator[Delta | ChoiceDone | None]:
        """The events of all choices of a job, one after the other; None is a turn that brought nothing to show."""
        queue_ms = (time.perf_counter() - job.created) * 1e3
        for choice in range(job.request.n):
            for piece in complete(self._models, session, job.request, prompt, choice):
                yield Delta(choice, piece.text) if piece.text else None
                if piece.stats:
                    yield ChoiceDone(choice, replace(piece.stats, queue_ms=round(queue_ms, 3)))

    def _take_turn(self, running: _Running) -> None:
        job = running.job
        if job.is_cancelled or job.is_superseded:
            running.events.close()  # type: ignore[attr-defined]
            self._state.count("requests_cancelled_total" if job.is_cancelled else "requests_superseded_total")
            if job.is_superseded:
                job.deliver(ChoiceDone(0, CompletionStats(reason="superseded")))
                job.deliver(JobDone())
            self._idle.append(running.session)
            return
        try:
            event = next(running.events)
        except StopIteration:
            job.deliver(JobDone())
            self._idle.append(running.session)
            return
        except Exception as error:
            # The session's caches may be half written: they go with the request.
            log.exception("a request failed")
            self._state.count("requests_failed_total")
            job.deliver(JobDone(f"the engine failed: {error!r}"))
            return
        if event is not None:
            job.deliver(event)
            if isinstance(event, ChoiceDone):
                self._count(event.stats)
        self._running.append(running)

    def _lease(self, prompt_ids: list[int]) -> Session:
        """The idle session that shares the longest beginning; a new one, or the least recently used, if none does."""
        shared = [session.cache.common_prefix_len(prompt_ids) for session in self._idle]
        best = max(range(len(shared)), key=lambda i: shared[i], default=-1)
        is_full = len(self._idle) + len(self._running) >= self._max_sessions
        if best >= 0 and shared[best] >= min(self._models.target.chunk, len(prompt_ids) - 1):
            return self._idle.pop(best)
        return self._idle.pop(0) if is_full and self._idle else Session(self._models)

    def _count(self, stats: CompletionStats) -> None:
        count = self._state.count
        count("choices_total")
        count("tokens_total", stats.tokens)
        count("steps_total", stats.steps)
        count("prompt_tokens_total", stats.prompt_tokens)
        count("cached_tokens_total", stats.cached_tokens)
        for name, drafter in stats.drafters.items():
            count(f'drafted_tokens_total{{drafter="{name}"}}', drafter.drafted)
            count(f'accepted_tokens_total{{drafter="{name}"}}', drafter.accepted)


class _Running:
    """A job in progress, with the session it has leased."""

    __slots__ = ("events", "job", "session")

    def __init__(self, job: Job, session: Session, events: Iterator[Delta | ChoiceDone | None]) -> None:
        self.job = job
        self.session = session
        self.events = events
