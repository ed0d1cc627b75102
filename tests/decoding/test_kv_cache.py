"""The cache against recomputation, after any commits and roll-backs; and what a row may depend on."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding.config import EngineConfig
from decoding.kv_cache import BLOCK, num_prefill_tokens
from decoding.models.language_model import Cache, LanguageModel
from decoding.models.loading.model_set import ModelSet, load_models
from decoding.models.probing import row_invariance
from decoding.models.torch.attention import attend, block_mask
from decoding.speculation.speculate import read_prompt
from tests.tiny_models import FAMILIES, make_model


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_keys_and_values_equal_a_recomputation(torch_llama: ModelSet, data: st.DataObject) -> None:
    model = torch_llama.target
    tokens = st.integers(8, model.shape.vocabulary - 1)
    cache = model.new_cache()
    for _ in range(data.draw(st.integers(1, 12))):
        if len(cache) and data.draw(st.booleans()):
            cache.roll_back(data.draw(st.integers(0, len(cache))))
        rows = data.draw(st.lists(tokens, min_size=1, max_size=model.capabilities.step_width))
        if len(cache) + len(rows) < model.shape.max_len:
            model.step(rows, cache)
            cache.commit(rows[: data.draw(st.integers(1, len(rows)))])
    fresh = model.new_cache()
    for token_id in cache.token_ids:
        model.step([token_id], fresh)
        fresh.commit([token_id])
    live = len(cache)
    for ours, theirs in ((cache.store.keys, fresh.store.keys), (cache.store.values, fresh.store.values)):
        by_slot = [store.transpose(2, 3).flatten(1, 2)[:, :live] for store in (ours, theirs)]
        assert torch.equal(*by_slot)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("form", ["bfloat16", "bfloat16, torch"])
def test_a_beginning_that_was_copied_goes_on_as_the_original(
    pairs: dict[tuple[str, str], ModelSet], form: str, data: st.DataObject
) -> None:
    """Whatever the two caches held and however they computed it, a prompt's choices are those of a cold run."""
    model = pairs["llama", form].target
    rng = random.Random(data.draw(st.integers(0, 99)))
    text = [rng.randrange(8, 500) for _ in range(260)]
    caches = []
    for _ in range(2):
        cache = model.new_cache()
        prompt = text[: data.draw(st.integers(1, 260))]
        decode_prompt(model, prompt[: data.draw(st.integers(1, len(prompt)))], cache)
        decode_prompt(model, prompt, cache)
        other = [*text[: data.draw(st.integers(0, len(cache)))], *data.draw(st.sampled_from([[], [9, 9, 9]]))]
        if other:
            decode_prompt(model, other, cache)
        caches.append(cache)
    mine, theirs = caches
    before = list(theirs.token_ids)
    mine.copy_beginning(theirs, data.draw(st.integers(0, len(theirs))))
    assert theirs.token_ids == before
    prompt = [*text[: data.draw(st.integers(1, 250))], 11, 12]
    warm = decode_prompt(model, prompt, mine).clone()
    assert torch.equal(warm, decode_prompt(model, prompt, model.new_cache()))


def decode_prompt(model: LanguageModel, prompt: list[int], cache: Cache) -> torch.Tensor:
    """Return the logits behind a prompt that a cache now holds."""
    for _ in read_prompt(model, cache, prompt):
        pass
    rest = prompt[len(cache) :]
    logits = model.step(rest, cache)[len(rest) - 1]
    cache.commit(rest)
    return logits


def test_only_what_a_cold_run_would_compute_alike_is_reused(torch_llama: ModelSet) -> None:
    model, chunk = torch_llama.target, torch_llama.target.chunk
    cache = model.new_cache()
    prompt = [random.Random(0).randrange(8, 500) for _ in range(3 * chunk)]
    model.prefill(prompt[:chunk], cache)
    model.step(prompt[chunk : chunk + 8], cache)
    cache.commit(prompt[chunk : chunk + 8])
    assert cache.reuse(prompt[: chunk + 20], chunk) == chunk + 8
    # The prompt has grown past the next chunk: a cold run would compute those eight tokens by a chunk.
    assert cache.reuse(prompt[: 2 * chunk + 5], chunk) == chunk
    # It has shrunk below the first: a cold run would compute all of it by steps.
    assert cache.reuse(prompt[: chunk - 3], chunk) == 0


def test_the_last_token_is_always_computed_again() -> None:
    assert [num_prefill_tokens(length, 64) for length in (1, 64, 65, 128, 129)] == [0, 0, 64, 64, 128]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", [name for name, line in FAMILIES.items() if line.verifies])
def test_rows_agree_at_the_probed_width(pairs: dict[tuple[str, str], ModelSet], family: str, dtype: str) -> None:
    target = pairs[family, dtype].target
    assert row_invariance.probe(target).width == target.capabilities.step_width > 1


def test_attention_ignores_leftovers_and_longer_caches() -> None:
    """A row's result is the same number whatever lies behind it, and close to the textbook's."""
    torch.manual_seed(0)
    query, keys, values = torch.randn(2, 6, 16), torch.randn(5, 2, BLOCK, 16), torch.randn(5, 2, BLOCK, 16)
    start = BLOCK + 10
    mask = block_mask(start, 3, 2, torch.device("cpu"), torch.float32)
    ours = attend(query, keys[: len(mask)], values[: len(mask)], mask, 0.25)
    longer = torch.full((5, 1, 6, BLOCK), -torch.inf)
    longer[: len(mask)] = mask
    assert torch.equal(ours, attend(query, keys, values, longer, 0.25))
    flat_keys, flat_values = (store.transpose(0, 1).flatten(1, 2) for store in (keys, values))
    for row in range(6):
        live = start + row % 3 + 1
        weights = (query[:, row : row + 1] @ flat_keys[:, :live].transpose(1, 2) * 0.25).softmax(-1)
        torch.testing.assert_close(ours[:, row : row + 1], weights @ flat_values[:, :live])


@pytest.mark.parametrize("form", ["bfloat16", "float32"])
def test_of_heads_of_several_panels_every_number_is_copied(form: str, tmp_path: Path) -> None:
    """Values of wide heads may lie panel by panel, each over all slots."""
    folder = make_model(tmp_path / "wide", "llama", head_dim=40)
    model = load_models(EngineConfig(model=str(folder), draft="none", dtype=form, device="cpu"))[0].target
    rng = random.Random(3)
    text = [rng.randrange(8, 500) for _ in range(200)]
    theirs, mine = model.new_cache(), model.new_cache()
    decode_prompt(model, text, theirs)
    decode_prompt(model, [*text[:70], 9, 9], mine)
    mine.copy_beginning(theirs, 180)
    prompt = [*text[:180], 11, 12]
    warm = decode_prompt(model, prompt, mine).clone()
    assert torch.equal(warm, decode_prompt(model, prompt, model.new_cache()))
