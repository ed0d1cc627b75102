"""Measures what a draft is worth to a target: the engine's own decoding of held-out prompts, without and with it."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decoding.bench.suites import decode
from decoding.config import EngineConfig
from decoding.drafters import registry
from decoding.errors import ModelError
from decoding.models.loading.model_set import load_models
from decoding.protocol import NO_MODEL
from decoding.training.corpus import SourceFile
from decoding.training.fim_splits import FimSplit
from decoding.training.samples import SampleFormat, Surroundings, encode_sample

NUM_PROMPTS = 12
NEW_TOKENS = 48
MISSING_LINES = 3
NUM_PROPOSALS = 4
# The kinds of drafts, and the engine's method for each. The setting for a draft's folder has the name of its kind.
MODEL, PARALLEL, HEADS = "model", "parallel", "heads"
METHODS = {MODEL: "draft", PARALLEL: PARALLEL, HEADS: HEADS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How well a draft guesses the target's text: the share of its tokens, and what that is worth a step.

    `tokens_per_step` is the exact yield of four greedy proposals a step: a proposal is accepted while all before it
    are.
    """

    share: float
    tokens_per_step: float

    def __str__(self) -> str:
        """Format the figures for people."""
        return f"{self.share:.0%} of the target's tokens guessed, {self.tokens_per_step:.2f} tokens a step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """The speed of the engine's own decoding with the draft, against plain decoding at its fastest width.

    The engine asks a draft only where it expects it to pay, so this may be 1 for a draft that agrees well.
    `is_identical` is true if the tokens equalled plain decoding's on every prompt.
    """

    speedup: float
    is_identical: bool


def speed(target: Path, draft: Path, prompts: Sequence[list[int]], *, device: str, kind: str = MODEL) -> Speed:
    """Decode every prompt in the engine. Raises `ModelError` if a folder can't be loaded."""
    method = METHODS[kind]
    settings: dict[str, Any] = {"draft": NO_MODEL, method: str(draft)}
    models, _ = load_models(EngineConfig(model=str(target), device=device, **settings))
    if problem := registry.why_not(method, models):
        raise ModelError(f"the engine can't use {draft}: {'; '.join(models.notices) or problem}")
    runs = decode.measure(prompts, decode.methods(models, [decode.PLAIN, method], NEW_TOKENS))
    pairs = zip(runs[method], runs[decode.PLAIN], strict=True)
    return Speed(
        speedup=_tokens_per_s(runs[method]) / _tokens_per_s(runs[decode.PLAIN_FASTEST]),
        is_identical=all(ours[0].token_ids == theirs[0].token_ids for ours, theirs in pairs),
    )


def steps_for(stood: Sequence[bool]) -> int:
    """Return the steps for all tokens: each emits the accepted proposals and one token of the target's own."""
    at = steps = 0
    while at < len(stood):
        run = next((i for i, is_right in enumerate(stood[at : at + NUM_PROPOSALS]) if not is_right), NUM_PROPOSALS)
        at += run + 1
        steps += 1
    return steps


def prompts_of(
    files: Sequence[SourceFile], form: SampleFormat, *, max_len: int, num_prompts: int, seed: int = 0
) -> list[list[int]]:
    """Return token ids of a prompt from each of some files: the cursor at a line's start, the next lines missing."""
    rng = random.Random(seed)  # noqa: S311 - sampling, not secrets
    chosen = rng.sample(list(files), min(num_prompts, len(files)))
    made = []
    for file in chosen:
        lines = file.text.splitlines(keepends=True)
        row = rng.randrange(len(lines) // 3, len(lines))
        cut = FimSplit("".join(lines[:row]), None, "".join(lines[row + MISSING_LINES :]))
        made.append(encode_sample(form, Surroundings(path=file.path), cut, budget=max_len))
    return made


def _tokens_per_s(by_prompt: Sequence[Sequence[decode.Run]]) -> float:
    """Return the tokens a second of each prompt's median run."""
    seconds = sum(statistics.median(run.decode_s for run in found) for found in by_prompt)
    return sum(found[0].decoded_tokens for found in by_prompt) / max(seconds, 1e-9)
