"""Implements `tabcast train pair`: target and drafts in stretches by the clock, for a large GPU lent by minutes.

Each call of the command continues where the last one stopped: the target first, then its draft, a parallel draft that
begins with it, and heads, each with its own share of the time. After each stretch the newest weights are packed below
`--shards`, so that a machine that is taken away leaves a model all the same.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedModel

from decoding.errors import TabcastError
from decoding.models.folder.tokenizer_files import load_tokenizer
from decoding.models.heads import DESCRIPTION_FILE
from decoding.training import corpus, draft, evaluate_draft, heads_run, pack, pretrain
from decoding.training.dataloader import DataLoader, ParallelDataLoader
from decoding.training.export import export
from decoding.training.samples import SampleFormat, Samples
from decoding.training.schedule import RunLength

log = logging.getLogger(__name__)

CPU_SIZE = {"width": 320, "layers": 6, "ff": 896, "heads": 5, "kv_heads": 1}
HEADS_TOKENS = 200_000  # chosen: what the shipped target's states of take minutes
GPU_SIZE = {"width": 512, "layers": 9, "ff": 1408, "heads": 8, "kv_heads": 2}
HELD_OUT_FILES = 100
# chosen: the time in a stretch for loading, measuring and packing, beside the training.
OVERHEAD_MINUTES = 1.0


def add_parser(steps: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of `pair` below `train`."""
    step = steps.add_parser("pair", help="train target and draft in stretches by the clock")
    step.set_defaults(run=run)
    step.add_argument("--corpus", type=Path, required=True, action="append", help="folder of a corpus (repeatable)")
    step.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    step.add_argument("--work", type=Path, required=True, help="folder for checkpoints and models")
    step.add_argument("--shards", type=Path, required=True, help="folder for the packed models")
    step.add_argument("--target-minutes", type=float, default=16.0)
    step.add_argument("--draft-minutes", type=float, default=5.0)
    step.add_argument("--parallel-minutes", type=float, default=3.0, help="0 makes none")
    step.add_argument("--heads-minutes", type=float, default=2.0, help="0 makes none")
    step.add_argument("--stretch-minutes", type=float, default=9.0, help="when this call ends, all in all")
    step.add_argument("--rows", type=int, default=64, help="rows a step")
    step.add_argument("--row-len", type=int, default=1024)
    step.add_argument("--workers", type=int, default=12, help="processes that make rows; 0 makes them in between")
    step.add_argument("--compile", action="store_true", help="compile the model, where the machine can")
    step.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    step.add_argument("--seed", type=int, default=1)
    for name, size in GPU_SIZE.items():
        step.add_argument(f"--{name.replace('_', '-')}", type=int, default=size)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clock:
    """Ends a call: `began` is monotonic seconds."""

    began: float
    stretch_minutes: float

    def left_minutes(self) -> float:
        return self.stretch_minutes - OVERHEAD_MINUTES - (time.monotonic() - self.began) / 60


def run(options: argparse.Namespace) -> None:
    """Train the pair for one stretch. Raises `TabcastError`."""
    clock = _Clock(began=time.monotonic(), stretch_minutes=options.stretch_minutes)
    target = options.work / "target"
    if not (target / "config.json").is_file():
        _train_target(options, clock, target)
    if not (target / "config.json").is_file():
        log.info("the target is not finished: run the same command again to continue")
    else:
        _train_drafts(options, clock, target)


def _train_target(options: argparse.Namespace, clock: _Clock, folder: Path) -> None:
    form = SampleFormat.suffix_first(load_tokenizer(options.tokenizer))
    files = _read(options.corpus, "train")
    corpus.check_enough(files)
    feed = _feed(options, partial(_samples, files, form, options.row_len))
    torch.manual_seed(options.seed)
    size = {name: getattr(options, name) for name in GPU_SIZE}
    model = pretrain.new_model(form, **size, max_len=options.row_len).to(options.device)
    log.info("%.2f M parameters", model.num_parameters() / 1e6)
    if options.compile:
        model.model.compile()
    recipe = pretrain.Recipe(
        length=RunLength(minutes=options.target_minutes, stretch_minutes=max(0.0, clock.left_minutes())),
        num_rows=options.rows,
        save_every_minutes=4.0,
    )
    try:
        result = pretrain.run(model, feed, recipe, options.work / "target.pt", name="target")
    finally:
        if isinstance(feed, ParallelDataLoader):
            feed.close()
    tokens = result.num_steps * options.rows * options.row_len
    log.info("%.1f M tokens in %.1f minutes, loss %.3f", tokens / 1e6, result.spent_s / 60, result.loss)
    if result.is_finished:
        export(model, options.tokenizer, folder)
    pack.pack(model, options.tokenizer, options.shards / "target")
    _report(model, options, form)


