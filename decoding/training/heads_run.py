"""Makes heads for a target in any form that the engine computes: collects its states, trains, and says what they bring.

First a trial on few tokens, which says whether the long run will pay: what is guessed right on held-out files, and what
that is worth with the costs of a step that were measured on this machine.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from decoding.drafters import draft_from_logits
from decoding.errors import TabcastError
from decoding.models.heads import load_heads
from decoding.policy.step_costs import StepCosts
from decoding.speculation.drafting import GREEDY
from decoding.training import evaluate_draft, heads, pretrain
from decoding.training.chains import agreement_of
from decoding.training.command_time import CommandTime
from decoding.training.draft import DraftRecipe, DraftResult
from decoding.training.heads_data import PLACES_A_ROW, Prepared, prepare
from decoding.training.schedule import RunLength

log = logging.getLogger(__name__)

TRIAL_TOKENS: Final = 100_000
RUN_TOKENS: Final = 1_000_000
TRIAL_EPOCHS: Final = 4
TIMED: Final = 40
PAYS: Final = 1.05  # chosen: a smaller gain is within what can be measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a trial found; `accepted` has for each head how often it is right where all before it are.

    `tokens_per_step` and the speeds are those of the best number of heads, `num_heads`; 0 of them means that none pay.
    """

    tokens: int
    places: int
    accepted: tuple[float, ...]
    num_heads: int
    tokens_per_step: float
    step_ms: float
    head_ms: float
    plain_tokens_per_s: float
    tokens_per_s: float

    @property
    def pays(self) -> bool:
        """Whether the heads of the trial itself are expected to be quicker than plain decoding."""
        return self.tokens_per_s >= PAYS * self.plain_tokens_per_s

    def __str__(self) -> str:
        """Say it to people."""
        right = ", ".join(f"{share:.0%}" for share in self.accepted)
        gain = self.tokens_per_s / self.plain_tokens_per_s
        found = (
            f"trial on {self.tokens:,} tokens: right at {self.places:,} held-out places, head by head: {right}; "
            f"{self.tokens_per_step:.2f} tokens a step; expected here {self.tokens_per_s:.1f} tokens a second, "
            f"plain {self.plain_tokens_per_s:.1f}"
        )
        if self.pays:
            return f"{found}. It pays: about {gain:.2f} times as fast already, and more text makes it better."
        return f"{found}. It doesn't pay yet: with so few tokens the heads cost more than they bring."

    def to_json(self) -> dict[str, Any]:
        """Return the figures for programs."""
        return {name: getattr(self, name) for name in self.__slots__} | {"pays": self.pays}


def trial(wanted: DraftRecipe, data: Sequence[Path]) -> Trial:
    """Train heads for a moment and return what they are worth; write those that pay, if there are none yet.

    Raises:
        TabcastError: too little data, a target without states, or it was interrupted; what was collected stays.
    """
    made = prepare(wanted, data, min(TRIAL_TOKENS, wanted.text_tokens or TRIAL_TOKENS), CommandTime(None))
    recipe_rows = pretrain.Recipe(length=RunLength(steps=1)).num_rows
    steps = math.ceil(TRIAL_EPOCHS * len(made.places) / (recipe_rows * PLACES_A_ROW))
    path = wanted.out.with_name(wanted.out.name + ".trial.pt")
    path.unlink(missing_ok=True)
    recipe = pretrain.Recipe(length=RunLength(steps=steps))
    pretrain.run(made.module, made.places, recipe, path, loss_of=heads.heads_loss(made.places), name="trial")
    path.unlink(missing_ok=True)
    written = wanted.out.with_name(f"{wanted.out.name}.trial")
    heads.write(made.module, made.head, written)
    found = _judge(made, wanted, written)
    if found.pays and not wanted.out.exists():
        written.rename(wanted.out)
    else:
        shutil.rmtree(written, ignore_errors=True)
    return found


