"""Implements the command `tabcast bench decode`: its options, the decoders that they ask for, and its rows."""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial

from decoding.bench.harness import baselines, decode_prompts, llama_cpp, random_models
from decoding.bench.harness.decode_prompts import MIN_PROMPT_TOKENS, DecodePrompt
from decoding.bench.harness.told_progress import ToldProgress
from decoding.bench.metrics import bandwidth, likelihood, memory
from decoding.bench.report import report
from decoding.bench.suites import decode, decode_rows
from decoding.config import NO_ROUNDING, EngineConfig
from decoding.errors import TabcastError
from decoding.models.loading.model_set import ModelSet, load_models
from decoding.models.probing.agreement import choices, percent_alike

RANDOM_PROMPTS = 2
ROOM = 64


def contexts(options: argparse.Namespace) -> list[int]:
    """Return the lengths of prompts to measure at, in tokens."""
    return options.context or [options.prompt_tokens]


def load(options: argparse.Namespace, config: EngineConfig) -> ModelSet:
    """Load the pair that the options name. Raises `TabcastError`."""
    if options.shape is None:
        if options.draft_shape is not None:
            raise TabcastError("--draft-shape goes with --shape; --draft names a model folder")
        return load_models(config)[0]
    if (least := min(contexts(options))) < MIN_PROMPT_TOKENS:
        name = "--context" if options.context else "--prompt-tokens"
        raise TabcastError(f"{name} must be {MIN_PROMPT_TOKENS} or more, not {least}")
    if any(name in llama_cpp.NAMES for name in options.baselines):
        raise TabcastError("llama.cpp reads a model folder: --shape has none")
    max_len = max(contexts(options)) + options.max_tokens + ROOM
    return random_models.random_pair(options.shape, options.draft_shape, config, max_len)


def run(options: argparse.Namespace, models: ModelSet, progress: ToldProgress) -> Iterable[report.Row]:
    """Measure, and yield a row a method, for each context if there are several. Raises `TabcastError`."""
    lengths: list[int | None] = [*options.context] if options.shape is not None else []
    copied = bandwidth.copy_bytes_per_s(models.target.device) if models.target.device.type == "cuda" else None
    with ExitStack() as stack:
        theirs, told = _baselines(options, models, stack, progress)
        for number, length in enumerate(lengths or [None]):
            found = _prompts(options, models, length)
            prompts = [task.prompt_ids for task in found]
            given = {tuple(task.prompt_ids): task.answer_ids for task in found if task.answer_ids}
            # The baselines' time with longer contexts is not of interest, and takes long.
            decoders = _decoders(options, models, {} if number or given else theirs, given)
            for row in _measured(options, models, prompts, decoders, progress, told):
                if length is not None and len(lengths) > 1:
                    row["method"] += f", {length} tokens"
                if copied is None:
                    yield row
                else:
                    floor_ms = _floor_ms(models, len(prompts[0]) + options.max_tokens, copied)
                    yield row | decode_rows.beside_floor(row, floor_ms)


def _decoders(
    options: argparse.Namespace,
    models: ModelSet,
    theirs: Mapping[str, baselines.Generate],
    given: Mapping[tuple[int, ...], Sequence[int]],
) -> dict[str, decode.Decode]:
    names = [decode.PLAIN, *(name for name in options.methods if name != decode.PLAIN)]
    rates: list[float] = options.synthetic_acceptance
    has_read: bool = options.draft_has_read
    decoders = decode.methods(models, names, options.max_tokens, rates[0] if rates else None, given, has_read=has_read)
    if len(rates) > 1:
        plain = {name: decoders[name] for name in (decode.PLAIN_FASTEST, decode.PLAIN)}
        decoders = plain | {
            f"{name} at {rate:g}": made
            for rate in rates
            for name, made in decode.methods(models, names, options.max_tokens, rate, has_read=has_read).items()
            if name not in plain
        }
    return decoders | {name: decode.from_baseline(generate) for name, generate in theirs.items()}


