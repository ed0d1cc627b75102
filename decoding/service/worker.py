"""Runs the compute thread, the only one that touches tensors: takes jobs, lets them take turns, ends finished ones.

Between two checks of a job's flags it does at most one step or one prefill chunk, which a more urgent job or a
cancellation cuts short where the model can give it up. Knows no socket.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence

import torch

from decoding.completion.cache_budget import cache_budget_bytes
from decoding.completion.kept_caches import open_kept
from decoding.completion.reading import IDLE_MS, ReadingSpeed
from decoding.completion.sessions import Session, SessionPool
from decoding.config import EngineConfig
from decoding.drafters import registry
from decoding.errors import TabcastError
from decoding.models.language_model import gives_up
from decoding.models.listed import resolved
from decoding.models.loading.better import better_model
from decoding.models.loading.memory import free_bytes, is_out_of_memory
from decoding.models.loading.model_set import ModelSet, load_models
from decoding.protocol import CompletionStats
from decoding.service.jobs import KINDS, ChoiceDone, EngineState, Job, JobDone, Kind, Mailbox, Turn, not_at_all
from decoding.service.keeping import Keeping
from decoding.service.running_job import RunningJob, rest_of
from decoding.service.turns import Circle
from decoding.storage.adaptation import AnswerLog, answer_log

log = logging.getLogger(__name__)

# chosen: more than ten busy editors send. A request behind so many others would come too late to be of use.
MAX_WAITING = 64
MAX_WAITING_IDLE = 4
TOLD_CHANGE = 0.3  # chosen: only so large a change of the reading speed is told


def run(config: EngineConfig, mailbox: Mailbox, state: EngineState) -> None:
    """Run the thread: load the models, then serve until the mailbox says it is the end."""
    began = time.perf_counter()
    try:
        models, probe = load_models(config, lambda share, what: state.update(progress=share, detail=what))
    except TabcastError as error:
        _fail(state, str(error))
        return
    except Exception:
        log.exception("loading failed")
        _fail(state, "the models can't be loaded, for a reason that nobody foresaw: the engine's log tells it")
        return
    threads = config.threads or torch.get_num_threads()
    if all(model.has_own_threads for model in models.language_models):
        torch.set_num_threads(1)
    device = models.target.device
    better = better_model(config.model_path, models.num_code_weights, device, free_bytes(device))
    budget_bytes = cache_budget_bytes(config.cache_mb, device)
    pool = SessionPool(models, max_sessions=config.sessions, budget_bytes=budget_bytes, remembers=True)
    pool.kept = open_kept(models.target, resolved(config).model_path, threads, config.cache_on_disk_mb << 20)
    worker = Worker(models, pool, state, max_running=config.sessions, ring=answer_log(config))
    state.update(
        status="ready",
        detail="; ".join(filter(None, (models.without_middle, probe.describe()))),
        model=models.name,
        weights=models.weights,
        draft=models.draft_weights,
        better="" if better is None else str(better),
        device=str(device),
        languages=models.languages,
        context_tokens=models.target.shape.max_len,
        searches_code=registry.SEARCHES_CODE in registry.choose("", models)[0],
    )
    if models.without_middle:
        log.warning("%s", models.without_middle)
    log.info("ready in %.1f s: %s", time.perf_counter() - began, probe.describe())
    worker.serve(mailbox)
    pool.keep_experience()


def _fail(state: EngineState, detail: str) -> None:
    """Report that the engine can't work, and why."""
    log.error("%s", detail)
    state.update(status="failed", detail=detail)


