"""Trains extra heads on a target's hidden states: each learns the target's distribution some tokens ahead.

Cai et al. 2024, Medusa (https://arxiv.org/abs/2401.10774); Ankner et al. 2024, Hydra
(https://arxiv.org/abs/2402.05109); models/heads.py describes them. The states are collected once (collect.py), so that
the target itself isn't needed here, but for its head.

Dimension letters: B places, C width of the target, R of the heads' state, V vocabulary, M frequent tokens, G tokens
that can be guessed in a batch, H heads, K likeliest tokens.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from decoding.errors import TabcastError
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.heads import DESCRIPTION_FILE, EPS, FORMAT, WEIGHTS_FILE, identity, read_description
from decoding.models.loading.layer_reading import EMBEDDING, HEAD, NORM
from decoding.models.weights.int8_files import FACTORS, restore_rows, round_rows
from decoding.models.weights.tensors import Tensors
from decoding.models.weights.weight_schema import decoder_schema
from decoding.training.export import write_folder
from decoding.training.pretrain import Loss
from decoding.training.states import Places, Record

NUM_HEADS: Final = 4
# chosen: with 150,000 tokens the embedding takes 29 MB in int8.
MAX_WIDTH: Final = 192
LEAST_KEPT: Final = 2048
MOST_KEPT: Final = 16_384
SHARE_KEPT: Final = 8  # chosen: heads guess one in so many tokens of the vocabulary, the most frequent ones
LATER_HEADS: Final = 0.8  # chosen: the weight of a head's loss, relative to the head before it
SAMPLE: Final = 1024  # chosen: places that tell how large a state is


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetHead:
    """What heads need of a target: its head (V, C), its last norm (C,) and the identity of its weights."""

    weight: Tensor
    norm: Tensor
    norm_eps: float
    identity: str

    @classmethod
    def read(cls, folder: ModelFolder, vocabulary: int) -> TargetHead:
        """Read them in float32, of a folder or a GGUF file. Raises `ModelError`."""
        sizes = folder.sizes
        tensors = Tensors(folder.path, folder.entries, decoder_schema(sizes), torch.device("cpu"), torch.float32)
        return cls(
            weight=tensors.take(EMBEDDING if sizes.is_tied else HEAD)[:vocabulary],
            norm=tensors.take(NORM),
            norm_eps=sizes.norm_eps,
            identity=identity(folder.path),
        )


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

    def begin(self, states: Tensor) -> Tensor:
        """Return the heads' first states (…, R) from the target's (…, C), normalised."""
        return F.linear(states, self.down)

    def go_on(self, states: Tensor, number: int, rows: Tensor) -> Tensor:
        """Return the states (…, R) behind tokens whose rows of the embedding are `rows` (…, R)."""
        read = torch.cat((states, rows), dim=-1)
        return states + F.silu(F.linear(read, self.blocks[number]))

    def logits(self, states: Tensor, head: Tensor) -> Tensor:
        """Return the logits (…, G) of tokens whose rows are `head` (G, R)."""
        normed = F.rms_norm(states, states.shape[-1:], self.norm.to(states.dtype), EPS)
        return F.linear(normed, head)


def check_width(width: int | None, target_width: int) -> None:
    """Raise `TabcastError` if heads can't be that wide."""
    if width is not None and not 1 <= width <= target_width:
        raise TabcastError(f"heads of width {width} don't go with this target: from 1 to {target_width}")