def _measured(
    options: argparse.Namespace,
    models: ModelSet,
    prompts: list[list[int]],
    decoders: dict[str, decode.Decode],
    progress: ToldProgress,
    told: Mapping[str, str],
) -> Iterable[report.Row]:
    task = progress.add_task("decoding", total=None)
    peaks: dict[str, float | None] = {}
    num_left = 1

    def warm_up(name: str, call: Callable[[], object]) -> None:
        progress.say(f"warming up {name}")
        peaks[name] = memory.peak_growth_mb(call, models.target.device)

    def count(num_done: int, num_runs: int) -> None:
        nonlocal num_left
        num_left = num_runs - num_done
        progress.update(task, total=num_runs)
        progress.advance(task)

    runs = decode.measure(prompts, decoders, count, warm_up, options.repeats)
    if not runs[decode.PLAIN]:
        raise KeyboardInterrupt
    gap = partial(likelihood.logit_gap, models.target)
    rounded = _agreement(options.selected, models, prompts) if options.shape is None else []
    for row in decode_rows.rows(runs, prompts, gap):
        row["peak_growth_mb"] = peaks[row["method"]]
        row["repeats"] = len(runs[row["method"]][0])
        notes = [*_invented(options), *rounded, *([told[row["method"]]] if row["method"] in told else [])]
        # Equal tokens can't be expected: transformers draws other weights, and a decree makes other text.
        if options.synthetic_acceptance or (options.shape and row["method"] in baselines.NAMES):
            row |= {"identical_percent": None, "divergence": None}
        yield {**row, "settings": "; ".join(notes)}
    if num_left:
        raise KeyboardInterrupt


def _floor_ms(models: ModelSet, num_live: int, copied: float) -> float | None:
    floor_bytes = bandwidth.floor_bytes(models.target, num_live)
    return None if floor_bytes is None else 1e3 * floor_bytes / copied


def _agreement(config: EngineConfig, models: ModelSet, prompts: Sequence[list[int]]) -> list[str]:
    """Return how often a rounded target chooses what the full one does, over all of the prompts' tokens."""
    if models.rounding == NO_ROUNDING:
        return []
    try:
        full = load_models(replace(config, quantize="none", draft="none"))[0]
    except TabcastError as error:
        return [f"{models.rounding}, not compared with full weights: {error}"]
    alike = percent_alike(*([choices(one.target, prompt) for prompt in prompts] for one in (models, full)))
    return [f"{models.rounding}: {alike:g} % of choices as with full weights"]


def _invented(options: argparse.Namespace) -> list[str]:
    """Return the remarks that each row needs if it was measured on no real model."""
    weights = [] if options.shape is None else ["random weights"]
    rates = ", ".join(f"{rate:g}" for rate in options.synthetic_acceptance)
    weights += ["the text is given"] if options.suite_name == "rewrites" else []
    weights += ["the draft has read the prompt"] if options.draft_has_read else []
    return [*weights, f"synthetic acceptance of {rates}"] if rates else weights


def _prompts(options: argparse.Namespace, models: ModelSet, length: int | None = None) -> list[DecodePrompt]:
    if options.shape is not None:
        drawn = random.Random(0)  # noqa: S311 - any tokens will do
        vocabulary = models.target.shape.vocabulary
        count = options.limit or RANDOM_PROMPTS
        num_tokens = length or options.prompt_tokens
        return [DecodePrompt([drawn.randrange(vocabulary) for _ in range(num_tokens)]) for _ in range(count)]
    return decode_prompts.read(options, models)


def _baselines(
    options: argparse.Namespace, models: ModelSet, stack: ExitStack, progress: ToldProgress
) -> tuple[dict[str, baselines.Generate], dict[str, str]]:
    """Return the functions of the baselines by name, and what the report tells of each."""
    config: EngineConfig = options.selected
    found: dict[str, baselines.Generate] = {}
    told: dict[str, str] = {}
    if of_transformers := [name for name in options.baselines if name in baselines.NAMES]:
        device, dtype = models.target.device, models.target.dtype
        if options.shape is None:
            theirs = baselines.load(config.model_path, config.draft_path, device, dtype)
        else:
            draft = options.draft_shape and random_models.transformers_config(random_models.SHAPES[options.draft_shape])
            target = random_models.transformers_config(random_models.SHAPES[options.shape])
            theirs = baselines.load_random(target, draft, device, dtype)
        found |= baselines.generators(of_transformers, theirs, options.max_tokens)
        told |= {name: baselines.describe(name) for name in of_transformers}
    if of_llama_cpp := [name for name in options.baselines if name in llama_cpp.NAMES]:
        rows = stack.enter_context(start_llama_cpp(options, models, of_llama_cpp, progress, options.max_tokens))
        found |= {name: row.generate for name, row in rows.items()}
        told |= {name: row.settings for name, row in rows.items()}
    return found, told


def start_llama_cpp(
    options: argparse.Namespace, models: ModelSet, names: Sequence[str], progress: ToldProgress, num_tokens: int
) -> AbstractContextManager[dict[str, llama_cpp.Baseline]]:
    """Start llama.cpp with the models that the options name, for answers of so many tokens."""
    config: EngineConfig = options.selected
    return llama_cpp.generators(
        config.model_path,
        config.draft_path,
        names,
        num_tokens=num_tokens,
        max_len=models.target.shape.max_len,
        program=options.llama_server,
        tell=progress.say,
    )
