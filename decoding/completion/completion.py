"""Answers one request: layout, cache, speculation, text, stops; and its `n` answers, each different.

The functions are generators, so that the caller can stop between any two steps.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from decoding.completion.answer import Answer
from decoding.completion.sessions import Session
from decoding.errors import RequestError
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import CompletionRequest, CompletionStats, ScoredToken
from decoding.speculation.drafting import DraftRequest
from decoding.speculation.sampling import Sampling
from decoding.speculation.speculate import speculate
from decoding.text.prompt_layout import build_laid_out, build_prompt
from decoding.text.token_healing import Healing, heal_prompt

MIN_PROMPT_TOKENS = 32
# chosen: room that is kept free for any answer, so that prompts of lines and of blocks are cut alike and share a cache.
ANSWER_TOKENS, ANSWER_SHARE = 256, 0.125
# chosen: hints are only advice, so tokenising them should not take longer than a step.
MAX_HINT_CHARACTERS = 20_000
MAX_HINTS = 32
# chosen: for `n` different answers, up to so many times `n` are tried.
MAX_TRIES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """The result of a step: text to show and its scores, counts of the work, and at the end the statistics."""

    text: str = ""
    tokens: tuple[ScoredToken, ...] = ()
    num_prefilled: int = 0
    num_steps: int = 0
    num_tokens: int = 0
    draft_ms: float = 0.0
    stats: CompletionStats | None = None


class HealedPrompt(NamedTuple):
    """The prompt's tokens as the model sees them, and the bytes that token healing removed from their end.

    `above` is where the lines above the cursor's line begin and end, as `Prompt` has it.
    """

    ids: list[int]
    rest: bytes
    above: tuple[int, int] = (0, 0)


def prompt_budget(models: ModelSet, request: CompletionRequest) -> int:
    """Return how many tokens the prompt may have, so that there is room for the answer."""
    max_len = models.target.shape.max_len
    return min(max_len - request.max_tokens, max_len - min(ANSWER_TOKENS, int(max_len * ANSWER_SHARE)))


def prompt_tokens(models: ModelSet, request: CompletionRequest) -> HealedPrompt:
    """Lay the prompt out and heal its end. Raises `RequestError` if the wanted answer leaves no room for it."""
    max_len = models.target.shape.max_len
    if max_len - request.max_tokens < MIN_PROMPT_TOKENS:
        raise RequestError(
            f"max_tokens {request.max_tokens} leaves no room for the prompt: this model holds {max_len} tokens"
        )
    budget = prompt_budget(models, request)
    if parts := request.tabcast.laid_out:
        laid_out = build_laid_out(parts, models.layout, models.encode, models.tokenizer.token_to_id)
        if len(laid_out) > budget:
            raise RequestError(f"the prompt has {len(laid_out)} tokens, and this model has room for {budget}")
        return HealedPrompt(laid_out, b"")
    ids, num_typed, cursor, above = build_prompt(request, models.layout, models.encode, budget)
    rest = heal_prompt(ids[:cursor], num_typed, models.index) if request.tabcast.heal else b""
    return HealedPrompt([*ids[: cursor - 1], *ids[cursor:]] if rest else ids, rest, above)


def with_seed(request: CompletionRequest) -> CompletionRequest:
    """Return the request with a random seed if it samples and has none.

    The seed is small enough for any JSON reader.
    """
    if request.temperature == 0 or request.seed is not None:
        return request
    return replace(request, seed=secrets.randbits(53))


def complete_choices(
    models: ModelSet, session: Session, request: CompletionRequest, prompt: HealedPrompt, prefill_width: int = 0
) -> Iterator[tuple[int, Chunk]]:
    """Yield pieces of up to `n` different answers, one after the other, each with its number.

    They share the prompt's cache. From the second on, text is held back until it differs from all answers before; an
    answer that never does is left out and another one tried, a bounded number of times.
    """
    finished: list[str] = []
    first, num_tries = request.tabcast.choice, request.n * MAX_TRIES if request.n > 1 else 1
    for attempt in range(first, first + num_tries):
        held = Chunk()
        shown = ""
        for piece in complete(models, session, request, prompt, attempt, prefill_width):
            held = replace(held, text=held.text + piece.text, tokens=held.tokens + piece.tokens)
            shown += piece.text
            is_new = not any(text.startswith(shown) for text in finished)
            if is_new or (piece.stats and shown not in finished):
                yield len(finished), replace(piece, text=held.text, tokens=held.tokens)
                held = Chunk()
            else:
                yield len(finished), replace(piece, text="", tokens=(), stats=None)
        if shown not in finished:
            finished.append(shown)
        if len(finished) == request.n:
            return


def complete(
    models: ModelSet,
    session: Session,
    request: CompletionRequest,
    prompt: HealedPrompt,
    attempt: int = 0,
    prefill_width: int = 0,
) -> Iterator[Chunk]:
    """Yield a piece after each prefill chunk and each step; the last has the statistics.

    Args:
        models: what to decode with.
        session: whose cache to use; nobody else may use it meanwhile.
        request: what is asked, with a seed if it is to be sampled.
        prompt: the request's `prompt_tokens`.
        attempt: sampled, the number of its noise; greedy, the rank of its first token among the likeliest.
        prefill_width: how many tokens of the prompt a pass reads, 0 for as many as the target can.
    """
    clock = _Clock()
    prompt_ids = prompt.ids
    old_text = session.old_text(prompt_ids)
    num_cached = num_read = session.cache.reuse(prompt_ids, models.target.chunk)
    sampling = replace(_sampling(request, len(prompt_ids), attempt), never_ids=models.unused_ids)
    healing = Healing(models.index, prompt.rest) if prompt.rest else None
    method = request.tabcast.method
    drafter = session.drafter(method)
    proposed_ids = _proposed(models, request, prompt.rest)
    hints = [*_hints(models, request), *([proposed_ids] if proposed_ids else []), old_text]
    drafter.begin(_draft_request(request, prompt_ids, hints, proposed_ids, sampling, healing))
    answer = Answer(models, request, num_skipped=len(prompt.rest))
    rounds = speculate(models.target, session.cache, prompt_ids, drafter, sampling, healing, prefill_width)
    with closing(rounds), closing(drafter):  # type: ignore[type-var]
        try:
            for outcome in rounds:
                num_steps, num_tokens = answer.num_steps, len(answer.token_ids)
                shown = answer.take(outcome) if outcome.emitted_ids else None
                num_before, num_read = num_read, min(len(session.cache), len(prompt_ids))
                clock.stop(is_prefill=num_steps == 0)
                yield Chunk(
                    text=shown.text if shown else "",
                    tokens=shown.tokens if shown else (),
                    num_prefilled=num_read - num_before,
                    num_steps=answer.num_steps - num_steps,
                    num_tokens=len(answer.token_ids) - num_tokens,
                    draft_ms=drafter.take_draft_ms(),
                )
                clock.start()
                if answer.reason:
                    break
        finally:
            session.remember(prompt_ids, answer.token_ids)
    last = answer.flush()
    stats = _stats(request, prompt, answer, num_cached, clock)
    yield Chunk(text=last.text, tokens=last.tokens, stats=replace(stats, notice=session.notice(method)))


def _hints(models: ModelSet, request: CompletionRequest) -> list[list[int]]:
    """Return the tokens of the texts that may be copied; one that the tokenizer fails on is passed over."""
    hints: list[list[int]] = []
    for text in request.tabcast.draft_texts[:MAX_HINTS]:
        with suppress(RequestError):
            hints.append(models.encode(text[:MAX_HINT_CHARACTERS]))
    return hints


def _proposed(models: ModelSet, request: CompletionRequest, rest: bytes) -> list[int]:
    """Return the tokens of what another model wrote for this place, with the bytes that healing took back before it."""
    proposal = request.tabcast.proposal[:MAX_HINT_CHARACTERS]
    if proposal:
        with suppress(RequestError, UnicodeDecodeError):
            return models.encode(rest.decode() + proposal)
    return []


def _draft_request(
    request: CompletionRequest,
    prompt_ids: Sequence[int],
    hint_ids: Sequence[Sequence[int]],
    proposed_ids: Sequence[int],
    sampling: Sampling,
    healing: Healing | None,
) -> DraftRequest:
    return DraftRequest(
        prompt_ids=prompt_ids,
        hint_ids=hint_ids,
        proposed_ids=proposed_ids,
        max_tokens=request.max_tokens,
        sampling=sampling,
        healing=healing,
        language=request.tabcast.language,
    )


def _sampling(request: CompletionRequest, prompt_len: int, attempt: int) -> Sampling:
    if request.temperature == 0:
        return Sampling(branch=attempt, branch_at=prompt_len)
    return Sampling(
        temperature=request.temperature,
        top_k=request.top_k,
        top_p=request.top_p,
        seed=request.seed or 0,
        stream=attempt,
    )


class _Clock:
    """Measures the milliseconds of prefill and of decoding, without the time of others between two steps."""

    def __init__(self) -> None:
        self.prefill_ms = self.decode_ms = 0.0
        self.start()

    def start(self) -> None:
        self._began = time.perf_counter()

    def stop(self, *, is_prefill: bool) -> None:
        """Add the time since `start`. The step that brings the first token still counts as prefill."""
        passed_ms = (time.perf_counter() - self._began) * 1e3
        if is_prefill:
            self.prefill_ms += passed_ms
        else:
            self.decode_ms += passed_ms


def _stats(
    request: CompletionRequest, prompt: HealedPrompt, answer: Answer, num_cached: int, clock: _Clock
) -> CompletionStats:
    return CompletionStats(
        tokens=len(answer.token_ids),
        steps=answer.num_steps,
        prompt_tokens=len(prompt.ids),
        cached_tokens=num_cached,
        prefill_ms=round(clock.prefill_ms, 3),
        decode_ms=round(clock.decode_ms, 3),
        reason=answer.reason or "context",
        seed=request.seed if request.temperature > 0 else None,
        token_ids=tuple(answer.token_ids),
        drafters=answer.drafters,
    )