def new_heads(target: TargetHead, texts: Sequence[Record], *, width: int | None, num_heads: int | None) -> HeadsModule:
    """Make heads that start as a low-rank copy of the target's own head for the most frequent tokens of the texts."""
    vocabulary, target_width = target.weight.shape
    num_kept = min(vocabulary, max(LEAST_KEPT, min(MOST_KEPT, vocabulary // SHARE_KEPT)))
    width = width or min(target_width, num_kept, MAX_WIDTH)
    counts = sum(np.bincount(text["id"], minlength=vocabulary) for text in texts)
    kept = np.sort(np.argsort(-np.asarray(counts), kind="stable")[:num_kept])
    module = HeadsModule(
        width=width,
        target_width=target_width,
        vocabulary=vocabulary,
        num_heads=num_heads or NUM_HEADS,
        kept_ids=kept.tolist(),
    )
    _, _, right = torch.svd_lowrank(target.weight[torch.from_numpy(kept)], q=width, niter=4)
    module.embed.data = target.weight @ right
    module.down.data = (right.T * target.norm).contiguous()
    seen = np.concatenate([text["state"][: SAMPLE // len(texts) + 1] for text in texts])
    sizes = module.begin(torch.from_numpy(seen.astype(np.float32))).square().mean(-1).sqrt()
    module.norm.data *= sizes.mean().detach()
    return module


def heads_loss(places: Places) -> Loss:
    """Return a loss for `pretrain.run`: cross-entropy against the target's likeliest tokens, in nats a guess."""

    def loss(module: Any, numbers: Tensor) -> Tensor:
        device = module.embed.device
        batch = places.take(numbers.flatten().cpu().numpy())
        ids, column_of = _guessable(module, np.concatenate([batch.known_ids, batch.choices[:, :, 0]], axis=1))
        # All rows are taken at once: each time makes a gradient as large as the whole embedding.
        head = module.embed[ids.to(device)]
        states = module.begin(torch.from_numpy(batch.states).to(device, torch.float32))
        total: list[Tensor] = []
        for number in range(len(module.blocks)):
            known = torch.from_numpy(column_of[batch.known_ids[:, number]]).to(device)
            states = module.go_on(states, number, head[known])
            nats = module.logits(states, head).float().log_softmax(-1)
            columns = torch.from_numpy(column_of[batch.choices[:, number]]).to(device)  # (B, K)
            shares = torch.from_numpy(batch.shares[:, number]).to(device, torch.float32) * (columns >= 0)
            total.append(-(shares * nats.gather(-1, columns.clamp(min=0))).sum(-1).mean() * LATER_HEADS**number)
        return torch.stack(total).sum() / sum(LATER_HEADS**i for i in range(len(module.blocks)))

    return loss


def _guessable(module: HeadsModule, text_ids: NDArray[np.int32]) -> tuple[Tensor, NDArray[np.int64]]:
    """Return the ids (G,) of frequent tokens and the text's own, and for each token its place there, or -1."""
    kept = module.kept.cpu().numpy()
    ids = np.concatenate([kept, np.setdiff1d(text_ids, kept)])
    column_of = np.full(len(module.embed), -1, np.int64)
    column_of[ids] = np.arange(len(ids))
    return torch.from_numpy(ids.astype(np.int64)), column_of


@torch.no_grad()
def num_right(module: HeadsModule, texts: Sequence[Record]) -> list[list[int]]:
    """Return, for each text and each place of the target's own part, how many of the guesses from there are right."""
    device, found = module.embed.device, []
    for text in texts:
        first = max(1, int(np.argmax(text["is_own"]))) if text["is_own"].any() else len(text)
        numbers = np.arange(first - 1, len(text) - len(module.blocks))
        if not len(numbers):
            continue
        batch = Places([text], num_heads=len(module.blocks), row_len=1, seed=0).take(numbers)
        ids, _ = _guessable(module, text["id"][:first])
        head = module.embed[ids.to(device)]
        states = module.begin(torch.from_numpy(batch.states).to(device, torch.float32))
        stands, counts = np.ones(len(numbers), bool), np.zeros(len(numbers), np.int64)
        for number in range(len(module.blocks)):
            known = torch.from_numpy(batch.known_ids[:, number].astype(np.int64)).to(device)
            states = module.go_on(states, number, module.embed[known])
            guessed = ids[module.logits(states, head).argmax(-1).cpu()].numpy()
            stands &= guessed == batch.choices[:, number, 0]
            counts += stands
        found.append(counts.tolist())
    return found


def write(module: HeadsModule, target: TargetHead, folder: Path) -> None:
    """Write the folder that the engine reads, with the embedding in int8.

    Raises `TrainingError` on a full disk; an older folder stands.
    """
    tensors = {"down": module.down, "norm": module.norm}
    tensors |= {f"block.{number}": block for number, block in enumerate(module.blocks)}
    stored = {name: tensor.detach().to("cpu", torch.bfloat16).contiguous() for name, tensor in tensors.items()}
    stored["embedding"], stored["embedding" + FACTORS] = round_rows(module.embed)
    described = {
        "format": FORMAT,
        "target": target.identity,
        "heads": len(module.blocks),
        "norm_eps": target.norm_eps,
        "kept_ids": module.kept.tolist(),
    }

    def fill(partial: Path) -> None:
        save_file(stored, partial / WEIGHTS_FILE)
        (partial / DESCRIPTION_FILE).write_text(json.dumps(described), encoding="utf-8")

    write_folder(folder, fill)


def read_heads(folder: Path, target: TargetHead) -> HeadsModule:
    """Load heads to train further, even if the target was trained since.

    Raises:
        ModelError: the folder holds no heads.
        TabcastError: they are of another size than the target.
    """
    described = read_description(folder)
    try:
        stored = load_file(folder / WEIGHTS_FILE)
        embedding = stored["embedding"]
        if embedding.dtype == torch.int8:
            embedding = restore_rows(embedding, stored["embedding" + FACTORS])
        module = HeadsModule(
            width=len(stored["norm"]),
            target_width=len(target.norm),
            vocabulary=len(target.weight),
            num_heads=described["heads"],
            kept_ids=described["kept_ids"],
        )
        blocks = {f"blocks.{number}": stored[f"block.{number}"] for number in range(described["heads"])}
        state = {"embed": embedding, "down": stored["down"], "norm": stored["norm"], **blocks}
        module.load_state_dict({name: tensor.float() for name, tensor in state.items()} | {"kept": module.kept})
    except Exception as error:  # safetensors has an error class of its own, torch a bare one for sizes
        reason = str(error).strip().splitlines()[-1].strip()
        raise TabcastError(f"{folder} can't be gone on with for this target: {reason}") from None
    return module
