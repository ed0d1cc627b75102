"""Runs `tabcast bench decode`: every method decodes the same prompts greedily, interleaved and without stops.

Plain decoding stands twice: at the verification width, for identity, and at one row, its fastest width, which is the
denominator of every speed-up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from decoding.bench.harness import baselines
from decoding.bench.harness.decode_prompts import GivenTarget
from decoding.bench.harness.synthetic import FreeDrafter, SyntheticTarget
from decoding.completion.sessions import Session
from decoding.drafters import registry
from decoding.drafters.in_order import InOrder
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import AUTO, COMBINE, DRAFTERS, Method
from decoding.speculation.drafting import Draft, Drafter, DraftingCost, DraftRequest, NoDrafter, Outcome
from decoding.speculation.sampling import Sampling
from decoding.speculation.speculate import speculate

PLAIN = "plain"
PLAIN_FASTEST = "plain, 1 row"
USUAL_METHODS = (PLAIN, "lookup", "draft", AUTO)
ALL_METHODS = (PLAIN, *DRAFTERS, AUTO, COMBINE)
REPEATS = 3


@dataclass(slots=True)
class Run:
    """One continuation by one method. Prefill, up to the first token, is apart from decoding.

    `decoded_tokens` came in `decode_s`, by all steps but the first. `timeline` pairs numbers of tokens with seconds.
    `verify_s` is None where steps overlap with the host's work, so that they can't be timed.
    """

    token_ids: list[int]
    prefill_s: float
    decode_s: float
    num_steps: int
    decoded_tokens: int
    draft_s: float = 0.0
    verify_s: float | None = 0.0
    drafted: dict[str, int] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)
    # For each draft: how many tokens it had, how many were accepted, and how many had matched before it.
    drafts: list[tuple[int, int, int]] = field(default_factory=list)
    timeline: list[tuple[int, float]] = field(default_factory=list)


Decode = Callable[[list[int]], Run]
Given = Mapping[tuple[int, ...], Sequence[int]]
"""Answers by prompt."""


def methods(
    models: ModelSet,
    names: Sequence[str],
    num_tokens: int,
    acceptance: float | None = None,
    given: Given | None = None,
) -> dict[str, Decode]:
    """Return the decoders to compare, by name; a method is left out if none of its drafters is available.

    With a synthetic `acceptance` there is one more, whose drafts are free. `given` are answers that are not chosen.
    """
    width = models.target.capabilities.step_width
    chosen: dict[str, Decode] = {}
    for name in names:
        if name != PLAIN and not registry.choose(name, models)[0]:
            continue
        # One session serves all runs, as in an engine, so that the policy keeps what it has learnt.
        shared: dict[str, Any] = {}
        session = Session(models, shared=shared)
        drafter: Callable[[], Drafter] = partial(_without_texts, shared, partial(session.drafter, name))
        if acceptance is not None:  # with a decreed acceptance the policy has nothing to decide
            drafter = partial(_in_order, session, name)
        chosen[name] = _own(models, drafter, num_tokens, width=width, acceptance=acceptance, given=given)
    if acceptance is not None:
        free = FreeDrafter(models.target.shape.vocabulary)
        chosen[free.name] = _own(models, lambda: free, num_tokens, width=width, acceptance=acceptance)
    return {PLAIN_FASTEST: _own(models, NoDrafter, num_tokens, width=1, given=given), **chosen}


def from_baseline(generate: baselines.Generate) -> Decode:
    """Return a baseline as one of the decoders; its internal steps are not counted."""

    def decode(prompt_ids: list[int]) -> Run:
        token_ids, first_s, rest_s = generate(prompt_ids)
        return Run(
            token_ids=token_ids,
            prefill_s=first_s,
            decode_s=rest_s,
            num_steps=0,
            decoded_tokens=len(token_ids) - 1,
            timeline=[(1, first_s), (len(token_ids), first_s + rest_s)],
        )

    return decode


def measure(
    prompts: Sequence[list[int]],
    decoders: dict[str, Decode],
    on_run: Callable[[], None] = lambda: None,
    warm_up: Callable[[str, Callable[[], object]], object] = lambda _, call: call(),
) -> dict[str, list[list[Run]]]:
    """Return runs by method and prompt, `REPEATS` of each after a warm-up; methods take turns on each prompt.

    If it is interrupted, it returns what all methods have finished: whole prompts, and repeats of one. `warm_up` is
    given the warm-up runs, by method, to call them.
    """
    runs: dict[str, list[list[Run]]] = {name: [] for name in decoders}
    for name, decode in decoders.items():
        warm_up(name, partial(decode, prompts[0]))
    with suppress(KeyboardInterrupt):
        for prompt in prompts:
            of_prompt: dict[str, list[Run]] = {name: [] for name in decoders}
            try:
                for _ in range(REPEATS):
                    for name, decode in decoders.items():
                        of_prompt[name].append(decode(prompt))
                        on_run()
            finally:
                if num_whole := min(map(len, of_prompt.values())):
                    for name, found in of_prompt.items():
                        runs[name].append(found[:num_whole])
    return runs


def _without_texts(shared: dict[str, Any], make: Callable[[], Drafter]) -> Drafter:
    """Make a drafter without earlier texts: a prompt is decoded several times, and its answer must not be known."""
    shared.pop(registry.LIVE_TEXT, None)
    return make()


def _in_order(session: Session, method: Method) -> InOrder:
    return InOrder(session.drafters(method))


def _own(
    models: ModelSet,
    drafter: Callable[[], Drafter],
    num_tokens: int,
    *,
    width: int,
    acceptance: float | None = None,
    given: Given | None = None,
) -> Decode:
    def decode(prompt_ids: list[int]) -> Run:
        target = models.target
        usual = target.capabilities
        target.capabilities = usual.at_width(width)
        try:
            if answer_ids := (given or {}).get(tuple(prompt_ids)):
                given_target = GivenTarget(target, len(prompt_ids), answer_ids)
                return _timed(given_target, drafter(), prompt_ids, len(answer_ids))
            inner = target if acceptance is None else SyntheticTarget(target, acceptance)
            return _timed(inner, drafter(), prompt_ids, num_tokens)
        finally:
            target.capabilities = usual

    return decode


def _timed(inner: Any, drafter: Drafter, prompt_ids: list[int], num_tokens: int) -> Run:
    """Decode once from a cold cache; decoding is timed from the end of the first round that emitted something."""
    watched = _TimedDrafter(drafter)
    target = _TimedTarget(inner)
    began = time.perf_counter()
    watched.begin(DraftRequest(prompt_ids=prompt_ids, max_tokens=num_tokens))
    run = Run(token_ids=[], prefill_s=0.0, decode_s=0.0, num_steps=0, decoded_tokens=0)
    first = began
    cache = target.new_cache()
    for outcome in speculate(target, cache, prompt_ids, watched, Sampling()):
        if not outcome.emitted_ids:
            continue
        run.token_ids += outcome.emitted_ids
        run.num_steps += 1
        if run.num_steps == 1:
            first = time.perf_counter()
            watched.seconds = target.seconds = 0.0
        else:
            run.decoded_tokens += len(outcome.emitted_ids)
        chain = outcome.draft.leading
        if chain.token_ids:
            run.drafted[chain.drafter] = run.drafted.get(chain.drafter, 0) + len(chain.token_ids)
            run.accepted[chain.drafter] = run.accepted.get(chain.drafter, 0) + outcome.num_accepted
            run.drafts.append((len(chain.token_ids), outcome.num_accepted, chain.match_len))
        run.timeline.append((min(len(run.token_ids), num_tokens), time.perf_counter() - began))
        if len(run.token_ids) >= num_tokens:
            break
    run.decode_s = time.perf_counter() - first
    watched.close()
    run.prefill_s, run.draft_s = first - began, watched.seconds
    run.verify_s = None if target.device.type == "cuda" else target.seconds
    del run.token_ids[num_tokens:]
    return run


class _TimedDrafter:
    """A drafter that measures the time it takes."""

    def __init__(self, inner: Drafter) -> None:
        self._inner = inner
        self.name = inner.name
        self.seconds = 0.0

    @property
    def cost(self) -> DraftingCost:
        return self._inner.cost

    @property
    def needs(self) -> frozenset[str]:
        return self._inner.needs

    @property
    def num_unread(self) -> int:
        return self._inner.num_unread

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
    """A target that measures the time of its steps."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def step(self, *arguments: object) -> torch.Tensor:
        began = time.perf_counter()
        logits: torch.Tensor = self._inner.step(*arguments)
        self.seconds += time.perf_counter() - began
        return logits

    def step_chains(self, *arguments: object) -> list[torch.Tensor]:
        began = time.perf_counter()
        logits: list[torch.Tensor] = self._inner.step_chains(*arguments)
        self.seconds += time.perf_counter() - began
        return logits
