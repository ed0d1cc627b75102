"""Pretrains a Llama-type model on a corpus, by the clock, resumable.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) for matrices, AdamW for embeddings and norms;
warm-up, constant, then linear decay to zero, all in shares of the time given, so that a run always ends decayed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from tokenizers import Tokenizer
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from decoding.training import corpus
from decoding.training.samples import Samples, encode_sample

log = logging.getLogger(__name__)

WARM_UP_STEPS = 40
DECAY_SHARE = 0.4
MUON_LR = 0.02
ADAM_LR = 3e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a run needs to know; `minutes` is its length by the clock, earlier stretches counted in."""

    minutes: float
    row_len: int = 1024
    num_rows: int = 4
    seed: int = 1
    save_every_minutes: float = 10.0


Loss = Callable[[LlamaForCausalLM, Tensor], Tensor]


def next_token_loss(model: LlamaForCausalLM, ids: Tensor) -> Tensor:
    """Mean cross-entropy in nats a token; `ids` is (rows, row_len) int64."""
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    return F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())


def new_model(
    tokenizer: Tokenizer, *, width: int, layers: int, ff: int, heads: int, kv_heads: int, max_len: int
) -> LlamaForCausalLM:
    """A Llama with random weights, tied embeddings and our special tokens as its stops."""
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
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
        eos_token_id=tokenizer.token_to_id("<|endoftext|>"),
        pad_token_id=tokenizer.token_to_id("<|fim_pad|>"),
    )
    # transformers keeps what it doesn't know; our loader reads the model's own layout and languages from it.
    config.tabcast = {"fim_order": "suffix_first", "languages": ["python"]}
    return LlamaForCausalLM(config)


def run(
    model: LlamaForCausalLM, samples: Samples, recipe: Recipe, checkpoint: Path, *, loss_of: Loss = next_token_loss
) -> float:
    """Train `model` in place until the time is over; return the last smoothed loss.

    Resumes from `checkpoint` where that exists, and writes it aside and renames it.
    Raises `FloatingPointError` at the first loss that is not a number.
    """
    optimizers = _optimizers(model)
    step, spent, smoothed = _resume(model, optimizers, samples, recipe, checkpoint)
    model.train()
    began, saved = time.monotonic() - spent, spent
    while (spent := time.monotonic() - began) < recipe.minutes * 60:
        share = spent / (recipe.minutes * 60)
        scale = min(1.0, (step + 1) / WARM_UP_STEPS, (1 - share) / DECAY_SHARE)
        with torch.autocast(_device(model).type, dtype=torch.bfloat16):
            loss = loss_of(model, torch.from_numpy(samples.batch(recipe.num_rows)).to(_device(model)))
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {step}")
        loss.backward()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * scale
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        smoothed = loss.item() if step == 1 else 0.98 * smoothed + 0.02 * loss.item()
        if step % 25 == 0:
            tokens = step * recipe.num_rows * recipe.row_len
            log.info("step %d, %.2f M tokens, loss %.3f, %.0f s", step, tokens / 1e6, smoothed, spent)
        if spent - saved > recipe.save_every_minutes * 60:
            _save(model, optimizers, step, spent, smoothed, checkpoint)
            saved = spent
    _save(model, optimizers, step, spent, smoothed, checkpoint)
    return smoothed


@torch.no_grad()
def held_out_loss(model: LlamaForCausalLM, files: list[corpus.SourceFile], tokenizer: Tokenizer) -> tuple[float, float]:
    """Nats a token and bits a character over the first 2,400 characters of each held-out file."""
    model.eval()
    nats, num_tokens, num_characters = 0.0, 0, 0
    for file in files:
        text = file.text[:2400]
        ids = torch.tensor([encode_sample(tokenizer, file.path, text, None, "")], device=_device(model))
        header = ids.shape[1] - len(tokenizer.encode(text, add_special_tokens=False).ids)
        logits = model(input_ids=ids, use_cache=False).logits[0, header - 1 : -1]
        nats += F.cross_entropy(logits.float(), ids[0, header:], reduction="sum").item()
        num_tokens += ids.shape[1] - header
        num_characters += len(text)
    return nats / num_tokens, nats / num_characters / 0.6931


def _optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name and "lm_head" not in name]
    others = [p for name, p in named if not (p.ndim == 2 and "embed" not in name and "lm_head" not in name)]
    muon = torch.optim.Muon(matrices, lr=MUON_LR, momentum=0.95, weight_decay=0.01)
    adam = torch.optim.AdamW(others, lr=ADAM_LR, betas=(0.9, 0.95), weight_decay=0.0)
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return [muon, adam]


def _resume(
    model: LlamaForCausalLM,
    optimizers: list[torch.optim.Optimizer],
    samples: Samples,
    recipe: Recipe,
    checkpoint: Path,
) -> tuple[int, float, float]:
    if not checkpoint.exists():
        return 0, 0.0, 0.0
    state = torch.load(checkpoint, weights_only=True)
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    for _ in range(state["step"]):
        samples.batch(recipe.num_rows)
    log.info("goes on from step %d", state["step"])
    return state["step"], state["spent"], state["loss"]


def _save(
    model: LlamaForCausalLM,
    optimizers: list[torch.optim.Optimizer],
    step: int,
    spent: float,
    loss: float,
    checkpoint: Path,
) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    partial = checkpoint.with_suffix(".partial")
    state = {"model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers]}
    torch.save({**state, "step": step, "spent": spent, "loss": loss}, partial)
    partial.replace(checkpoint)


def _device(model: LlamaForCausalLM) -> torch.device:
    return next(model.parameters()).device
