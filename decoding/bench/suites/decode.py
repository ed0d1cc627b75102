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

from decoding.bench.harness import baselines
from decoding.bench.harness.decode_prompts import GivenTarget
from decoding.bench.harness.synthetic import FreeDrafter, SyntheticTarget
from decoding.bench.harness.timed_parts import TimedDrafter, TimedTarget
from decoding.completion.experience import new_policy
from decoding.completion.sessions import Session
from decoding.drafters import registry
from decoding.drafters.draft_model import is_draft_model
from decoding.drafters.in_order import InOrder
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import AUTO, COMBINE, DRAFTERS, Method
from decoding.speculation.drafting import Drafter, DraftRequest, NoDrafter
from decoding.speculation.sampling import Sampling
from decoding.speculation.speculate import speculate

PLAIN = "plain"
PLAIN_FASTEST = "plain, 1 row"
USUAL_METHODS = (PLAIN, "lookup", "draft", AUTO)
ALL_METHODS = (PLAIN, *DRAFTERS, AUTO, COMBINE)
MOST_REPEATS = 3
ENOUGH_S = 120.0  # chosen: runs are repeated as often as fits into this, and once at least
READING_MS = 1000.0  # a draft model reads ahead for about so long at a time


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
    *,
    has_read: bool = False,
) -> dict[str, Decode]:
    """Return the decoders to compare, by name; a method is left out if none of its drafters is available.

    With a synthetic `acceptance` there is one more, whose drafts are free. `given` are answers that are not chosen. If
    `has_read`, draft models have read a prompt before its run begins, as they do while an engine is idle.
    """
    width = models.target.capabilities.step_width
    chosen: dict[str, Decode] = {}
    for name in names:
        if name != PLAIN and not registry.choose(name, models)[0]:
            continue
        # With a decreed acceptance the policy has nothing to decide.
        join = Session.drafter if acceptance is None else _in_order
        drafter = _forgetful(models, name, join, has_read=has_read)
        chosen[name] = _own(models, drafter, num_tokens, width=width, acceptance=acceptance, given=given)
    if acceptance is not None:
        free = FreeDrafter(models.target.shape.vocabulary)
        chosen[free.name] = _own(models, lambda _: free, num_tokens, width=width, acceptance=acceptance)
    return {PLAIN_FASTEST: _own(models, lambda _: NoDrafter(), num_tokens, width=1, given=given), **chosen}


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
    on_run: Callable[[int, int], None] = lambda num_done, num_runs: None,
    warm_up: Callable[[str, Callable[[], object]], object] = lambda _, call: call(),
    repeats: int = 0,
) -> dict[str, list[list[Run]]]:
    """Return runs by method and prompt, after a warm-up; methods take turns on each prompt.

    If it is interrupted, it returns what all methods have finished: whole prompts, and repeats of one.

    Args:
        prompts: token ids of each.
        decoders: the methods by name.
        on_run: is called after each run, with the number of those that are done, and of all.
        warm_up: is given the warm-up runs, by method, to call them.
        repeats: of each run; 0 takes as many as the time of the warm-up allows.
    """
    runs: dict[str, list[list[Run]]] = {name: [] for name in decoders}
    began = time.perf_counter()
    for name, decode in decoders.items():
        warm_up(name, partial(decode, prompts[0]))
    repeats = repeats or affordable_repeats((time.perf_counter() - began) * len(prompts))
    num_done, num_runs = 0, len(prompts) * len(decoders) * repeats
    with suppress(KeyboardInterrupt):
        for prompt in prompts:
            of_prompt: dict[str, list[Run]] = {name: [] for name in decoders}
            try:
                for _ in range(repeats):
                    for name, decode in decoders.items():
                        of_prompt[name].append(decode(prompt))
                        num_done += 1
                        on_run(num_done, num_runs)
            finally:
                if num_whole := min(map(len, of_prompt.values())):
                    for name, found in of_prompt.items():
                        runs[name].append(found[:num_whole])
    return runs


def affordable_repeats(once_s: float) -> int:
    """Return how often runs that take so many seconds once are repeated."""
    return min(MOST_REPEATS, max(1, int(ENOUGH_S / once_s))) if once_s else MOST_REPEATS


MakeDrafter = Callable[[Sequence[int]], Drafter]
"""Makes the drafter of a run of these prompt ids."""


def _forgetful(
    models: ModelSet, method: Method, join: Callable[[Session, Method], Drafter], *, has_read: bool
) -> MakeDrafter:
    """Return what makes drafters that know no earlier text, since a prompt is decoded several times.

    The policy alone keeps what it has learnt, as in an engine. The other model's caches are empty, too, unless
    `has_read`: a draft that knew the prompt from the last run would not be charged for reading it.
    """
    shared: dict[str, Any] = {}
    policy = new_policy(models)

    def make(prompt_ids: Sequence[int]) -> Drafter:
        shared.pop(registry.LIVE_TEXT, None)
        session = Session(models, policy, shared)
        session.expect(prompt_ids)
        for drafter in filter(is_draft_model, session.drafters(method) if has_read else ()):
            while drafter.read_ahead(READING_MS):
                pass
        return join(session, method)

    return make


def _in_order(session: Session, method: Method) -> InOrder:
    return InOrder(session.drafters(method))


def _own(
    models: ModelSet,
    drafter: MakeDrafter,
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
                return _timed(given_target, drafter(prompt_ids), prompt_ids, len(answer_ids))
            inner = target if acceptance is None else SyntheticTarget(target, acceptance)
            return _timed(inner, drafter(prompt_ids), prompt_ids, num_tokens)
        finally:
            target.capabilities = usual

    return decode


def _timed(inner: Any, drafter: Drafter, prompt_ids: list[int], num_tokens: int) -> Run:
    """Decode once from a cold cache; decoding is timed from the end of the first round that emitted something."""
    watched = TimedDrafter(drafter)
    target = TimedTarget(inner)
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
