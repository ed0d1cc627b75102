"""Trains extra heads on a target's hidden state: each learns the target's distribution some tokens ahead.

Cai et al. 2024, Medusa (https://arxiv.org/abs/2401.10774); Ankner et al. 2024, Hydra
(https://arxiv.org/abs/2402.05109); models/heads.py describes them. The target itself is not changed.

Dimension letters: B rows, L tokens of a row, C width of the target, R of the heads' state, V vocabulary, M tokens that
can be guessed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from decoding.errors import TabcastError
from decoding.models.heads import DESCRIPTION_FILE, EPS, FORMAT, WEIGHTS_FILE, identity, read_description
from decoding.training.chains import Continuation, agreement_of
from decoding.training.dataloader import DataLoader
from decoding.training.evaluate_draft import Agreement
from decoding.training.export import write_folder
from decoding.training.pretrain import Loss, hidden_states

NUM_HEADS = 4
MAX_WIDTH = 256
LEAST_KEPT = 2048
SHARE_KEPT = 8  # chosen: heads guess one in so many tokens of the vocabulary, the most frequent ones
COUNTED_ROWS = 128
LATER_HEADS = 0.8  # chosen: the weight of a head's loss, relative to the head before it


class HeadsModule(nn.Module):
    """The heads' weights during training; matrices are (outputs, inputs)."""

    def __init__(
        self, *, width: int, target_width: int, vocabulary: int, num_heads: int, kept_ids: Sequence[int]
    ) -> None:
        super().__init__()
        self.embed = nn.Parameter(torch.zeros(vocabulary, width))
        self.down = nn.Parameter(torch.zeros(width, target_width))
        self.blocks = nn.ParameterList(torch.zeros(width, 2 * width) for _ in range(num_heads))
        self.norm = nn.Parameter(torch.ones(width))
        self.register_buffer("kept", torch.tensor(kept_ids))
        self.kept: Tensor

    def begin(self, normed: Tensor) -> Tensor:
        """Return the first states (…, R) from the input (…, C) of the target's head."""
        return F.linear(normed, self.down)

    def go_on(self, states: Tensor, number: int, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states (…, R) behind `token_ids` (…), and their logits (…, M)."""
        read = torch.cat((states, self.embed[token_ids]), dim=-1)
        states = states + F.silu(F.linear(read, self.blocks[number]))
        normed = F.rms_norm(states, states.shape[-1:], self.norm.to(states.dtype), EPS)
        return states, F.linear(normed, self.embed[self.kept])


def new_heads(teacher: PreTrainedModel, feed: DataLoader, *, width: int | None, num_heads: int | None) -> HeadsModule:
    """Make heads that start as a low-rank copy of the target's own head, for the most frequent tokens of `feed`."""
    head = teacher.lm_head.weight.detach().float()
    width = width or min(teacher.config.hidden_size, MAX_WIDTH)
    if not 1 <= width <= min(head.shape):
        raise TabcastError(f"heads of width {width} don't go with this target: from 1 to {min(head.shape)}")
    counts = np.bincount(feed.batch(COUNTED_ROWS).flatten(), minlength=len(head))
    num_kept = min(len(head), max(LEAST_KEPT, len(head) // SHARE_KEPT))
    kept = np.sort(np.argsort(-counts, kind="stable")[:num_kept])
    module = HeadsModule(
        width=width,
        target_width=head.shape[1],
        vocabulary=len(head),
        num_heads=num_heads or NUM_HEADS,
        kept_ids=kept.tolist(),
    )
    left, sizes, right = torch.svd_lowrank(head, q=width, niter=4)
    module.embed.data = (left * sizes).cpu()
    module.down.data = right.T.contiguous().cpu()
    return module.to(teacher.device)


def heads_loss(teacher: PreTrainedModel) -> Loss:
    """Return a loss for `pretrain.run`: cross-entropy against the target's distribution, in nats a guess."""
    teacher.eval().requires_grad_(False)

    def loss(module: Any, ids: Tensor) -> Tensor:
        with torch.no_grad():
            normed = hidden_states(teacher, ids)
        total: list[Tensor] = []
        for of_row, row in zip(normed, ids, strict=True):
            with torch.no_grad():
                wanted = teacher.lm_head(of_row).float().softmax(-1)[:, module.kept]  # (L, M)
            states = module.begin(of_row)
            for number in range(len(module.blocks)):
                known = row[1 + number :]
                states, logits = module.go_on(states[: len(known)], number, known)
                nats = -(wanted[1 + number :] * logits.float().log_softmax(-1)).sum(-1).mean()
                total.append(nats * LATER_HEADS**number)
        return torch.stack(total).sum() / len(ids) / sum(LATER_HEADS**i for i in range(len(module.blocks)))

    return loss


@torch.no_grad()
def agreement(teacher: PreTrainedModel, module: HeadsModule, written: Sequence[Continuation]) -> Agreement:
    """Guess from every place of the target's own greedy continuations."""
    right: list[list[int]] = []
    for prompt, wanted, whole in written:
        with torch.autocast(teacher.device.type, dtype=torch.bfloat16):
            states = module.begin(hidden_states(teacher, whole)[0, len(prompt) - 1 : -1])
            found = torch.zeros(len(wanted), dtype=torch.long)
            stands = torch.ones(len(wanted), dtype=torch.bool)
            for number in range(len(module.blocks)):
                # Head `number` at place `at` knows the token at + 1 + number and guesses the next.
                known, guessed = wanted[number:-1], wanted[number + 1 :]
                if not len(guessed):
                    break
                states, logits = module.go_on(states[: len(known)], number, known.to(states.device))
                is_right = module.kept[logits.argmax(-1)].cpu() == guessed
                stands = stands[: len(is_right)] & is_right
                found[1 : 1 + len(stands)] += stands
        right.append(found.tolist())
    return agreement_of(right)


def write(module: HeadsModule, teacher: PreTrainedModel, target: Path, folder: Path) -> None:
    """Write the folder that the engine reads. Raises `TrainingError` on a full disk; an older folder stands."""
    norm = teacher.model.norm.weight.detach().float().cpu()
    tensors = {"embedding": module.embed, "down": module.down.detach().float().cpu() * norm, "norm": module.norm}
    tensors |= {f"block.{number}": block for number, block in enumerate(module.blocks)}
    stored = {name: tensor.detach().to("cpu", torch.bfloat16).contiguous() for name, tensor in tensors.items()}
    described = {
        "format": FORMAT,
        "target": identity(target),
        "heads": len(module.blocks),
        "norm_eps": float(teacher.config.rms_norm_eps),
        "kept_ids": module.kept.tolist(),
    }

    def fill(partial: Path) -> None:
        save_file(stored, partial / WEIGHTS_FILE)
        (partial / DESCRIPTION_FILE).write_text(json.dumps(described), encoding="utf-8")

    write_folder(folder, fill)


def read_heads(folder: Path, teacher: PreTrainedModel) -> HeadsModule:
    """Load heads to train further, even if the target was trained since.

    Raises:
        ModelError: the folder holds no heads.
        TabcastError: they are of another size than the target.
    """
    described = read_description(folder)
    try:
        stored = {name: tensor.float() for name, tensor in load_file(folder / WEIGHTS_FILE).items()}
        norm = teacher.model.norm.weight.detach().float().cpu()
        module = HeadsModule(
            width=len(stored["norm"]),
            target_width=len(norm),
            vocabulary=teacher.config.vocab_size,
            num_heads=described["heads"],
            kept_ids=described["kept_ids"],
        )
        blocks = {f"blocks.{number}": stored[f"block.{number}"] for number in range(described["heads"])}
        state = {"embed": stored["embedding"], "down": stored["down"] / norm, "norm": stored["norm"], **blocks}
        module.load_state_dict({**state, "kept": module.kept})
    except Exception as error:  # safetensors has an error class of its own, torch a bare one for sizes
        reason = str(error).strip().splitlines()[-1].strip()
        raise TabcastError(f"{folder} can't be gone on with for this target: {reason}") from None
    return module.to(teacher.device)
