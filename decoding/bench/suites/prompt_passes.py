"""Measures how fast prompts are read, by the target and by llama.cpp with the same weights."""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial

import torch

from decoding.bench.harness import llama_cpp
from decoding.bench.harness.baselines import Generate
from decoding.bench.harness.told_progress import ToldProgress
from decoding.bench.report import report
from decoding.bench.suites import decode_command
from decoding.models.language_model import LanguageModel
from decoding.models.loading.model_set import ModelSet

LENGTHS = (128, 512, 2048)
MOST_REPEATS = 3
ENOUGH_S = 15.0  # chosen: a length isn't read again once all its readings took so long

Read = Callable[[list[int]], float]
"""The seconds from a prompt to the first token behind it."""


def rows(options: argparse.Namespace, models: ModelSet, note: str, progress: ToldProgress) -> Iterator[report.Row]:
    """Yield a row for each length and reader; readers take turns, and their best time counts."""
    lengths = options.prompts if options.prompts is not None else () if options.shape else LENGTHS
    lengths = [length for length in lengths if length < models.target.shape.max_len]
    names = [name for name in options.baselines if name in llama_cpp.NAMES and not name.endswith(("draft", "ngram"))]
    if not lengths:
        return
    readers: dict[str, tuple[Read, str]] = {"target": (partial(_seconds, models.target), note)}
    with ExitStack() as stack:
        if names:
            theirs = stack.enter_context(decode_command.start_llama_cpp(options, models, names, progress, 1))
            for name, row in theirs.items():
                readers[name] = (partial(_first_token, row.generate), row.settings)
        for length in lengths:
            progress.say(f"reading prompts of {length} tokens")
            yield from _of_length(length, readers, models.target.shape.vocabulary)


def _of_length(length: int, readers: dict[str, tuple[Read, str]], vocabulary: int) -> Iterator[report.Row]:
    drawn = random.Random(length)  # noqa: S311 - any tokens will do
    prompt = [drawn.randrange(vocabulary) for _ in range(length)]
    best, spent_s, repeats = dict.fromkeys(readers, float("inf")), 0.0, 0
    while repeats < MOST_REPEATS and spent_s < ENOUGH_S:
        repeats += 1
        for name, (read, _) in readers.items():
            took_s = read(prompt)
            best[name], spent_s = min(best[name], took_s), spent_s + took_s
    for name, (_, settings) in readers.items():
        yield {
            "method": f"{name}, a prompt of {length}",
            "ms": round(1e3 * best[name], 2),
            "tokens_per_s": round(length / best[name], 1),
            "repeats": repeats,
            "settings": settings,
        }


def _first_token(generate: Generate, prompt: list[int]) -> float:
    return generate(prompt)[1]


def _seconds(model: LanguageModel, prompt: Sequence[int]) -> float:
    """Read a prompt as an engine does: whole pieces, and a step for what is left."""
    began = time.perf_counter()
    cache, width, step_width = model.new_cache(), model.prefill_width, model.capabilities.step_width
    last = len(prompt) - 1
    whole = last - last % model.chunk
    while len(cache) < whole:
        model.prefill(prompt[len(cache) : min(len(cache) + width, whole)], cache)
    logits = torch.empty(0)
    while len(cache) < len(prompt):
        piece = prompt[len(cache) : len(cache) + step_width]
        logits = model.step(piece, cache)
        cache.commit(piece)
    logits[-1].argmax().item()
    return time.perf_counter() - began
