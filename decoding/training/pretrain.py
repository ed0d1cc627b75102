"""Trains a model on rows of tokens, resumable, ended by the clock or by a number of steps.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) for matrices, AdamW for embeddings and norms.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from decoding.training import checkpoint, corpus, progress
from decoding.training.checkpoint import TrainingError, TrainingInterrupted
from decoding.training.dataloader import DataLoader
from decoding.training.fim_splits import FimSplit
from decoding.training.samples import SampleFormat, Surroundings, encode_sample
from decoding.training.schedule import RunLength, Schedule

log = logging.getLogger(__name__)

MUON_LR = 0.02
ADAM_LR = 3e-3
SMOOTHING = 0.98
# chosen: rows of logits computed at a time. On a CPU they should fit the cache; a GPU wants few and large products.
LOGIT_ROWS = {"cpu": 512, "cuda": 8192}
HELD_OUT_CHARACTERS = 2400
BITS = math.log(2)

Loss = Callable[[Any, Tensor], Tensor]  # takes the trained module and ids (rows, row_len)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The settings of a run; `rate_scale` multiplies the learning rates."""

    length: RunLength
    num_rows: int = 4
    rate_scale: float = 1.0
    save_every_minutes: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of a run or a stretch of it; `loss` is smoothed, in nats a token."""

    loss: float
    num_steps: int
    spent_s: float
    is_finished: bool


def next_token_loss(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats a token; `ids` is (rows, row_len) int64."""
    hidden = hidden_states(model, ids)[:, :-1].flatten(0, 1)
    wanted = ids[:, 1:].flatten()
    # In pieces, because the logits of a whole batch in float32 are the largest tensor of a step by far.
    rows = LOGIT_ROWS[ids.device.type]
    pieces = zip(hidden.split(rows), wanted.split(rows), strict=True)
    nats = [F.cross_entropy(model.lm_head(piece).float(), labels, reduction="sum") for piece, labels in pieces]
    return torch.stack(nats).sum() / len(wanted)


