"""Trains a small model to predict several tokens in one pass: masks behind the text stand for tokens to come.

PARD: An et al. 2025 (https://arxiv.org/abs/2504.18583). Beside a row's own tokens, masks are laid behind many of its
places, fewer the further ahead they are (its conditional drop of tokens), each seeing the text up to its place and the
masks before it alone. The label of each is the target's distribution there.

Dimension letters: B rows, L tokens of a row, E masks beside them, S places with masks, K tokens of one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from decoding.models.parallel import MaskForm
from decoding.training.chains import Continuation, agreement_of
from decoding.training.distill import divergence
from decoding.training.evaluate_draft import Agreement
from decoding.training.pretrain import Loss, hidden_states

NUM_TOKENS = 6
PLACES_SHARE = 0.25
KEPT_SHARE = 0.8  # chosen: one token further ahead there are so many masks, relative to the distance before


class Masked(NamedTuple):
    """Rows with masks behind them, in the form that a model reads."""

    ids: Tensor  # (B, L + E)
    positions: Tensor  # (B, L + E)
    is_seen: Tensor  # (B, 1, L + E, L + E) bool


def prepare(student: PreTrainedModel, num_real_ids: int, num_tokens: int | None) -> MaskForm:
    """Give a model a mask token, in place: the first id behind the tokenizer's, unless it has one already."""
    own = dict(getattr(student.config, "tabcast", None) or {})
    had = own.get("parallel") or {"mask_id": num_real_ids, "tokens": NUM_TOKENS}
    form = MaskForm(mask_id=had["mask_id"], num_tokens=num_tokens or had["tokens"])
    if form.mask_id >= student.config.vocab_size:
        student.resize_token_embeddings(form.mask_id + 1, mean_resizing=False)
        embeddings: list[Any] = [student.get_input_embeddings(), student.get_output_embeddings()]
        for table in embeddings:
            table.weight.data[form.mask_id] = table.weight.data[:num_real_ids].mean(dim=0)
    student.config.tabcast = {**own, "parallel": {"mask_id": form.mask_id, "tokens": form.num_tokens}}
    return form


def lay_masks(ids: Tensor, places: Tensor, form: MaskForm, counts: Sequence[int]) -> Masked:
    """Append masks to rows, each seeing the text up to its place and the masks before it.

    Args:
        ids: (B, L) int64.
        places: (B, S) int64, the last real tokens that masks see.
        form: of the masks.
        counts: item i says how many of the places have a mask i + 1 tokens ahead; none is more than the one before.
    """
    device = ids.device
    which = torch.cat([torch.arange(count) for count in counts]).to(device)  # (E,)
    ahead = torch.cat([torch.full((count,), i + 1) for i, count in enumerate(counts)]).to(device)  # (E,)
    of = places[:, which]  # (B, E)
    num_rows, length = ids.shape
    real = torch.arange(length, device=device)
    text_sees_text = (real[:, None] >= real).expand(num_rows, length, length)
    text_sees_masks = torch.zeros(num_rows, length, len(which), dtype=torch.bool, device=device)
    masks_see_text = of[:, :, None] >= real
    among = (which[:, None] == which) & (ahead[:, None] >= ahead)
    masks_see_masks = among.expand(num_rows, *among.shape)
    upper = torch.cat((text_sees_text, text_sees_masks), dim=2)
    lower = torch.cat((masks_see_text, masks_see_masks), dim=2)
    return Masked(
        ids=torch.cat((ids, torch.full_like(of, form.mask_id)), dim=1),
        positions=torch.cat((real.expand(num_rows, length), of + ahead), dim=1),
        is_seen=torch.cat((upper, lower), dim=1)[:, None],
    )


def states_of(model: PreTrainedModel, masked: Masked) -> Tensor:
    """Return the hidden states that the head reads, (B, L + E, width)."""
    states: Tensor = model.model(
        input_ids=masked.ids, position_ids=masked.positions, attention_mask=masked.is_seen, use_cache=False
    ).last_hidden_state
    return states


def parallel_loss(teacher: PreTrainedModel, form: MaskForm) -> Loss:
    """Return a loss for `pretrain.run`: the divergence from the teacher at tokens and masks alike, in nats each."""
    teacher.eval().requires_grad_(False)

    def loss(model: Any, ids: Tensor) -> Tensor:
        places, counts = _draw_places(ids, form)
        masked = lay_masks(ids, places, form, counts)
        with torch.no_grad():
            at = masked.positions[:, :, None].expand(-1, -1, teacher.config.hidden_size)
            wanted = hidden_states(teacher, ids).gather(1, at).flatten(0, 1)
        given = states_of(model, masked).flatten(0, 1)
        return divergence(model, given, teacher, wanted) / masked.ids.numel()

    return loss


def _draw_places(ids: Tensor, form: MaskForm) -> tuple[Tensor, list[int]]:
    """Draw places (B, S) in random order, and how many of them have a mask at each distance."""
    num_rows, length = ids.shape
    num_possible = length - form.num_tokens + 1
    num_places = max(1, int(num_possible * PLACES_SHARE))
    counts = [max(1, round(num_places * KEPT_SHARE**i)) for i in range(form.num_tokens - 1)]
    # The rows are the seed, so that an interrupted run draws what it would have drawn without the interruption.
    random = torch.Generator().manual_seed(int(ids.sum()))
    drawn = torch.stack([torch.randperm(num_possible, generator=random)[:num_places] for _ in range(num_rows)])
    return drawn.to(ids.device), counts


@torch.no_grad()
def agreement(model: PreTrainedModel, form: MaskForm, written: Sequence[Continuation]) -> Agreement:
    """Guess from every place of the target's own greedy continuations."""
    model.eval()
    right: list[list[int]] = []
    for prompt, wanted, whole in written:
        num_places, length = len(wanted), whole.shape[1]
        places = torch.arange(num_places, device=whole.device)[None] + len(prompt) - 1
        masked = lay_masks(whole, places, form, [num_places] * (form.num_tokens - 1))
        with torch.autocast(model.device.type, dtype=torch.bfloat16):
            guessed = model.lm_head(states_of(model, masked)[0])[:, : form.mask_id].argmax(-1).cpu()
        by_distance = [guessed[len(prompt) - 1 : length - 1], *guessed[length:].split(num_places)]
        found = torch.zeros(num_places, dtype=torch.long)
        stands = torch.ones(num_places, dtype=torch.bool)
        for distance, tokens in enumerate(by_distance):
            is_right = tokens[: num_places - distance] == wanted[distance:]
            stands = stands[: len(is_right)] & is_right
            found[: len(stands)] += stands
        right.append(found.tolist())
    return agreement_of(right)
