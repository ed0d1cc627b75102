"""The target with fewer layers: shares weights, keeps those that matter, and drafts."""

from __future__ import annotations

import pytest
import torch

from decoding.drafters.self_draft import self_draft, skip_layers
from decoding.models.language_model import skips_layers
from decoding.models.loading.model_set import ModelSet
from decoding.speculation.drafting import DraftRequest

SAMPLE = [5, 9, 12, 7, 30, 2, 41, 8, 5, 9, 13, 22]


@pytest.mark.parametrize("form", ["bfloat16", "bfloat16, torch"])
def test_all_layers_are_the_target_itself_to_the_bit(pairs: dict[tuple[str, str], ModelSet], form: str) -> None:
    target = pairs["llama", form].target
    assert skips_layers(target)
    whole = target.with_layers(range(target.shape.layers))
    rows = [model.advance(SAMPLE, model.new_cache()).clone() for model in (target, whole)]
    assert torch.equal(*rows)
    assert whole.num_parameters == target.num_parameters


@pytest.mark.parametrize("form", ["bfloat16", "int8", "bfloat16, torch"])
def test_half_of_the_layers_leave_the_target_as_it_was(pairs: dict[tuple[str, str], ModelSet], form: str) -> None:
    target = pairs["llama", form].target
    before = target.advance(SAMPLE, target.new_cache()).clone()
    assert skips_layers(target)
    reduced = skip_layers(target, SAMPLE)
    assert reduced.num_parameters < target.num_parameters
    drafter = self_draft(reduced)
    drafter.begin(DraftRequest(prompt_ids=SAMPLE))
    assert drafter.name == "self"
    assert len(drafter.propose(4).leading.token_ids) <= 4
    assert torch.equal(before, target.advance(SAMPLE, target.new_cache()))


def test_models_of_others_have_no_layers_to_leave_out(pairs: dict[tuple[str, str], ModelSet]) -> None:
    assert not skips_layers(pairs["gpt_neox", "float32"].target)
