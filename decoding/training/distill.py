"""Distils a draft model: it learns the target's whole distribution at each token, not the text's next token alone.

Knowledge distillation: Hinton et al. 2015 (https://arxiv.org/abs/1503.02531); for drafts: Zhou et al. 2023, DistillSpec
(https://arxiv.org/abs/2310.08461). A draft has to predict text that the target generates, so part of the rows end in
the target's own greedy continuation.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor
from transformers import PreTrainedModel

from decoding.training.dataloader import DataLoader
from decoding.training.on_policy import Continue
from decoding.training.pretrain import LOGIT_ROWS, Loss, hidden_states

OWN_EVERY = 2
OWN_SHARE_OF_ROW = 0.25


def distillation_loss(teacher: PreTrainedModel) -> Loss:
    """Return a loss for `pretrain.run`: the Kullback-Leibler divergence from the teacher, in nats a token."""
    teacher.eval().requires_grad_(False)

    def loss(model: PreTrainedModel, ids: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = hidden_states(teacher, ids).flatten(0, 1)
        given = hidden_states(model, ids).flatten(0, 1)
        return divergence(model, given, teacher, wanted) / ids.numel()

    return loss


def divergence(model: Any, given: Tensor, teacher: PreTrainedModel, wanted: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence from the teacher, in nats summed over rows, a few rows at a time.

    Args:
        model: whose head turns `given` into logits.
        given: (rows, C) its last hidden states.
        teacher: whose head turns `wanted` into the labels.
        wanted: (rows, C of the teacher) the teacher's last hidden states.
    """
    nats = []
    rows = LOGIT_ROWS[given.device.type]
    for theirs, ours in zip(wanted.split(rows), given.split(rows), strict=True):
        with torch.no_grad():
            label = teacher.lm_head(theirs).float().log_softmax(-1)
        # Heads may have padding behind the tokenizer's ids, of different length in the two models.
        shared = min(label.shape[-1], model.config.vocab_size)
        logits = model.lm_head(ours).float()[:, :shared].log_softmax(-1)
        nats.append(F.kl_div(logits, label[:, :shared], reduction="sum", log_target=True))
    return torch.stack(nats).sum()


class OwnContinuations:
    """A feed whose every second batch ends in the teacher's own continuation, for a quarter of the row.

    `go_on` generates it, if that is quicker than the teacher's own forward pass.
    """

    def __init__(self, inner: DataLoader, teacher: PreTrainedModel, go_on: Continue | None = None) -> None:
        self._inner = inner
        self._teacher = teacher
        self._go_on: Continue = go_on or partial(continue_greedily, teacher)
        self._taken = 0

    def batch(self, num_rows: int) -> npt.NDArray[np.int64]:
        """Return the next rows, shape (num_rows, row_len)."""
        rows = self._inner.batch(num_rows)
        self._taken += 1
        if self._taken % OWN_EVERY:
            return rows
        own = max(1, int(rows.shape[1] * OWN_SHARE_OF_ROW))
        kept = torch.from_numpy(rows[:, :-own]).to(self._teacher.device)
        continued = self._go_on(kept, own)
        return np.concatenate([rows[:, :-own], continued.cpu().numpy()], axis=1)

    def state(self) -> dict[str, Any]:
        """Return the stream's position, for `restore`."""
        return {"taken": self._taken, "inner": self._inner.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a position that `state` returned."""
        self._taken = state["taken"]
        self._inner.restore(state["inner"])


@torch.no_grad()
def continue_greedily(model: PreTrainedModel, ids: Tensor, num_tokens: int) -> Tensor:
    """Return the model's greedy continuation of `ids` (rows, length): (rows, num_tokens) int64, through end tokens."""
    chosen: list[Tensor] = []
    pending, cache = ids, None
    with torch.autocast(model.device.type, dtype=torch.bfloat16):
        for _ in range(num_tokens):
            out = model.model(input_ids=pending, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            pending = model.lm_head(out.last_hidden_state[:, -1:]).argmax(-1)
            chosen.append(pending)
    return torch.cat(chosen, dim=1)
