"""How long the passes of a model take on this machine, measured when it is loaded: what the policy begins with."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from decoding.models.language_model import Cache, DraftsAhead, LanguageModel

NUM_TIMED_STEPS = 7
TIMED_WIDTHS = (2, 4, 8, 16)
NUM_AHEAD = 4


def measure_step_times(target: LanguageModel) -> dict[int, float]:
    """Milliseconds of a step by its number of rows."""
    widths = {1, *(width for width in TIMED_WIDTHS if width < target.step_width), target.step_width}
    return {rows: measure_step_ms(partial(target.step, [0] * rows), target) for rows in sorted(widths)}


def measure_draft_times(draft: LanguageModel) -> dict[int, float]:
    """Milliseconds of a drafted token, and of a pass over as many tokens as it reads at once."""
    times = {rows: measure_step_ms(partial(draft.advance, [0] * rows), draft) for rows in (1, draft.prefill_width)}
    if isinstance(draft, DraftsAhead):

        def ahead(cache: Cache) -> Tensor:
            return torch.tensor([draft.draft_ahead([0], cache, NUM_AHEAD)])

        times[1] = measure_step_ms(ahead, draft) / NUM_AHEAD
    return times


def measure_step_ms(step: Callable[[Cache], Tensor], model: LanguageModel) -> float:
    """The least time of a step behind a piece of prompt, the answer fetched: more is the machine's other work.

    Args:
        step: computes logits at the end of a cache of `model`.
        model: what is timed.
    """
    cache = model.new_cache()
    model.prefill([0] * model.prefill_width, cache)
    times: list[float] = []
    for _ in range(NUM_TIMED_STEPS):
        began = time.perf_counter()
        step(cache).argmax(dim=-1).tolist()
        times.append((time.perf_counter() - began) * 1e3)
        if cache.can_roll_back:
            cache.roll_back(model.prefill_width)
        else:
            cache.commit([0])  # what isn't committed, such a model computes again
    return min(times)
