"""Read this first: the loop that drafts, verifies, accepts and rolls back.

Speculative decoding (Leviathan et al. 2023, https://arxiv.org/abs/2211.17192; Chen et al. 2023,
https://arxiv.org/abs/2302.01318). A cheap drafter proposes K tokens; one step of the target computes its own choice
after each of them; those that agree are accepted, and the first that doesn't is replaced by the target's. The output is
the target's own, and each step yields at least one token.

Why this is an equality: a row's result depends only on its token, its position and the slots up to it
(models/torch/attention.py, models/probing/row_invariance.py), and a slot is reused only if a cold run would compute it
alike (kv_cache.py). So it makes no difference in which step, at which row, a token was computed.

This module knows no text, socket, thread or clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from torch import Tensor

from decoding.kv_cache import num_prefill_tokens
from decoding.models.language_model import Cache, LanguageModel, PassGivenUp
from decoding.speculation.drafting import EMPTY, HIDDEN, Draft, Drafter, Outcome
from decoding.speculation.sampling import Sampling
from decoding.speculation.step import Step, promoted, sanitise
from decoding.text.token_healing import Healing


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The result of one step of the target. `emitted_ids` is empty only while the prompt is still being read.

    `logits` (emitted, V) are those that each token was chosen from; the next step may overwrite them.
    """

    emitted_ids: tuple[int, ...] = ()
    draft: Draft = EMPTY
    num_accepted: int = 0
    logits: Tensor | None = None


def read_prompt(target: LanguageModel, cache: Cache, prompt_ids: Sequence[int], width: int = 0) -> Iterator[Round]:
    """Prefill: fill the cache up to where one step reads the rest, by whole chunks first, then by steps.

    A pass reads at most `width` tokens, a multiple of the chunk, or 0 for as many as the target can. One that was given
    up is done again when the next round is asked for.
    """
    width = width or target.prefill_width
    cache.reuse(prompt_ids, target.chunk)
    end = num_prefill_tokens(len(prompt_ids), target.chunk)
    while len(cache) < end:
        with suppress(PassGivenUp):
            target.prefill(prompt_ids[len(cache) : min(end, len(cache) + width)], cache)
        yield Round()
    step_width = target.capabilities.step_width
    while len(prompt_ids) - len(cache) > step_width:
        part = prompt_ids[len(cache) : len(cache) + step_width]
        target.step(part, cache)
        cache.commit(part)
        yield Round()


def speculate(
    target: LanguageModel,
    cache: Cache,
    prompt_ids: Sequence[int],
    drafter: Drafter,
    sampling: Sampling,
    healing: Healing | None = None,
    prefill_width: int = 0,
) -> Iterator[Round]:
    """Yield rounds until the model's length is reached; the caller ends it earlier by closing it.

    Args:
        target: the model whose output this is.
        cache: of this target; holds any earlier sequence, of which the common beginning is reused.
        prompt_ids: at least one token.
        drafter: has been told of the request by `begin`.
        sampling: how the target chooses.
        healing: what it may choose from at first, a function of the tokens emitted so far.
        prefill_width: how many tokens of the prompt a pass reads, 0 for as many as it can.
    """
    yield from read_prompt(target, cache, prompt_ids, prefill_width)
    pending = list(prompt_ids[len(cache) :])
    path: list[int] = []
    while (room := target.shape.max_len - len(cache) - len(pending)) > 0:
        budget = min(target.capabilities.step_width - len(pending), room - 1)
        draft = sanitise(drafter.propose(budget), budget, len(pending), target)
        step = Step(target, cache, pending, draft)
        verdicts = step.judge(path, sampling, healing)
        best = max(range(len(verdicts)), key=lambda number: verdicts[number].num_accepted)
        num_accepted, emitted_ids = verdicts[best]
        step.commit(best, num_accepted)
        outcome = Outcome(
            emitted_ids=emitted_ids,
            num_accepted=num_accepted,
            draft=promoted(draft, best),
            hidden=step.hidden() if HIDDEN in drafter.needs else None,
            probe_ids=tuple(verdict.emitted_ids for verdict in verdicts[len(draft.verified) :]),
        )
        drafter.observe(outcome)
        yield Round(emitted_ids=emitted_ids, draft=outcome.draft, num_accepted=num_accepted, logits=step.logits[best])
        path += emitted_ids
        pending = [emitted_ids[-1]]
