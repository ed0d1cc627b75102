"""Distils a draft model: it learns the target's whole distribution at each token, not the text's next token alone.

Knowledge distillation: Hinton et al. 2015 (https://arxiv.org/abs/1503.02531); for drafts: Zhou et al. 2023,
DistillSpec (https://arxiv.org/abs/2310.08461).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor
from transformers import LlamaForCausalLM

from decoding.training.pretrain import Loss


def distillation_loss(teacher: LlamaForCausalLM) -> Loss:
    """A loss for `pretrain.run`: the Kullback-Leibler divergence from the teacher, in nats a token."""
    teacher.eval().requires_grad_(False)

    def loss(model: LlamaForCausalLM, ids: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = teacher(input_ids=ids, use_cache=False).logits.flatten(0, 1).float().log_softmax(-1)
        given = model(input_ids=ids, use_cache=False).logits.flatten(0, 1).float().log_softmax(-1)
        return F.kl_div(given, wanted, reduction="batchmean", log_target=True)

    return loss
