"""`tabcast bench decode`: the same greedy continuations by every method, interleaved, with the same stops (none).

Plain decoding stands twice: at the verification width, for identity, and at one row, its fastest width, which is the
denominator of every speed-up.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from decoding.bench import baselines
from decoding.bench.synthetic import FreeDrafter, SyntheticTarget
from decoding.complete import Session
from decoding.drafters.combine import Combined
from decoding.drafting import Draft, Drafter, DraftRequest, Outcome
from decoding.models.decoder import Decoder
from decoding.models.pair import ModelSet
from decoding.protocol import Method
from decoding.sampling import Sampling
from decoding.speculate import speculate

PLAIN = "plain"
PLAIN_FASTEST = "plain, 1 row"
OWN_METHODS: dict[str, Method] = {PLAIN: "plain", "lookup": "lookup", "draft": "draft", "auto": "auto"}
REPEATS = 3


@dataclass(slots=True)
class Run:
    """One continuation by one method. Prefill, up to the first token, is apart from decoding.

    `decoded_tokens` are what `decode_s` and all steps but the first brought.
    """

    token_ids: list[int]
    prefill_s: float
    decode_s: float
    num_steps: int
    decoded_tokens: int
    draft_s: float = 0.0
    verify_s: float = 0.0
    drafted: dict[str, int] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)
    # Of each draft, how many tokens it had and how many of them stood.
    drafts: list[tuple[int, int]] = field(default_factory=list)


Decode = Callable[[list[int]], Run]


def methods(
    models: ModelSet, names: Sequence[str], num_tokens: int, acceptance: float | None = None
) -> dict[str, Decode]:
    """The decoders to compare, by name; a method that needs a draft model is left out where there is none.

    With a synthetic `acceptance` there is one more, whose drafts are free.
    """
    width = models.target.step_width
    chosen: dict[str, Decode] = {}
    for name in names:
        if name == "draft" and models.draft is None:
            continue
        drafters = partial(_drafters, models, OWN_METHODS[name])
        chosen[name] = _own(models, drafters, num_tokens, width=width, acceptance=acceptance)
    if acceptance is not None:
        free = FreeDrafter(models.target.shape.vocabulary)
        chosen[free.name] = _own(models, lambda: [free], num_tokens, width=width, acceptance=acceptance)
    return {PLAIN_FASTEST: _own(models, list, num_tokens, width=1), **chosen}


def from_baseline(generate: baselines.Generate) -> Decode:
    """A baseline as one of the decoders; how it works inside is not counted."""

    def decode(prompt_ids: list[int]) -> Run:
        token_ids, first_s, rest_s = generate(prompt_ids)
        others = len(token_ids) - 1
        return Run(token_ids=token_ids, prefill_s=first_s, decode_s=rest_s, num_steps=0, decoded_tokens=others)

    return decode


def measure(
    prompts: Sequence[list[int]],
    decoders: dict[str, Decode],
    on_run: Callable[[], None] = lambda: None,
) -> dict[str, list[list[Run]]]:
    """Runs by method and prompt, `REPEATS` of each after one that is dropped; methods take turns on each prompt.

    Interrupted, it gives the prompts that are finished.
    """
    runs: dict[str, list[list[Run]]] = {name: [] for name in decoders}
    for decode in decoders.values():
        decode(prompts[0])
    with suppress(KeyboardInterrupt):
        for prompt in prompts:
            of_prompt: dict[str, list[Run]] = {name: [] for name in decoders}
            for _ in range(REPEATS):
                for name, decode in decoders.items():
                    of_prompt[name].append(decode(prompt))
                    on_run()
            for name, found in of_prompt.items():
                runs[name].append(found)
    return runs


def rows(runs: dict[str, list[list[Run]]], prompts: Sequence[list[int]]) -> Iterator[dict[str, Any]]:
    """A row a method: speed over all prompts, by the median run of each."""
    fastest = _tokens_per_s(runs[PLAIN_FASTEST])
    reference = _tokens_per_s(runs[baselines.GENERATE]) if baselines.GENERATE in runs else None
    expected = [found[0].token_ids for found in runs[PLAIN]]
    for name, by_prompt in runs.items():
        every = [run for found in by_prompt for run in found]
        speed = _tokens_per_s(by_prompt)
        decode_s = sum(run.decode_s for run in every)
        same = [run.token_ids == wanted for found, wanted in zip(by_prompt, expected, strict=True) for run in found]
        drafted = sum(sum(run.drafted.values()) for run in every)
        steps = sum(run.num_steps for run in every)
        yield {
            "method": name,
            "tokens_per_s": round(speed, 1),
            "speedup": round(speed / fastest, 3),
            "speedup_over_transformers": None if reference is None else round(speed / reference, 3),
            "tokens_per_step": round(sum(run.decoded_tokens + 1 for run in every) / steps, 3) if steps else None,
            "ms_per_step": round(1e3 * decode_s / (steps - len(every)), 3) if steps > len(every) else None,
            "drafters": {
                drafter: {
                    "drafted": sum(run.drafted.get(drafter, 0) for run in every),
                    "accepted": sum(run.accepted.get(drafter, 0) for run in every),
                }
                for drafter in sorted({drafter for run in every for drafter in run.drafted})
            },
            "accepted_percent": round(100 * sum(sum(run.accepted.values()) for run in every) / drafted, 1)
            if drafted
            else None,
            "accepted_by_position": accepted_by_position([draft for run in every for draft in run.drafts]),
            "draft_percent": round(100 * sum(run.draft_s for run in every) / decode_s, 1) if steps else None,
            "verify_percent": round(100 * sum(run.verify_s for run in every) / decode_s, 1) if steps else None,
            "ms_per_token_by_context": _ms_per_token_by_context(by_prompt, prompts),
            "prefill_ms": round(1e3 * statistics.median(run.prefill_s for run in every), 2),
            "identical_percent": round(100 * sum(same) / len(same), 2),
            "divergence": _first_divergence(by_prompt, expected),
        }


def accepted_by_position(drafts: Sequence[tuple[int, int]]) -> list[float]:
    """Of the drafts (tokens, accepted) that have an i-th token, the share whose i-th was accepted."""
    longest = max((length for length, _ in drafts), default=0)
    accepted = [[num_accepted > i for length, num_accepted in drafts if length > i] for i in range(longest)]
    return [round(sum(stood) / len(stood), 4) for stood in accepted]


def _ms_per_token_by_context(by_prompt: Sequence[Sequence[Run]], prompts: Sequence[list[int]]) -> list[list[float]]:
    """[prompt tokens, median milliseconds a decoded token] of each prompt, by length."""
    return sorted(
        [len(prompt), round(1e3 * statistics.median(run.decode_s / max(1, run.decoded_tokens) for run in found), 3)]
        for prompt, found in zip(prompts, by_prompt, strict=False)
    )


def _tokens_per_s(by_prompt: Sequence[Sequence[Run]]) -> float:
    """Of the median run of each prompt; the runs of a prompt emit the same tokens."""
    tokens = sum(found[0].decoded_tokens for found in by_prompt)
    return tokens / sum(statistics.median(run.decode_s for run in found) for found in by_prompt)


def _first_divergence(by_prompt: Sequence[Sequence[Run]], expected: Sequence[list[int]]) -> dict[str, int] | None:
    """Where the first continuation that differs does so."""
    for number, (found, wanted) in enumerate(zip(by_prompt, expected, strict=True)):
        ours = found[0].token_ids
        if ours != wanted:
            at = next((i for i, (a, b) in enumerate(zip(ours, wanted, strict=False)) if a != b), len(ours))
            return {"prompt": number, "token": at}
    return None


def _drafters(models: ModelSet, method: Method) -> Sequence[Drafter]:
    return Session(models).drafters(method)


def _own(
    models: ModelSet,
    drafters: Callable[[], Sequence[Drafter]],
    num_tokens: int,
    *,
    width: int,
    acceptance: float | None = None,
) -> Decode:
    def decode(prompt_ids: list[int]) -> Run:
        target = models.target
        usual, target.step_width = target.step_width, width
        try:
            inner = target if acceptance is None else SyntheticTarget(target, acceptance)
            return _timed(inner, Combined(drafters()), prompt_ids, num_tokens)
        finally:
            target.step_width = usual

    return decode


def _timed(inner: Decoder | SyntheticTarget, drafter: Drafter, prompt_ids: list[int], num_tokens: int) -> Run:
    """A cold run; decoding is timed from the end of the first round that emitted something."""
    watched = _TimedDrafter(drafter)
    target = _TimedTarget(inner)
    began = time.perf_counter()
    watched.begin(DraftRequest(prompt_ids=prompt_ids))
    run = Run(token_ids=[], prefill_s=0.0, decode_s=0.0, num_steps=0, decoded_tokens=0)
    first = began
    cache = target.new_cache()
    for outcome in speculate(target, cache, prompt_ids, watched, Sampling()):  # type: ignore[arg-type]
        if not outcome.emitted_ids:
            continue
        run.token_ids += outcome.emitted_ids
        run.num_steps += 1
        if run.num_steps == 1:
            first = time.perf_counter()
            watched.seconds = target.seconds = 0.0
        else:
            run.decoded_tokens += len(outcome.emitted_ids)
        if outcome.draft.token_ids:
            name = outcome.draft.drafter
            run.drafted[name] = run.drafted.get(name, 0) + len(outcome.draft.token_ids)
            run.accepted[name] = run.accepted.get(name, 0) + outcome.num_accepted
            run.drafts.append((len(outcome.draft.token_ids), outcome.num_accepted))
        if len(run.token_ids) >= num_tokens:
            break
    run.decode_s = time.perf_counter() - first
    run.prefill_s, run.draft_s, run.verify_s = first - began, watched.seconds, target.seconds
    del run.token_ids[num_tokens:]
    return run


class _TimedDrafter:
    """A drafter that keeps the time it took."""

    def __init__(self, inner: Drafter) -> None:
        self._inner = inner
        self.name = inner.name
        self.seconds = 0.0

    def begin(self, request: DraftRequest) -> None:
        self._inner.begin(request)

    def observe(self, outcome: Outcome) -> None:
        began = time.perf_counter()
        self._inner.observe(outcome)
        self.seconds += time.perf_counter() - began

    def propose(self, budget: int) -> Draft:
        began = time.perf_counter()
        draft = self._inner.propose(budget)
        self.seconds += time.perf_counter() - began
        return draft

    def close(self) -> None:
        self._inner.close()


class _TimedTarget:
    """The target with a clock at its steps."""

    def __init__(self, inner: Decoder | SyntheticTarget) -> None:
        self._inner = inner
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def step(self, *arguments: object) -> torch.Tensor:
        began = time.perf_counter()
        logits = self._inner.step(*arguments)  # type: ignore[arg-type]
        self.seconds += time.perf_counter() - began
        return logits
