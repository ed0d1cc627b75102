"""One request: layout, cache, speculation, text, stops.

A generator, so that the caller can stop between any two steps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

from decoding.constraint import Healing, take_back
from decoding.detokenize import Detokenizer
from decoding.drafters.combine import Combined
from decoding.drafters.draft_model import DraftModel
from decoding.drafters.prompt_lookup import PromptLookup
from decoding.drafting import Drafter, DraftRequest
from decoding.errors import RequestError
from decoding.fim import lay_out
from decoding.kv_cache import KVCache
from decoding.models.pair import ModelSet
from decoding.policy import is_draft_worth_it
from decoding.protocol import CompletionRequest, CompletionStats, DrafterStats, Method
from decoding.sampling import Sampling
from decoding.speculate import Round, speculate
from decoding.stops import TextStops, is_loop

MIN_PROMPT_TOKENS = 32


class Session:
    """The caches of one token sequence, kept for the next request that begins alike."""

    def __init__(self, models: ModelSet) -> None:
        self.cache: KVCache = models.target.new_cache()
        self._lookup = PromptLookup()
        self._is_draft_worth_it = is_draft_worth_it(models.draft_ms, models.target_ms)
        self._draft = None if models.draft is None else DraftModel(models.draft, models.draft.new_cache())

    def drafters(self, method: Method) -> list[Drafter]:
        """The drafters of a method; "auto" asks look-up first, then the draft model where that is worth its time."""
        model: list[Drafter] = [] if self._draft is None else [self._draft]
        chosen: dict[Method, list[Drafter]] = {
            "plain": [],
            "lookup": [self._lookup],
            "draft": model,
            "auto": [self._lookup, *(model if self._is_draft_worth_it else [])],
        }
        return chosen[method]


@dataclass(frozen=True, slots=True)
class Piece:
    """What a step brought: text to show, and at the end the statistics."""

    text: str = ""
    stats: CompletionStats | None = None


class HealedPrompt(NamedTuple):
    """The prompt's tokens as the model sees them, and the bytes that were taken back from their end."""

    ids: list[int]
    rest: bytes


def prompt_tokens(models: ModelSet, request: CompletionRequest) -> HealedPrompt:
    """Lay the prompt out and heal its end. Raises `RequestError` if the answer asked for leaves it no room."""
    budget = models.target.shape.max_len - request.max_tokens
    if budget < MIN_PROMPT_TOKENS:
        raise RequestError(
            f"max_tokens {request.max_tokens} leaves no room for the prompt: "
            f"this model holds {models.target.shape.max_len} tokens"
        )
    ids, num_typed = lay_out(request, models.layout, models.encode, budget)
    rest = take_back(ids, num_typed, models.index) if request.tabcast.heal else b""
    return HealedPrompt(ids[:-1] if rest else ids, rest)


def complete(
    models: ModelSet, session: Session, request: CompletionRequest, prompt: HealedPrompt, choice: int = 0
) -> Iterator[Piece]:
    """Yield a piece after each prefill chunk and each step; the last has the statistics.

    Args:
        models: what to decode with.
        session: whose cache to use; nobody else may use it meanwhile.
        request: what is asked.
        prompt: the request's `prompt_tokens`.
        choice: which of its `n` answers; each has noise of its own, and they share the prompt's cache.
    """
    began = time.perf_counter()
    prompt_ids = prompt.ids
    num_cached = session.cache.reuse(prompt_ids, models.target.chunk)
    drafter = Combined(session.drafters(request.tabcast.method))
    drafter.begin(
        DraftRequest(prompt_ids=prompt_ids, hint_ids=[models.encode(text) for text in request.tabcast.draft_texts])
    )
    sampling = Sampling(temperature=request.temperature, top_p=request.top_p, seed=(request.seed or 0) + choice)
    answer = _Answer(models, request, num_skipped=len(prompt.rest))
    healing = Healing(models.index, prompt.rest) if prompt.rest else None
    prefilled = began
    rounds = speculate(models.target, session.cache, prompt_ids, drafter, sampling, healing)
    with closing(rounds), closing(drafter):  # type: ignore[type-var]
        for outcome in rounds:
            text = answer.take(outcome) if outcome.emitted_ids else ""
            if outcome.emitted_ids and answer.num_steps == 1:
                prefilled = time.perf_counter()
            yield Piece(text)
            if answer.reason:
                break
    yield Piece(
        answer.flush(),
        CompletionStats(
            tokens=len(answer.token_ids),
            steps=answer.num_steps,
            prompt_tokens=len(prompt_ids),
            cached_tokens=num_cached,
            prefill_ms=round((prefilled - began) * 1e3, 3),
            decode_ms=round((time.perf_counter() - prefilled) * 1e3, 3),
            reason=answer.reason or "context",
            token_ids=tuple(answer.token_ids),
            drafters=answer.drafters,
        ),
    )


class _Answer:
    """Counts what the rounds bring and decides when it ends; stop tokens are seen inside an accepted draft, too."""

    def __init__(self, models: ModelSet, request: CompletionRequest, *, num_skipped: int) -> None:
        self._stop_ids = models.layout.stop_ids
        self._max_tokens = request.max_tokens
        self._ends_loops = request.tabcast.line_mode != "free"
        self._text = Detokenizer(models.index.token_bytes, num_skipped)
        self._stops = TextStops(request.stop, request.tabcast.line_mode)
        self.token_ids: list[int] = []
        self.num_steps = 0
        self.drafters: dict[str, DrafterStats] = {}
        self.reason = ""

    def take(self, outcome: Round) -> str:
        """Text that may be shown after this round; tokens behind an end are dropped."""
        self.num_steps += 1
        shown = ""
        for token_id in outcome.emitted_ids:
            if token_id in self._stop_ids:
                self.reason = "stop"
                break
            self.token_ids.append(token_id)
            shown += self._stops.push(self._text.push(token_id))
            self.reason = self._stops.reason or self._limit()
            if self.reason:
                break
        self._count(outcome)
        return shown

    def flush(self) -> str:
        """Text that was held back in case it began a stop text."""
        return self._stops.flush()

    def _limit(self) -> str:
        if len(self.token_ids) >= self._max_tokens:
            return "length"
        return "repetition" if self._ends_loops and is_loop(self.token_ids) else ""

    def _count(self, outcome: Round) -> None:
        if outcome.draft.token_ids:
            before = self.drafters.get(outcome.draft.drafter, DrafterStats())
            self.drafters[outcome.draft.drafter] = DrafterStats(
                drafted=before.drafted + len(outcome.draft.token_ids), accepted=before.accepted + outcome.num_accepted
            )
