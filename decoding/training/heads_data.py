"""Prepares the training of heads: loads the target into the engine, and collects its states of the user's texts."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from decoding.config import EngineConfig
from decoding.errors import TabcastError
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.loading.model_set import ModelSet, load_models
from decoding.protocol import NO_MODEL
from decoding.training import corpus, evaluate_draft, heads, progress
from decoding.training.collect import Collector, Wanted
from decoding.training.command_time import CommandTime
from decoding.training.draft import DraftRecipe, check_num_tokens, read_data
from decoding.training.samples import SampleFormat, Samples
from decoding.training.states import Places, Record, StatesFolder

log = logging.getLogger(__name__)

PLACES_A_ROW: Final = 128
MOST_HELD_OUT: Final = 12  # texts
HELD_OUT_SHARE: Final = 0.25  # of a held-out text is the target's own
CHARACTERS_A_TOKEN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The loaded target, what is needed of its weights, new heads or given ones, and what they learn from."""

    models: ModelSet
    head: heads.TargetHead
    module: heads.HeadsModule
    places: Places
    num_tokens: int
    held_out: list[Record]
    prompts: list[list[int]]


def prepare(wanted: DraftRecipe, data: Sequence[Path], num_tokens: int, clock: CommandTime) -> Prepared:
    """Collect about so many tokens, fewer where half of the clock's time is over before, and make the heads.

    Raises:
        TabcastError: too little data, a target that tells no states, given heads that don't fit, or the collecting was
            interrupted; what was collected stays.
    """
    check_num_tokens(wanted.num_tokens)
    folder = ModelFolder.read(wanted.target)
    if reason := folder.why_not_ours(wanted.row_len):
        raise TabcastError(f"{wanted.target}: {reason} is not computed by our own forward pass, which heads need")
    row_len = min(wanted.row_len, int(folder.sizes.max_positions or wanted.row_len))
    width = (wanted.size or {}).get("width")
    heads.check_width(width, folder.sizes.width)
    files, held_out = read_data(data, corpus.CODE_ENDINGS)
    models = _load(wanted, row_len)
    head = heads.TargetHead.read(folder, models.target.shape.vocabulary)
    given = None if wanted.begin_with is None else heads.read_heads(wanted.begin_with, head)
    form = _form_of(models, folder)
    told = {"target": head.identity, "seed": wanted.seed, "row_len": row_len}
    told |= {"own_share": wanted.own_share, "files": _digest([*files, *held_out])}
    store = StatesFolder(wanted.out.with_name(f"{wanted.out.name}.states"), told)
    most = CHARACTERS_A_TOKEN * row_len
    available = max(2, 2 * sum(len(file.text) for file in files) // most)
    num_texts = max(2, min(available, num_tokens // row_len))
    collector = Collector(models.target, store, head.norm_eps)
    with progress.Stop() as stop:
        measured = Wanted(
            split="heldout", num_texts=max(2, min(MOST_HELD_OUT, num_texts // 4)), own_share=HELD_OUT_SHARE
        )
        feed = Samples(held_out, form, row_len=row_len, seed=wanted.seed)
        kept = collector.collect(feed, measured, lambda: stop.is_asked)
        learnt = Wanted(split="train", num_texts=num_texts, own_share=wanted.own_share)
        feed = Samples(files, form, row_len=row_len, seed=wanted.seed)
        texts = collector.collect(feed, learnt, lambda: stop.is_asked, clock.is_half_over)
    torch.manual_seed(wanted.seed)
    module = given or heads.new_heads(head, texts, width=width, num_heads=wanted.num_tokens)
    return Prepared(
        models=models,
        head=head,
        module=module.to(wanted.device),
        places=Places(texts, num_heads=len(module.blocks), row_len=PLACES_A_ROW, seed=wanted.seed),
        num_tokens=len(texts) * row_len,
        held_out=kept,
        prompts=evaluate_draft.prompts_of(
            held_out,
            form,
            max_len=row_len - evaluate_draft.NEW_TOKENS,
            num_prompts=clock.few(evaluate_draft.NUM_PROMPTS),
        ),
    )


def _load(wanted: DraftRecipe, row_len: int) -> ModelSet:
    models, _ = load_models(
        EngineConfig(
            model=str(wanted.target.absolute()),
            draft=NO_MODEL,
            parallel=NO_MODEL,
            heads=NO_MODEL,
            device=wanted.device,
            context_tokens=max(128, row_len),
        )
    )
    if not models.target.hidden_width:
        raise TabcastError(f"{wanted.target} doesn't tell its hidden states here, so that no heads can be made for it")
    return models


def _form_of(models: ModelSet, folder: ModelFolder) -> SampleFormat:
    ends = folder.end_token_ids
    end_id = ends[0] if ends else min(models.layout.stop_ids, default=0)
    return SampleFormat(tokenizer=models.tokenizer, layout=models.layout, end_id=end_id)


def _digest(files: Sequence[corpus.SourceFile]) -> str:
    """Return a digest of the files, because the place of a text in their stream names it."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.path} {len(file.text)} ".encode() + file.text.encode())
    return digest.hexdigest()[:32]
