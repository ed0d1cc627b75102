"""Runs `tabcast bench passes`: the time of each kind of pass beside the time that memory needs for its bytes.

The rounds of `bench decode` are made of these; where they are slow, this says which part is. `roofline_percent` is the
share that a pass reaches of what the memory can do: the bytes that it has to read, over the machine's measured speed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator

import torch

from decoding.bench.harness.told_progress import ToldProgress
from decoding.bench.metrics import bandwidth
from decoding.bench.report import report
from decoding.bench.suites import decode_command, decode_options, prompt_passes
from decoding.models.language_model import Cache, LanguageModel, drafts_ahead
from decoding.models.loading.model_set import ModelSet

AHEAD = 8
STEP_ROWS = (2, 4, 8)
NUM_PROFILED = 10
PART_CHARACTERS = 70


def add_options(suite: argparse.ArgumentParser) -> None:
    """Add the options of this suite alone."""
    decode_options.add_baseline_options(suite)
    decode_options.add_shape_options(suite)
    suite.set_defaults(max_tokens=64, prompt_tokens=512)
    suite.add_argument(
        "--prompts",
        type=decode_options.parse_counts,
        metavar="N,M",
        help="lengths of prompts that are read whole, also by llama.cpp as a baseline (default: 128,512,2048; with"
        " --shape none)",
    )
    suite.add_argument(
        "--profile", type=int, default=0, metavar="N", help="also the N largest parts of a step and of a drafted token"
    )


def run(options: argparse.Namespace, models: ModelSet, progress: ToldProgress) -> Iterable[report.Row]:
    """Yield a row for each pass and context."""
    contexts = decode_command.contexts(options)
    task = progress.add_task("timing", total=len(contexts))
    speed = bandwidth.read_bytes_per_s(models.target.device)
    note = f"random tokens; memory is read at {speed / 1e9:.1f} GB/s"
    # The prompts come first: where another program fails, nothing that took long is lost.
    yield from prompt_passes.rows(options, models, note, progress)
    for context in contexts:
        for row in _of_target(models.target, context, speed):
            yield {**row, "settings": note}
        if models.draft is not None:
            for row in _of_draft(models.draft, context, speed):
                yield {**row, "settings": note}
        progress.advance(task)
    if options.profile:
        yield from _parts_of_passes(models, contexts[0], options.profile)


def _parts_of_passes(models: ModelSet, context: int, most: int) -> Iterator[report.Row]:
    target, cache = models.target, _filled(models.target, context)
    yield from _parts("target", target.device, most, lambda: target.step([1] * target.capabilities.step_width, cache))
    if models.draft is not None and drafts_ahead(models.draft):
        draft, own = models.draft, _filled(models.draft, context)

        def ahead() -> None:
            draft.draft_ahead([1], own, AHEAD)
            own.roll_back(len(own) - AHEAD)

        yield from _parts(f"draft of {AHEAD}", models.draft.device, most, ahead)


def _parts(name: str, device: torch.device, most: int, call: Callable[[], object]) -> Iterator[report.Row]:
    """Yield rows that say where the time of a pass goes, by torch's profiler: kernels on a GPU, operations on a CPU."""
    is_gpu = device.type == "cuda"
    call()
    activity = torch.profiler.ProfilerActivity.CUDA if is_gpu else torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity]) as seen:
        for _ in range(NUM_PROFILED):
            call()
        if is_gpu:
            torch.cuda.synchronize(device)
    found = [
        (part.self_device_time_total if is_gpu else part.self_cpu_time_total, part.count, part.key)
        for part in seen.key_averages()
    ]
    for micros, count, key in sorted(found, reverse=True)[:most]:
        yield {
            "method": f"{name}: {key[:PART_CHARACTERS]}",
            "ms": round(micros / NUM_PROFILED / 1e3, 4),
            "calls": round(count / NUM_PROFILED, 1),
        }


def _of_target(model: LanguageModel, context: int, speed: float) -> Iterator[report.Row]:
    cache = _filled(model, context)
    found = model.capabilities
    width = found.step_width
    # Where fewer rows are padded to the widest step, only the two ends differ.
    between = {rows for rows in STEP_ROWS if rows < width} if model.chunk == 1 else set()
    for rows in sorted({1, width} | between, reverse=True):
        model.capabilities = found.at_width(rows)

        def step(rows: int = rows) -> object:
            return model.step([1] * rows, cache)

        yield _row(f"target, step of {rows}", model, context, speed, step)
    model.capabilities = found
    yield _row("target, step and choice", model, context, speed, lambda: _chosen(model, width, cache))
    if model.chunk > 1 and len(cache) % model.chunk == 0 and context >= model.chunk:
        cache.roll_back(len(cache) - model.chunk)
        cache.num_chunked = len(cache)
        chunk = [1] * model.chunk

        def prefill() -> None:
            model.prefill(chunk, cache)
            cache.roll_back(len(cache) - model.chunk)

        yield _row(f"target, chunk of {model.chunk}", model, context, speed, prefill)


def _of_draft(model: LanguageModel, context: int, speed: float) -> Iterator[report.Row]:
    cache = _filled(model, context)
    end = len(cache)

    def one() -> None:
        model.advance([1], cache)
        cache.roll_back(end)

    yield _row("draft, a token", model, context, speed, one)
    if drafts_ahead(model):
        ahead = model

        def several() -> None:
            ahead.draft_ahead([1], cache, AHEAD)
            cache.roll_back(end)

        row = _row(f"draft, {AHEAD} tokens ahead, each", model, context, speed, several, count=AHEAD)
        yield row
    if model.capabilities.verifies_drafts:
        yield _row(
            f"draft, {model.capabilities.step_width} rows at once",
            model,
            context,
            speed,
            lambda: _chosen(model, model.capabilities.step_width, cache),
        )


def _chosen(model: LanguageModel, rows: int, cache: Cache) -> list[int]:
    """Run a step and fetch the chosen tokens."""
    ids: list[int] = model.step([1] * rows, cache).argmax(dim=-1).tolist()
    return ids


def _filled(model: LanguageModel, context: int) -> Cache:
    """Return a cache of so many tokens, filled in whole chunks where the context is a multiple of them."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.shape.vocabulary, (context,), generator=generator).tolist()
    cache = model.new_cache()
    while len(cache) + model.chunk <= context:
        model.prefill(ids[len(cache) : len(cache) + model.chunk], cache)
    while len(cache) < context:
        model.advance(ids[len(cache) : len(cache) + model.prefill_width], cache)
    return cache


def _row(
    name: str, model: LanguageModel, context: int, speed: float, call: Callable[[], object], *, count: int = 1
) -> report.Row:
    ms = bandwidth.pass_ms(call, model.device) / count
    floor_bytes = bandwidth.floor_bytes(model, context)
    floor_ms = None if floor_bytes is None else 1e3 * floor_bytes / speed
    return {
        "method": f"{name}, {context} tokens",
        "ms": round(ms, 4),
        "floor_ms": None if floor_ms is None else round(floor_ms, 4),
        "times_floor": None if floor_ms is None else round(ms / floor_ms, 3),
        "roofline_percent": None if floor_ms is None else round(100 * floor_ms / ms, 1),
        "read_mb": None if floor_bytes is None else round(floor_bytes / 1e6, 1),
    }