class Worker:
    """Owns the models and the sessions; each turn of a running job is one step or one chunk.

    Jobs take turns, and so do their owners (see `Circle`). Idle work, one job of a kind at a time, has a turn only when
    nothing more urgent is waiting.
    """

    def __init__(
        self,
        models: ModelSet,
        pool: SessionPool,
        state: EngineState,
        *,
        max_running: int,
        ring: AnswerLog | None = None,
    ) -> None:
        self._ring = ring
        self._models = models
        self._pool = pool
        self._state = state
        self._max_running = max_running
        self._running: Circle[RunningJob] = Circle()
        self._waiting: deque[Job] = deque()
        self._speed = ReadingSpeed(models)
        self._turn = Turn()
        self._keeping = Keeping(pool, state)
        self._give_up = models.target.give_up if gives_up(models.target) else not_at_all
        state.update(read_tokens_per_s=self._speed.tokens_per_s)
        # The session whose draft models may read on while there is nothing else to do.
        self._to_read: Session | None = None
        # Idle work by its kind, the most urgent first.
        self._idle_running: dict[Kind, Circle[RunningJob]] = {kind: Circle() for kind in KINDS[1:]}
        self._idle_waiting: dict[Kind, deque[Job]] = {kind: deque() for kind in KINDS[1:]}

    @property
    def num_jobs(self) -> int:
        """Return the number of running and waiting jobs, idle work included."""
        return sum(len(circle) for circle in self._circles()) + sum(len(queue) for queue in self._queues())

    def _circles(self) -> list[Circle[RunningJob]]:
        return [self._running, *self._idle_running.values()]

    def _queues(self) -> list[deque[Job]]:
        return [self._waiting, *self._idle_waiting.values()]

    def serve(self, mailbox: Mailbox) -> None:
        """Serve jobs until `None` arrives."""
        self._turn = mailbox.turn
        while None not in (arrived := self._take(mailbox)):
            self.turn([job for job in arrived if job is not None])
        self._keeping.close()
        if self._ring is not None:
            self._ring.flush()

    def _take(self, mailbox: Mailbox) -> list[Job | None]:
        """Take what has arrived, and wait for it unless there is something to do."""
        if self.num_jobs or self._to_read is not None:
            return mailbox.take(wait=False)
        return mailbox.take(wait=True, at_most_s=self._keeping.wait_s)

    def turn(self, arrived: Sequence[Job]) -> None:
        """Admit the jobs that arrived, and compute at most one step or chunk."""
        for job in arrived:
            self._admit(job)
        self._end_flagged()
        while (next_job := self._running.next_to_start(self._waiting, self._max_running)) is not None:
            self._waiting.remove(next_job)
            self._start(next_job, self._running)
        if self._running:
            self._take_turn(self._running)
            return
        for kind, circle in self._idle_running.items():
            if circle:
                self._take_turn(circle)
                return
            if (next_job := circle.next_to_start(self._idle_waiting[kind], 1)) is not None:
                self._idle_waiting[kind].remove(next_job)
                self._start(next_job, circle)
                return
        if self._to_read is not None:
            self._read_drafts_ahead()
        else:
            self._keeping.write()

    def _read_drafts_ahead(self) -> None:
        """Let draft models read a little of what the target has read lately: they are of use once they have."""
        try:
            if self._to_read is not None and not self._to_read.read_drafts_ahead(IDLE_MS):
                self._to_read = None
        except Exception:
            log.exception("a draft model failed to read ahead")
            self._to_read = None

    def _admit(self, job: Job) -> None:
        """Queue a job, which supersedes older ones of its document; an owner's excess jobs are dropped."""
        waiting = [older for queue in self._queues() for older in queue]
        for older in (*waiting, *(running.job for circle in self._circles() for running in circle)):
            if job.supersedes(older):
                older.is_superseded = True
        queue = self._idle_waiting[job.kind] if job.is_idle_work else self._waiting
        most = MAX_WAITING_IDLE if job.is_idle_work else MAX_WAITING
        of_owner = [waiting for waiting in queue if waiting.owner == job.owner]
        if len(of_owner) >= most:
            of_owner[0].is_dropped = True
            queue.remove(of_owner[0])
            self._end(of_owner[0])
        queue.append(job)

    def _end_flagged(self) -> None:
        """End all jobs that were cancelled, superseded or dropped, so that their caches are free at once."""
        for queue in self._queues():
            for job in [job for job in queue if self._is_flagged(job)]:
                queue.remove(job)
                self._end(job)
        for circle in self._circles():
            for running in [running for running in circle if self._is_flagged(running.job)]:
                circle.remove(running)
                running.close()
                self._give_back(running.session)
                self._end(running.job)

    def _is_flagged(self, job: Job) -> bool:
        return job.is_cancelled or job.is_superseded or job.is_dropped

    def _end(self, job: Job) -> None:
        """Tell a job's client that it ends early, except a cancelled one, whose client is gone."""
        reason = "cancelled" if job.is_cancelled else "superseded" if job.is_superseded else "dropped"
        self._state.count(f"requests_{reason}_total")
        if not job.is_cancelled:
            job.deliver(ChoiceDone(0, CompletionStats(reason=reason)))
            job.deliver(JobDone())

    def _start(self, job: Job, circle: Circle[RunningJob], *, is_retry: bool = False) -> None:
        queue_s = time.perf_counter() - job.created
        self._to_read = None
        try:
            running = RunningJob(self._pool, job, self._speed, queue_ms=queue_s * 1e3)
        except TabcastError as error:
            job.deliver(JobDone(str(error), status=400))
            return
        except Exception as error:
            if not (is_out_of_memory(error) and not is_retry):
                self._failed(job, error)
                return
        else:
            self._state.count("queue_seconds_total", queue_s)
            self._state.count("layout_seconds_total", running.layout_s)
            circle.append(running)
            if running.is_cut and job.kind == "key":
                self._admit(rest_of(job))
            return
        self._free_memory()
        self._start(job, circle, is_retry=True)

    def _take_turn(self, circle: Circle[RunningJob]) -> None:
        running, began = circle.pop_next(), time.perf_counter()
        try:
            with self._turn.of(running.job, self._give_up):
                is_over = running.take_turn(self._state)
        except Exception as error:
            # The session's caches may be half written, so they are dropped with the request.
            self._pool.drop(running.session)
            self._keeping.forget(running.session)
            if not is_out_of_memory(error) or running.is_retry:
                self._failed(running.job, error)
                return
        else:
            circle.charge(running.job.owner, time.perf_counter() - began)
            if is_over:
                self._give_back(running.session)
                if running.job.may_be_kept:
                    self._keeping.add(running.session)
                running.job.deliver(JobDone())
                if running.is_cut and running.job.kind == "place":
                    self._admit(rest_of(running.job))
                self._tell_speed()
            else:
                circle.append(running)
            return
        # Outside of the except block, which keeps the failed step's tensors alive through the traceback.
        self._free_memory()
        try:
            circle.append(running.again(self._pool))
        except Exception as error:
            self._failed(running.job, error)

    def _tell_speed(self) -> None:
        """Report how fast prompts are read, if that has changed much."""
        told, now = self._state.health.read_tokens_per_s, self._speed.tokens_per_s
        if abs(now - told) > TOLD_CHANGE * told:
            self._state.update(read_tokens_per_s=now)

    def _give_back(self, session: Session) -> None:
        self._pool.give_back(session)
        self._to_read = session
        if self._ring is not None:
            self._ring.note(*session.take_last())

    def _failed(self, job: Job, error: Exception) -> None:
        log.error("a request failed", exc_info=error)
        self._state.count("requests_failed_total")
        is_short = is_out_of_memory(error)
        job.deliver(JobDone("the engine is out of memory" if is_short else "the engine failed: its log tells why"))

    def _free_memory(self) -> None:
        self._keeping.forget()
        log.warning("out of memory: %d idle sessions are given up", self._pool.free_idle())
        self._to_read = None
        self._state.count("out_of_memory_total")
        if self._models.target.device.type == "cuda":
            torch.cuda.empty_cache()