def _train_drafts(options: argparse.Namespace, clock: _Clock, target: Path) -> None:
    draft_folder = options.work / "draft"
    for kind, out, minutes, begin_with in (
        (evaluate_draft.MODEL, draft_folder, options.draft_minutes, None),
        (evaluate_draft.PARALLEL, options.work / evaluate_draft.PARALLEL, options.parallel_minutes, draft_folder),
        (evaluate_draft.HEADS, options.work / evaluate_draft.HEADS, options.heads_minutes, None),
    ):
        finished = out.with_suffix(".finished")
        if finished.exists() or minutes <= 0:
            continue
        if clock.left_minutes() <= 0 or not _train_draft(options, clock, target, kind, out, minutes, begin_with):
            log.info("the drafts are not finished: run the same command again to continue")
            return
        finished.touch()
    log.info("the pair is finished")


def _train_draft(
    options: argparse.Namespace,
    clock: _Clock,
    target: Path,
    kind: str,
    out: Path,
    minutes: float,
    begin_with: Path | None,
) -> bool:
    """Train one draft for its share of the stretch; return whether it is finished."""
    wanted = draft.DraftRecipe(
        target=target,
        out=out,
        kind=kind,
        begin_with=begin_with,
        device=options.device,
        row_len=options.row_len,
        seed=options.seed,
        text_tokens=HEADS_TOKENS,
    )
    recipe = pretrain.Recipe(
        length=RunLength(minutes=minutes, stretch_minutes=max(0.0, clock.left_minutes())),
        num_rows=max(1, options.rows // 2),
        save_every_minutes=4.0,
    )
    try:
        train = heads_run.train if kind == evaluate_draft.HEADS else draft.train
        made = train(wanted, options.corpus[:1], recipe, out.with_suffix(".pt"))
    finally:  # a failed measurement at the end must not lose the weights
        if (out / "config.json").is_file():
            pack.pack(draft.load_model(out, "cpu"), out, options.shards / out.name)
        elif (out / DESCRIPTION_FILE).is_file():
            shutil.copytree(out, options.shards / out.name, dirs_exist_ok=True)
    return made.is_finished


def _samples(files: list[corpus.SourceFile], form: SampleFormat, row_len: int, seed: int) -> DataLoader:
    return Samples(files, form, row_len=row_len, seed=seed)


def _feed(options: argparse.Namespace, make: partial[DataLoader]) -> DataLoader:
    if not options.workers:
        return make(options.seed)
    return ParallelDataLoader(make, num_workers=options.workers, num_rows=options.rows, seed=options.seed)


def _report(model: PreTrainedModel, options: argparse.Namespace, form: SampleFormat) -> None:
    held_out = _read(options.corpus, "heldout")[:HELD_OUT_FILES]
    if held_out:
        # A plain copy, because a compiled model would be compiled again for every length of text.
        plain = type(model)(model.config)
        plain.load_state_dict(model.state_dict())
        plain.to(options.device)
        nats, bits = pretrain.held_out_loss(plain, held_out, form)
        log.info("held out %.3f nats a token, %.3f bits a character", nats, bits)


def _read(folders: list[Path], split: str) -> list[corpus.SourceFile]:
    paths = [folder / f"{split}.jsonl.gz" for folder in folders]
    if missing := [path for path in paths if not path.is_file()]:
        raise TabcastError(f"{missing[0]} is missing: make the corpus with `tabcast train corpus`")
    return [file for path in paths for file in corpus.read(path)]