def hidden_states(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """Return the hidden states that the head reads, (rows, row_len, width)."""
    states: Tensor = model.model(input_ids=ids, use_cache=False).last_hidden_state
    return states


def new_model(
    form: SampleFormat, *, width: int, layers: int, ff: int, heads: int, kv_heads: int, max_len: int
) -> LlamaForCausalLM:
    """Make a Llama with random weights, tied embeddings and our special tokens as its stops."""
    config = LlamaConfig(
        vocab_size=form.tokenizer.get_vocab_size(),
        hidden_size=width,
        num_hidden_layers=layers,
        intermediate_size=ff,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=width // heads,
        max_position_embeddings=max_len,
        tie_word_embeddings=True,
        rms_norm_eps=1e-6,
        bos_token_id=None,
        eos_token_id=form.end_id,
        pad_token_id=form.tokenizer.token_to_id("<|fim_pad|>"),
    )
    # transformers keeps unknown keys; our loader reads the model's layout and languages from this one.
    config.tabcast = {"fim_order": "suffix_first", "languages": ["python"]}
    return LlamaForCausalLM(config)


def run(
    model: torch.nn.Module,
    feed: DataLoader,
    recipe: Recipe,
    checkpoint_path: Path,
    *,
    loss_of: Loss = next_token_loss,
    name: str = "training",
) -> Result:
    """Train `model` in place until its time is over, starting from `checkpoint_path` where that exists.

    Raises:
        TrainingError: a loss is no number, the run was interrupted (and its state saved), or the disk is full.
    """
    optimizers = _optimizers(model)
    state = checkpoint.load(checkpoint_path, model, optimizers)
    if state.data:
        feed.restore(state.data)
    model.train()
    schedule = Schedule(recipe.length, began_s=state.spent_s)
    began = time.monotonic() - state.spent_s
    saved_s, is_finished = state.spent_s, False
    with progress.Stop() as stop, progress.Bar(name) as bar:
        while not stop.is_asked and not schedule.is_stretch_over(state.spent_s):
            rate = schedule.rate(state.step, state.spent_s)
            if is_finished := rate <= 0:
                break
            loss = _step(model, feed, recipe, optimizers, loss_of, rate)
            if not math.isfinite(loss):
                raise TrainingError(_not_a_number(loss, state.step, checkpoint_path))
            state.step += 1
            state.loss = loss if state.step == 1 else SMOOTHING * state.loss + (1 - SMOOTHING) * loss
            state.spent_s = time.monotonic() - began
            bar.show(schedule.share(state.step, state.spent_s), state)
            if state.spent_s - saved_s > recipe.save_every_minutes * 60:
                saved_s = state.spent_s
                _save_if_possible(checkpoint_path, state, feed, model, optimizers)
    state.data = feed.state()
    checkpoint.save(checkpoint_path, state, model, optimizers)
    if stop.is_asked:
        raise TrainingInterrupted(f"interrupted at step {state.step}; the same command goes on from {checkpoint_path}")
    return Result(loss=state.loss, num_steps=state.step, spent_s=state.spent_s, is_finished=is_finished)


@torch.no_grad()
def held_out_loss(
    model: PreTrainedModel, files: Sequence[corpus.SourceFile], form: SampleFormat
) -> tuple[float, float]:
    """Return nats a token and bits a character over the first 2,400 characters of each held-out file."""
    model.eval()
    nats, num_tokens, num_characters = 0.0, 0, 0
    for file in files:
        text = file.text[:HELD_OUT_CHARACTERS]
        length = len(form.encode(text))
        sample = encode_sample(form, Surroundings(path=file.path), FimSplit(text, None, ""), budget=2 * length + 256)
        limit = min(len(sample), model.config.max_position_embeddings)
        ids = torch.tensor([sample[:limit]], device=model.device)
        header = len(sample) - length
        logits = model.lm_head(hidden_states(model, ids)[0, header - 1 : -1])
        nats += F.cross_entropy(logits.float(), ids[0, header:], reduction="sum").item()
        num_tokens += limit - header
        num_characters += len(form.tokenizer.decode(ids[0, header:].tolist()))
    return nats / num_tokens, nats / num_characters / BITS


def _step(
    model: torch.nn.Module,
    feed: DataLoader,
    recipe: Recipe,
    optimizers: Sequence[torch.optim.Optimizer],
    loss_of: Loss,
    rate: float,
) -> float:
    """Make one update and return its loss; where that is no number, the weights stay as they are."""
    device = next(model.parameters()).device
    ids = torch.from_numpy(feed.batch(recipe.num_rows)).to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        loss = loss_of(model, ids)
    value = loss.item()
    if not math.isfinite(value):
        return value
    loss.backward()
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * rate * recipe.rate_scale
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return value


def _optimizers(model: torch.nn.Module) -> list[torch.optim.Optimizer]:
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim == 2 and "embed" not in name and "lm_head" not in name
        (matrices if is_matrix else others).append(parameter)
    muon = torch.optim.Muon(matrices, lr=MUON_LR, momentum=0.95, weight_decay=0.01)
    adam = torch.optim.AdamW(others, lr=ADAM_LR, betas=(0.9, 0.95), weight_decay=0.0)
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return [muon, adam]


def _save_if_possible(
    path: Path,
    state: checkpoint.Progress,
    feed: DataLoader,
    model: torch.nn.Module,
    optimizers: list[torch.optim.Optimizer],
) -> None:
    """Save the state; a full disk is no reason to stop, since there may be room before the next time."""
    state.data = feed.state()
    try:
        checkpoint.save(path, state, model, optimizers)
    except TrainingError as error:
        log.warning("%s; training goes on", error)


def _not_a_number(loss: float, step: int, path: Path) -> str:
    kept = f"{path} holds the state before" if path.exists() else "nothing was saved yet"
    return f"the loss is {loss} at step {step}: training stopped; {kept}; try a smaller --rate-scale"
