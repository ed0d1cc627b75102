"""`tabcast train`: the steps that made the shipped pair, each resumable, each a folder in and a folder out."""

from __future__ import annotations

import argparse
import json
import logging
import random
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from decoding.errors import TabcastError
from decoding.training import corpus, pretrain, samples
from decoding.training import tokenizer as training_tokenizer
from decoding.training.distill import distillation_loss
from decoding.training.export import export

log = logging.getLogger(__name__)

HELD_OUT_FILES = 150
TOKENIZER_FILES = 2000


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `corpus`, `tokenizer`, `target` and `draft` below `train`."""
    steps = commands.add_parser("train", help="make a small model and its draft").add_subparsers(required=True)
    step = steps.add_parser("corpus", help="collect permissively licensed Python of this machine")
    _add(step, _corpus, out="folder for the corpus")
    step.add_argument("--root", type=Path, action="append", help="collect below this folder instead (repeatable)")
    step = steps.add_parser("tokenizer", help="learn a byte-level BPE")
    _add(step, _tokenizer, corpus="folder made by `train corpus`", out="folder for the tokenizer")
    step.add_argument("--vocabulary", type=int, default=8192)
    for name, run, width, layers, ff, heads in (
        ("target", _target, 320, 6, 896, 5),
        ("draft", _draft, 128, 2, 384, 2),
    ):
        step = steps.add_parser(name, help=f"train the {name} by the clock")
        _add(step, run, corpus="folder of the corpus", tokenizer="folder of the tokenizer", out="model folder")
        step.add_argument("--checkpoint", type=Path, required=True, help="file to go on from, written as it trains")
        step.add_argument("--minutes", type=float, required=True, help="length, earlier stretches counted in")
        step.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
        step.add_argument("--width", type=int, default=width)
        step.add_argument("--layers", type=int, default=layers)
        step.add_argument("--ff", type=int, default=ff)
        step.add_argument("--heads", type=int, default=heads, help="query heads; they share one key head")
        step.add_argument("--row-len", type=int, default=1024, help="tokens a row, and the length that it can hold")
        step.add_argument("--rows", type=int, default=4, help="rows a step")
        step.add_argument("--seed", type=int, default=1)
    step.add_argument("--target", type=Path, required=True, help="model folder whose distribution the draft learns")


def _add(step: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None], **folders: str) -> None:
    step.set_defaults(run=run)
    for name, text in folders.items():
        step.add_argument(f"--{name}", type=Path, required=True, help=text)


def _corpus(options: argparse.Namespace) -> None:
    characters = corpus.write(corpus.collect(roots=options.root), options.out)
    log.info("%s", json.dumps(characters))


def _tokenizer(options: argparse.Namespace) -> None:
    files = _read(options.corpus, "train")
    random.Random(0).shuffle(files)  # noqa: S311 - sampling, not secrets
    learnt = training_tokenizer.train(
        (file.text for file in files[:TOKENIZER_FILES]), vocabulary_size=options.vocabulary
    )
    training_tokenizer.save(learnt, options.out)
    held_out = _read(options.corpus, "heldout")
    tokens = sum(len(samples.encode(learnt, file.text)) for file in held_out)
    if tokens:
        log.info("%.2f characters a token on held-out files", sum(len(file.text) for file in held_out) / tokens)


def _target(options: argparse.Namespace) -> None:
    _train(options, pretrain.next_token_loss)


def _draft(options: argparse.Namespace) -> None:
    teacher = LlamaForCausalLM.from_pretrained(options.target, dtype=torch.float32).to(options.device)
    _train(options, distillation_loss(teacher))


def _train(options: argparse.Namespace, loss_of: pretrain.Loss) -> None:
    tokenizer = Tokenizer.from_file(str(options.tokenizer / "tokenizer.json"))
    torch.manual_seed(options.seed)
    model = pretrain.new_model(
        tokenizer,
        width=options.width,
        layers=options.layers,
        ff=options.ff,
        heads=options.heads,
        kv_heads=1,
        max_len=options.row_len,
    ).to(options.device)
    recipe = pretrain.Recipe(minutes=options.minutes, row_len=options.row_len, num_rows=options.rows, seed=options.seed)
    rows = samples.Samples(_read(options.corpus, "train"), tokenizer, row_len=options.row_len, seed=options.seed)
    log.info("%.2f M parameters", sum(p.numel() for p in model.parameters()) / 1e6)
    loss = pretrain.run(model, rows, recipe, options.checkpoint, loss_of=loss_of)
    export(model.cpu(), tokenizer, options.out)
    held_out = _read(options.corpus, "heldout")[:HELD_OUT_FILES]
    if held_out:
        nats, bits = pretrain.held_out_loss(model, held_out, tokenizer)
        log.info("training loss %.3f, held out %.3f nats a token, %.3f bits a character", loss, nats, bits)


def _read(folder: Path, split: str) -> list[corpus.SourceFile]:
    try:
        return corpus.read(folder / f"{split}.jsonl.gz")
    except FileNotFoundError:
        raise TabcastError(f"{folder} holds no corpus: make one with `tabcast train corpus --out {folder}`") from None
