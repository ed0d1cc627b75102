"""Runs one job: its session, its generator, and what the client has received already. Knows no queue."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from decoding.completion.completion import Chunk, complete_choices, with_seed
from decoding.completion.fitting import fit
from decoding.completion.reading import ReadingSpeed, read_ahead
from decoding.completion.sessions import Session, SessionPool
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import CompletionStats
from decoding.service.jobs import ChoiceDone, Delta, EngineState, Job


class RunningJob:
    """One request that is computed in turns. Making it lays out the prompt and leases a session.

    Raises `RequestError` for a request that can't be answered.
    """

    def __init__(self, pool: SessionPool, job: Job, speed: ReadingSpeed, *, queue_ms: float) -> None:
        began = time.perf_counter()
        self._speed, self._kept = speed, None if job.owner else pool.kept
        self.job = job
        models = pool.models_of(job.owner)
        self.is_retry = False
        self._queue_ms = queue_ms
        fitted = fit(models, with_seed(job.request), _Caches(pool, job.owner), speed.token_ms)
        self._request, self._prompt, self.is_cut = fitted.request, fitted.prompt, fitted.is_cut
        self.session = self._lease(pool)
        self.layout_s = time.perf_counter() - began
        self._pieces = self._begin(models)
        self._sent: dict[int, _Sent] = {}

    def again(self, pool: SessionPool) -> RunningJob:
        """Restart the job in another session; text that the client has received is not sent again.

        Equal seeds give equal text, so that an answer may be broken off at any place.
        """
        self.session = self._lease(pool)
        self._pieces = self._begin(pool.models_of(self.job.owner))
        self.is_retry = True
        for sent in self._sent.values():
            sent.repeat()
        return self

    def take_turn(self, state: EngineState) -> bool:
        """Compute one step or chunk and send its text; return whether that was the last."""
        began = time.perf_counter()
        try:
            choice, piece = next(self._pieces)
        except StopIteration:
            return True
        seconds = time.perf_counter() - began
        self.job.charge(piece.num_prefilled, piece.num_tokens)
        _count_turn(state, piece, seconds)
        if not piece.num_steps:
            self._speed.learn(piece.num_prefilled, seconds * 1e3)
        sent = self._sent.setdefault(choice, _Sent())
        delta = sent.unsent(Delta(choice, piece.text, piece.tokens))
        if delta.text or delta.tokens:
            self.job.deliver(delta)
        if piece.stats and not sent.is_done:
            sent.is_done = True
            _count_choice(state, piece.stats)
            self.job.deliver(ChoiceDone(choice, replace(piece.stats, queue_ms=round(self._queue_ms, 3))))
        return False

    def _lease(self, pool: SessionPool) -> Session:
        is_trunk = self.job.kind == "trunk"
        document = self.job.request.tabcast.session
        return pool.lease(document, self._prompt.ids, above=self._prompt.above, is_trunk=is_trunk, owner=self.job.owner)

    def _begin(self, models: ModelSet) -> Iterator[tuple[int, Chunk]]:
        if self._kept is not None:
            for _ in self._kept.restore(self.session.cache, self._prompt.ids):
                yield 0, Chunk()
        width = self._speed.idle_width if self.job.is_idle_work else self._speed.request_width
        if self.job.request.tabcast.prepare:
            yield from read_ahead(models, self.session, self._prompt, width)
        else:
            yield from complete_choices(models, self.session, self._request, self._prompt, width)

    def close(self) -> None:
        """End the job between two turns: the session's caches stay valid."""
        self._pieces.close()  # type: ignore[attr-defined]


def rest_of(job: Job) -> Job:
    """Return the idle work that reads the whole prompt of a request that was answered with less, for the next one."""
    options = replace(job.request.tabcast, prepare="place", latency_ms=0)
    return Job(replace(job.request, tabcast=options), lambda _: None, job.owner, job.charge, is_rest=True)


@dataclass(frozen=True, slots=True)
class _Caches:
    """What an owner's own caches hold, for `fit`."""

    pool: SessionPool
    owner: str

    def num_shared(self, prompt_ids: Sequence[int]) -> int:
        return self.pool.num_shared(prompt_ids, self.owner)

    def texts_above(self, document: str, head_ids: Sequence[int]) -> Iterable[Sequence[int]]:
        return self.pool.texts_above(document, head_ids, self.owner)


class _Sent:
    """How much of a choice the client has received, and how much of it a restart still has to skip."""

    def __init__(self) -> None:
        self.is_done = False
        self._num_characters = self._num_tokens = 0
        self._characters_again = self._tokens_again = 0

    def repeat(self) -> None:
        """Note that the answer starts again."""
        self._characters_again, self._tokens_again = self._num_characters, self._num_tokens

    def unsent(self, delta: Delta) -> Delta:
        """Return the part of a delta that is new to the client."""
        text, tokens = delta.text[self._characters_again :], delta.tokens[self._tokens_again :]
        self._characters_again -= len(delta.text) - len(text)
        self._tokens_again -= len(delta.tokens) - len(tokens)
        self._num_characters += len(text)
        self._num_tokens += len(tokens)
        return Delta(delta.choice, text, tokens)


def _count_turn(state: EngineState, piece: Chunk, seconds: float) -> None:
    """Count a turn's work as it happens: most streams are closed by their clients before they end."""
    phase = "decode" if piece.num_steps and not piece.num_prefilled else "prefill"
    state.count(f"{phase}_seconds_total", seconds)
    state.count("draft_seconds_total", piece.draft_ms / 1e3)
    state.count("prefilled_tokens_total", piece.num_prefilled)
    state.count("steps_total", piece.num_steps)
    state.count("tokens_total", piece.num_tokens)


def _count_choice(state: EngineState, stats: CompletionStats) -> None:
    count = state.count
    count("choices_total")
    count("prompt_tokens_total", stats.prompt_tokens)
    count("cached_tokens_total", stats.cached_tokens)
    for name, drafter in stats.drafters.items():
        count(f'drafted_tokens_total{{drafter="{name}"}}', drafter.drafted)
        count(f'accepted_tokens_total{{drafter="{name}"}}', drafter.accepted)
