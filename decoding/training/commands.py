"""Implements `tabcast train`: the steps that made the shipped pair, each resumable, from folder to folder."""

from __future__ import annotations

import argparse
import logging
import random
from collections.abc import Callable
from pathlib import Path

import torch

from decoding.config import EngineConfig, beside, model_folder
from decoding.errors import TabcastError
from decoding.models.folder.tokenizer_files import load_tokenizer
from decoding.models.listed import resolved
from decoding.training import (
    corpus,
    draft,
    evaluate_draft,
    filtering,
    heads_command,
    online_command,
    pack,
    pretrain,
    prune,
    samples,
    schedule,
    train_pair,
)
from decoding.training import tokenizer as training_tokenizer
from decoding.training.export import export

log = logging.getLogger(__name__)

HELD_OUT_FILES = 150
TOKENIZER_FILES = 2000
BUNDLED_ROLE = {"model": "draft", "parallel": "draft", "heads": "heads"}
FORMS = {"suffix_first": samples.SampleFormat.suffix_first, "prefix_first": samples.SampleFormat.prefix_first}


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the steps below `train`."""
    steps = commands.add_parser("train", help="make a small model, or a draft for yours").add_subparsers(required=True)
    _add_texts(steps)
    _add_models(steps)
    train_pair.add_parser(steps)
    online_command.add_parser(steps)
    _add_packing(steps)


def _add_texts(steps: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    step = steps.add_parser("corpus", help="collect permissively licensed Python of this machine")
    _add(step, _corpus, out="folder for the corpus")
    step.add_argument("--root", type=Path, action="append", help="collect below this folder instead (repeatable)")
    step.add_argument("--site", type=Path, action="append", default=[], help="another interpreter's site-packages")
    step.add_argument("--package-mb", type=float, default=8.0, help="take at most this much of a package")
    step.add_argument(
        "--evaluation",
        type=Path,
        action="append",
        default=[],
        help="JSON lines: leave out files that share text with it",
    )
    step = steps.add_parser("tokenizer", help="learn a byte-level BPE")
    _add(step, _tokenizer, corpus="folder made by `train corpus`", out="folder for the tokenizer")
    step.add_argument("--vocabulary", type=int, default=8192)


def _add_models(steps: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    step = steps.add_parser("target", help="train a model on a corpus")
    _add(step, _target, tokenizer="folder of the tokenizer", out="model folder")
    step.add_argument("--corpus", type=Path, required=True, action="append", help="folder of a corpus (repeatable)")
    step.add_argument(
        "--init", help="begin with the weights of this model (a folder, or bundled) instead of random ones"
    )
    step.add_argument(
        "--fim-order",
        choices=list(FORMS),
        default="suffix_first",
        help="suffix_first as the engine asks it, or prefix_first in the classic layout, cut anywhere",
    )
    for name, size in train_pair.CPU_SIZE.items():
        step.add_argument(f"--{name.replace('_', '-')}", type=int, default=size)
    _add_run(step)
    step = steps.add_parser("draft", help="make a draft for a target out of it, on your own code")
    _add(step, _draft)
    step.add_argument(
        "--data",
        type=Path,
        required=True,
        action="append",
        help="folder with Python files, for heads with code of any language, or a corpus (repeatable)",
    )
    step.add_argument("--out", type=Path, help="model folder; for heads the place where the engine looks by default")
    step.add_argument(
        "--target", "--model", required=True, help="a folder, a listed model's name, bundled, or for heads a GGUF file"
    )
    step.add_argument(
        "--kind",
        choices=list(evaluate_draft.METHODS),
        default="model",
        help="a small model that drafts token by token, one that drafts several in a pass, or heads on the target",
    )
    step.add_argument("--begin-with", help="a draft of the same tokenizer to go on with, instead of beginning anew")
    step.add_argument("--tokens", type=int, help="that a parallel draft or heads guess at a time, 2 to 8")
    heads_command.add_arguments(step)
    for name in prune.Size.__slots__:
        step.add_argument(f"--{name.replace('_', '-')}", type=int, help="of what is cut out of the target")
    _add_run(step)


def _add_packing(steps: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    step = steps.add_parser("pack", help="store a model in int8, in files below 16 MB")
    _add(step, _pack, model="model folder", out="folder for the packed model")
    step = steps.add_parser("unpack", help="make a model folder of a packed one")
    _add(step, _unpack, model="folder of the packed model", out="model folder")
    for step in (steps.choices["pack"], steps.choices["unpack"]):
        step.add_argument("--corpus", type=Path, help="say the loss on its held-out files, before and after")


def _add(step: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None], **folders: str) -> None:
    step.set_defaults(run=run)
    for name, text in folders.items():
        step.add_argument(f"--{name}", type=Path, required=True, help=text)


def _add_run(step: argparse.ArgumentParser) -> None:
    step.add_argument("--checkpoint", type=Path, help="file to go on from, written as it trains (beside --out)")
    step.add_argument(
        "--minutes",
        type=float,
        help="length by the clock, earlier stretches counted in; of a draft, with loading and measuring",
    )
    step.add_argument("--steps", type=int, help="length in steps; with it alone a run is repeatable on a CPU")
    step.add_argument("--stretch-minutes", type=float, help="pause after so long; the same command goes on")
    step.add_argument("--stop-file", type=Path, help="once this file exists, decay over 200 steps and end")
    step.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    step.add_argument("--row-len", type=int, default=1024, help="tokens a row")
    step.add_argument("--rows", type=int, default=4, help="rows a step")
    step.add_argument("--rate-scale", type=float, default=1.0, help="multiplies the learning rates")
    step.add_argument("--save-every", type=float, default=10.0, help="minutes between two checkpoints")
    step.add_argument("--seed", type=int, default=1)


def _corpus(options: argparse.Namespace) -> None:
    try:
        evaluation = filtering.evaluation_runs(options.evaluation)
    except (OSError, ValueError) as error:
        raise TabcastError(f"an evaluation file can't be read: {error}") from None
    dropped = corpus.Dropped()
    files = corpus.collect(
        max_package_characters=int(options.package_mb * 1e6),
        roots=options.root,
        sites=options.site,
        evaluation=evaluation,
        dropped=dropped,
    )
    characters = corpus.write(files, options.out)
    log.info("files: %s", ", ".join(f"{count} {reason}" for reason, count in dropped.reasons.most_common()))
    log.info("characters: %s", ", ".join(f"{count} {split}" for split, count in characters.items()))


def _tokenizer(options: argparse.Namespace) -> None:
    files = _read(options.corpus, "train")
    random.Random(0).shuffle(files)  # noqa: S311 - sampling, not secrets
    learnt = training_tokenizer.train(
        (file.text for file in files[:TOKENIZER_FILES]), vocabulary_size=options.vocabulary
    )
    training_tokenizer.save(learnt, options.out)
    held_out = _read(options.corpus, "heldout")
    form = samples.SampleFormat.suffix_first(learnt)
    tokens = sum(len(form.encode(file.text)) for file in held_out)
    if tokens:
        log.info("%.2f characters a token on held-out files", sum(len(file.text) for file in held_out) / tokens)


def _target(options: argparse.Namespace) -> None:
    form = FORMS[options.fim_order](load_tokenizer(options.tokenizer))
    files = [file for folder in options.corpus for file in _read(folder, "train")]
    corpus.check_enough(files)
    torch.manual_seed(options.seed)
    if options.init is not None:
        model = draft.load_model(model_folder(options.init, "target"), options.device)
    else:
        size = {name: getattr(options, name) for name in train_pair.CPU_SIZE}
        model = pretrain.new_model(form, **size, max_len=options.row_len).to(options.device)
    model.config.tabcast = {**getattr(model.config, "tabcast", {}), "fim_order": options.fim_order}
    log.info("%.2f M parameters", model.num_parameters() / 1e6)
    feed = samples.Samples(files, form, row_len=options.row_len, seed=options.seed)
    result = pretrain.run(model, feed, _recipe(options), _checkpoint(options, options.out))
    export(model, options.tokenizer, options.out)
    held_out = [file for folder in options.corpus for file in _read(folder, "heldout")][:HELD_OUT_FILES]
    if held_out:
        nats, bits = pretrain.held_out_loss(model, held_out, form)
        log.info("training loss %.3f, held out %.3f nats a token, %.3f bits a character", result.loss, nats, bits)
    _say_whether_finished(result.is_finished)


def _draft(options: argparse.Namespace) -> None:
    size = {name: getattr(options, name) for name in prune.Size.__slots__ if getattr(options, name) is not None}
    heads_command.check(options)
    target = resolved(EngineConfig(model=options.target)).model_path
    if options.out is None and options.kind != evaluate_draft.HEADS:
        raise TabcastError("where should the draft go? give --out")
    out = options.out or beside(target, evaluate_draft.HEADS)
    wanted = draft.DraftRecipe(
        target=target,
        out=out,
        kind=options.kind,
        text_tokens=options.text_tokens,
        own_share=options.own_share,
        begin_with=None if options.begin_with is None else model_folder(options.begin_with, BUNDLED_ROLE[options.kind]),
        size=size,
        num_tokens=options.tokens,
        device=options.device,
        row_len=options.row_len,
        seed=options.seed,
    )
    checkpoint = _checkpoint(options, out)
    if options.kind == evaluate_draft.HEADS:
        is_finished = heads_command.run(wanted, options, lambda: _recipe(options), checkpoint)
    else:
        is_finished = draft.train(wanted, options.data, _recipe(options), checkpoint).is_finished
    _say_whether_finished(is_finished)


def _pack(options: argparse.Namespace) -> None:
    model = draft.load_model(options.model, "cpu")
    pack.pack(model, options.model, options.out)
    if options.corpus is not None:
        held_out, form = _read(options.corpus, "heldout")[:HELD_OUT_FILES], draft.form_of(options.model)
        before, _ = pretrain.held_out_loss(model, held_out, form)
        model.load_state_dict(pack.restore(pack.quantize(model.state_dict(), is_tied=False)))
        after, _ = pretrain.held_out_loss(model, held_out, form)
        log.info("held out %.4f nats a token, in int8 %.4f", before, after)


def _unpack(options: argparse.Namespace) -> None:
    model = pack.unpack(options.model, options.out)
    if options.corpus is not None:
        held_out = _read(options.corpus, "heldout")[:HELD_OUT_FILES]
        log.info("held out %.4f nats a token", pretrain.held_out_loss(model, held_out, draft.form_of(options.out))[0])


def _recipe(options: argparse.Namespace) -> pretrain.Recipe:
    if options.minutes is None and options.steps is None:
        raise TabcastError("how long? give --minutes, --steps, or both for whichever is over first")
    length = schedule.RunLength(
        steps=options.steps,
        minutes=options.minutes,
        stop_file=options.stop_file,
        stretch_minutes=options.stretch_minutes,
    )
    return pretrain.Recipe(
        length=length, num_rows=options.rows, rate_scale=options.rate_scale, save_every_minutes=options.save_every
    )


def _checkpoint(options: argparse.Namespace, out: Path) -> Path:
    path: Path = options.checkpoint or out.with_name(out.name + ".checkpoint.pt")
    return path


def _say_whether_finished(is_finished: bool) -> None:
    log.info("finished" if is_finished else "this stretch is over; run the same command again to continue")


def _read(folder: Path, split: str) -> list[corpus.SourceFile]:
    try:
        return corpus.read(folder / f"{split}.jsonl.gz")
    except FileNotFoundError:
        raise TabcastError(f"{folder} holds no corpus: make one with `tabcast train corpus --out {folder}`") from None
