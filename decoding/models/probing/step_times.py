"""Measures when a model is loaded how long its passes take on this machine; the policy starts with these times."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import torch
from torch import Tensor

from decoding.models.language_model import Cache, LanguageModel, drafts_ahead

# chosen: each width is timed so often at least, and more often where the model is fast: on a busy machine, seven steps
# of a third of a millisecond can all be slow. Where that takes longer than a user likes to wait, one has to do: each
# lasts long, and the policy corrects the times by every step.
FEWEST_TIMED: Final = 7
MOST_TIMED: Final = 50
ENOUGH_MS: Final = 100.0
TOO_MUCH_MS: Final = 200.0
FEW_TOKENS: Final = 16  # chosen: passes are timed behind a chunk, or so many tokens: more would take a large model long
# measured: a step of one row takes 0.38 ms right behind one of sixteen, and 0.24 behind others of one row.
TURN_MS: Final = 3.0
TIMED_WIDTHS: Final = (2, 4, 8, 16)
NUM_AHEAD: Final = 4

Pass = Callable[[Cache], Tensor]


def measure_step_times(target: LanguageModel) -> dict[int, float]:
    """Return the milliseconds of a step by its number of rows."""
    widest = target.capabilities.step_width
    widths = {1, *(width for width in TIMED_WIDTHS if width < widest), widest}
    return measure_passes({rows: partial(target.step, [0] * rows) for rows in sorted(widths)}, target)


def measure_draft_times(draft: LanguageModel) -> dict[int, float]:
    """Return the milliseconds of a drafted token, and of a pass over as many tokens as it reads at once."""
    times = measure_passes({rows: partial(draft.advance, [0] * rows) for rows in (1, draft.prefill_width)}, draft)
    if drafts_ahead(draft):

        def ahead(cache: Cache) -> Tensor:
            return torch.tensor([draft.draft_ahead([0], cache, NUM_AHEAD, text_ids=[0])])

        draft.draft_ahead([0], draft.new_cache(), 1, text_ids=[0])  # the first call loads code, and may be the only one
        # Where a pass by itself was quicker, the machine was busy: what seems too slow would never be asked.
        times[1] = min(times[1], measure_passes({1: ahead}, draft)[1] / NUM_AHEAD)
    return times


def measure_passes(
    passes: Mapping[int, Pass], model: LanguageModel, clock: Callable[[], float] = time.perf_counter
) -> dict[int, float]:
    """Return the least milliseconds of each pass behind a piece of prompt, the answer fetched: more is other work.

    The passes take turns, so that other work for a while slows all of them and not one. A fast pass runs several
    times in its turn, because it is slower behind one of another width.

    Args:
        passes: by number of rows; each computes logits at the end of a cache of `model`.
        model: which is timed.
        clock: returns seconds.
    """
    cache = model.new_cache()
    num_before = max(model.chunk, FEW_TOKENS)
    model.prefill([0] * num_before, cache)
    least = dict.fromkeys(passes, math.inf)
    started = clock()
    for turn in range(MOST_TIMED):
        spent_ms = (clock() - started) * 1e3
        if spent_ms > (ENOUGH_MS if turn >= FEWEST_TIMED else TOO_MUCH_MS if turn else math.inf):
            break
        for rows, compute in passes.items():
            turn_began = began = clock()
            while began - turn_began < TURN_MS / 1e3:
                compute(cache).argmax(dim=-1).tolist()
                ended = clock()
                least[rows] = min(least[rows], (ended - began) * 1e3)
                if not cache.can_roll_back:
                    cache.commit([0])  # such a model would compute uncommitted tokens again
                    break
                cache.roll_back(num_before)
                began = clock()
    return least