def train(wanted: DraftRecipe, data: Sequence[Path], recipe: pretrain.Recipe, checkpoint: Path) -> DraftResult:
    """Make heads and write them to `wanted.out`.

    Raises:
        TabcastError: as `trial`, and given heads that got worse, when nothing is written.
    """
    clock = CommandTime(recipe.length.minutes)
    made = prepare(wanted, data, wanted.text_tokens or _enough(wanted, recipe), clock)
    with clock.measuring():
        before = agreement_of(heads.num_right(made.module, made.held_out))
    length = replace(recipe.length, minutes=clock.minutes_to_train())
    recipe = replace(recipe, length=length)
    loss = heads.heads_loss(made.places)
    result = pretrain.run(made.module, made.places, recipe, checkpoint, loss_of=loss, name="heads")
    after = agreement_of(heads.num_right(made.module, made.held_out))
    if wanted.begin_with is not None and after.share < before.share:
        raise TabcastError(
            f"training made {wanted.begin_with} worse on held-out files ({before.share:.0%} of the target's tokens "
            f"guessed, then {after.share:.0%}): nothing is written; more data or a smaller --rate-scale may help"
        )
    heads.write(made.module, made.head, wanted.out)
    prompts = made.prompts
    del made, loss
    log.info("on held-out files, before: %s", before)
    log.info("on held-out files, after:  %s", after)
    speed = None
    if clock.is_over:
        log.info("the time is over, so the engine's speed with them is not measured: 'tabcast bench decode' does that")
    else:
        speed = evaluate_draft.speed(
            wanted.target, wanted.out, prompts, device=wanted.device, kind=evaluate_draft.HEADS
        )
        log.info("decoding with them is %.2f times as fast as plain decoding", speed.speedup)
    return DraftResult(before=before, after=after, speed=speed, is_finished=result.is_finished)


def _enough(wanted: DraftRecipe, recipe: pretrain.Recipe) -> int:
    """Return how many tokens a run needs: no more than it has the steps to look at."""
    steps = recipe.length.steps
    return RUN_TOKENS if steps is None else min(RUN_TOKENS, max(wanted.row_len, steps * recipe.num_rows * PLACES_A_ROW))


def _judge(made: Prepared, wanted: DraftRecipe, written: Path) -> Trial:
    """Compare what is guessed right with what steps and guesses cost here."""
    right = heads.num_right(made.module, made.held_out)
    counts = np.array([count for text in right for count in text])
    reached = [len(counts), *(int((counts >= number).sum()) for number in range(1, len(made.module.blocks) + 1))]
    steps_ms = StepCosts(made.models.step_ms).table()
    begin_ms, head_ms = _times(made, wanted.target, written)
    best_ms, best, yielded = steps_ms[0], 0, 1.0
    for number in range(1, min(len(made.module.blocks), len(steps_ms) - 1) + 1):
        found = agreement_of([[min(count, number) for count in text] for text in right]).tokens_per_step
        ms = steps_ms[number] + begin_ms + number * head_ms
        if ms / found < best_ms / yielded:
            best_ms, best, yielded = ms, number, found
    return Trial(
        tokens=made.num_tokens,
        places=len(counts),
        accepted=tuple(now / max(1, before) for before, now in pairwise(reached)),
        num_heads=best,
        tokens_per_step=yielded,
        step_ms=steps_ms[0],
        head_ms=head_ms,
        plain_tokens_per_s=1000 / steps_ms[0],
        tokens_per_s=1000 * yielded / best_ms,
    )


def _times(made: Prepared, target_path: Path, written: Path) -> tuple[float, float]:
    """Return the least milliseconds of the engine's heads: to begin, and of each guess."""
    target = made.models.target
    found = load_heads(
        written,
        target_path,
        width=target.hidden_width,
        vocabulary=target.shape.vocabulary,
        device=target.device,
        dtype=target.dtype,
    )
    hidden = torch.ones(target.hidden_width, device=target.device)
    among = found.hold(made.prompts[0])
    begins, guesses = [], []
    for _ in range(TIMED):
        began = time.perf_counter()
        state = found.begin(hidden)
        begun = time.perf_counter()
        _, logits = found.go_on(state, 0, 0, among)
        next(draft_from_logits.guesses(logits[None], GREEDY, 0))
        begins.append(begun - began)
        guesses.append(time.perf_counter() - begun)
    return 1000 * min(begins), 1000 * min(guesses)
