"""Implements `tabcast bench gpu-check`: runs all checks and reports what each found; a failure makes it exit with 1."""

from __future__ import annotations

import argparse
import time
import traceback
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Final

import torch
from rich.progress import Progress

from decoding.bench.gpu_checks import engine, kernels, models
from decoding.bench.gpu_checks.setting import Check, Setting, Skipped
from decoding.bench.report import report
from decoding.bench.suites import decode_options
from decoding.config import EngineConfig
from decoding.errors import ConfigError
from decoding.models.loading.devices import choose_device
from decoding.models.loading.model_set import ModelSet

CHECKS: Final[Mapping[str, Check]] = {
    "kernels: attention": kernels.attention,
    "kernels: rows of attention": kernels.attention_rows,
    "kernels: norm, rotation, gate": kernels.fused,
    "model: rows": models.rows_agree,
    "model: chains": models.chains_agree,
    "model: replay": models.replay_equals_computing,
    "model: near torch's own": models.near_plain,
    "drafters": models.drafters_are_lossless,
    "sampling": models.sampling_has_its_distribution,
    "engine: cancelling": engine.cancelling,
    "engine: short of memory": engine.memory_that_is_short,
    "engine: over HTTP": engine.over_http,
}
DEFAULT_SHAPE, DEFAULT_DRAFT = "qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"


def add_options(suite: argparse.ArgumentParser) -> None:
    """Add the options of this suite alone."""
    decode_options.add_shape_options(suite)
    suite.set_defaults(
        shape=DEFAULT_SHAPE, draft_shape=DEFAULT_DRAFT, max_tokens=64, baselines=[], prompt_tokens=1100, context=[]
    )
    suite.add_argument("--checks", default="", metavar="WORD", help="only those with this word in their name")


def refuse_without_gpu(config: EngineConfig) -> None:
    """Raise `ConfigError` at once where there is nothing to check, unless the settings name the device."""
    if config.device == "auto" and choose_device(config)[0].type == "cpu":
        raise ConfigError("torch finds no GPU here, so there is nothing to check (--device cpu rehearses it, slowly)")


def run(options: argparse.Namespace, made: ModelSet, progress: Progress) -> Iterable[report.Row]:
    """Run every check and yield a row for each."""
    setting = Setting(models=made, config=options.selected)
    chosen = {name: check for name, check in CHECKS.items() if options.checks in name}
    task = progress.add_task("checking", total=len(chosen))
    for name, check in chosen.items():
        yield one(name, check, setting)
        progress.advance(task)


def one(name: str, check: Check, setting: Setting) -> report.Row:
    """Run one check and return its row."""
    began = time.perf_counter()
    passed: bool | None = True
    try:
        with torch.cuda.device(setting.device) if setting.device.type == "cuda" else nullcontext():
            found = check(setting)
    except Skipped as reason:
        passed, found = None, f"skipped: {reason}"
    except Exception as problem:  # a check that fails stops no other
        passed = False
        is_told = isinstance(problem, AssertionError) and str(problem)
        found = f"FAILED: {problem if is_told else traceback.format_exc()}"
    row = {"method": name, "seconds": round(time.perf_counter() - began, 2), "passed": passed, "found": found}
    return {**row, "settings": found}
