"""Speculative output equals the target's own, whatever the drafter does and whatever the cache held before."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from decoding.completion.sessions import Session
from decoding.config import EngineConfig
from decoding.drafters.combine import Combined
from decoding.drafters.in_order import InOrder
from decoding.drafters.registry import ENTRIES
from decoding.models.cpu.decoder import CpuDecoder
from decoding.models.loading.model_set import ModelSet, load_models
from decoding.policy.policy import Policy
from decoding.speculation.drafting import NoDrafter
from decoding.speculation.sampling import Sampling
from tests.conftest import HAS_BUNDLED
from tests.decoding.conftest import FORMS, ScriptedDrafter, decode, is_tried
from tests.tiny_models import FAMILIES

PLAIN = NoDrafter()
NUM_TOKENS = 40
# What the drafters of one engine share.
SHARED: dict[str, dict[str, Any]] = {}


def raising(_ids: list[int], _budget: int) -> list[int]:
    raise RuntimeError("a drafter that fails")


def drafters(oracle: list[int], prompt_len: int, vocabulary: int) -> Iterator[tuple[str, ScriptedDrafter]]:
    """Every kind of advice: `oracle` is what the target says."""
    rng = random.Random(1)

    def truth(ids: list[int], k: int) -> list[int]:
        return oracle[len(ids) - prompt_len :][:k]

    yield "right", ScriptedDrafter(truth)
    yield "wrong", ScriptedDrafter(lambda ids, k: [(token + 1) % vocabulary for token in truth(ids, k)])
    yield "random", ScriptedDrafter(lambda _, k: [rng.randrange(vocabulary) for _ in range(rng.randrange(k + 1))])
    yield "half right", ScriptedDrafter(lambda ids, k: [*truth(ids, k // 2), 7, 7, 7][:k])
    yield "too long", ScriptedDrafter(lambda ids, k: truth(ids, 100) + [1] * 100)
    yield "no tokens", ScriptedDrafter(lambda _, k: [-1, vocabulary, 10**9][:k])
    yield "raising", ScriptedDrafter(raising)


@pytest.mark.parametrize(
    ("family", "form"),
    [(name, form) for name in FAMILIES for form in FORMS if is_tried(name, form)],
)
def test_any_drafter_gives_the_plain_output(
    pairs: dict[tuple[str, str], ModelSet], family: str, form: str, rng: random.Random
) -> None:
    models = pairs[family, form]
    vocabulary = models.target.shape.vocabulary
    for prompt_len in FAMILIES[family].prompt_lens:
        prompt = [rng.randrange(8, vocabulary) for _ in range(prompt_len)]
        plain = decode(models, prompt, PLAIN, NUM_TOKENS)
        for name, drafter in drafters(plain, prompt_len, vocabulary):
            assert decode(models, prompt, InOrder([drafter]), NUM_TOKENS) == plain, (name, prompt_len)
        for method in ("lookup", "suffix", "draft", "auto"):
            own = InOrder(Session(models).drafters(method))  # type: ignore[arg-type]
            assert decode(models, prompt, own, NUM_TOKENS) == plain, (method, prompt_len)


def test_sampled_output_is_the_plain_one_too(llama: ModelSet, rng: random.Random) -> None:
    vocabulary = llama.target.shape.vocabulary
    prompt = [rng.randrange(8, vocabulary) for _ in range(30)]
    seen = set()
    for seed in range(5):
        sampling = Sampling(temperature=0.9, top_p=0.9, seed=seed)
        plain = decode(llama, prompt, PLAIN, NUM_TOKENS, sampling=sampling)
        seen.add(tuple(plain))
        for name, drafter in drafters(plain, len(prompt), vocabulary):
            assert decode(llama, prompt, InOrder([drafter]), NUM_TOKENS, sampling=sampling) == plain, name
    assert len(seen) == 5


@pytest.mark.parametrize("form", ["bfloat16", "bfloat16, torch", "float32, rehearsed"])
@pytest.mark.parametrize("method", [*ENTRIES, *map("+".join, combinations(ENTRIES, 2)), "combine"])
def test_every_drafter_and_every_pair_gives_the_plain_output(
    pairs: dict[tuple[str, str], ModelSet], method: str, form: str, rng: random.Random
) -> None:
    """With a policy that takes rows for cheap, so that all are asked and, where the model can, several chains judged.

    A drafter enters by its registration alone.
    """
    models = pairs["llama", form]
    able = models.target.capabilities
    policy = Policy({1: 1e3, able.step_width: 1e3}, max_chains=able.max_chains)
    drafter = Combined(Session(models, policy, SHARED.setdefault(form, {})).drafters(method), policy)
    part = [rng.randrange(8, models.target.shape.vocabulary) for _ in range(11)]
    for prompt, sampling in ((part * 3, Sampling()), (part * 2, Sampling(temperature=0.7, seed=2))):
        plain = decode(models, prompt, PLAIN, 24, sampling=sampling)
        # A second time over it knows what it answered before.
        for _ in range(2):
            assert decode(models, prompt, drafter, 24, sampling=sampling) == plain
            drafter.close()


def test_a_right_draft_takes_fewer_steps(llama: ModelSet, rng: random.Random) -> None:
    prompt = [rng.randrange(8, 500) for _ in range(70)]
    plain = decode(llama, prompt, PLAIN, NUM_TOKENS)
    drafter = next(drafter for name, drafter in drafters(plain, len(prompt), 600) if name == "right")
    steps = 0
    original = llama.target.step

    def counted(*arguments: object) -> torch.Tensor:
        nonlocal steps
        steps += 1
        return original(*arguments)  # type: ignore[arg-type]

    llama.target.step = counted  # type: ignore[method-assign]
    try:
        decode(llama, prompt, InOrder([drafter]), NUM_TOKENS)
    finally:
        llama.target.step = original  # type: ignore[method-assign]
    assert steps <= NUM_TOKENS // llama.target.capabilities.step_width + 2


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_equals_transformers(
    pairs: dict[tuple[str, str], ModelSet], tiny_models: dict[str, Path], family: str, rng: random.Random
) -> None:
    """Against `generate` in float32; a divergence is allowed only where the two best logits nearly tie."""
    reference = AutoModelForCausalLM.from_pretrained(tiny_models[family], dtype=torch.float32).eval()
    models = pairs[family, "float32"]
    assert isinstance(models.target, CpuDecoder) == FAMILIES[family].is_ours
    assert (models.target.capabilities.step_width > 1) == FAMILIES[family].verifies
    for prompt_len in (5, 64, 130):
        prompt = [rng.randrange(8, models.target.shape.vocabulary) for _ in range(prompt_len)]
        ours = decode(models, prompt, InOrder(Session(models).drafters("auto")), NUM_TOKENS)
        output = reference.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, prompt_len, dtype=torch.long),
            max_new_tokens=NUM_TOKENS,
            do_sample=False,
            eos_token_id=-1,
            output_logits=True,
            return_dict_in_generate=True,
        )
        theirs = output.sequences[0, prompt_len:].tolist()
        if ours != theirs:
            at = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
            best = output.logits[at][0].topk(2).values
            assert best[0] - best[1] < 1e-4, f"diverged at {at}"


@pytest.mark.parametrize(("family", "form"), [("llama", "bfloat16, torch"), *((name, "bfloat16") for name in FAMILIES)])
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_warm_cache_gives_the_cold_tokens(
    pairs: dict[tuple[str, str], ModelSet], family: str, form: str, data: st.DataObject
) -> None:
    """Whatever was asked, typed, undone and cancelled before."""
    models = pairs[family, form]
    tokens = st.integers(8, models.target.shape.vocabulary - 1)
    text = data.draw(st.lists(tokens, min_size=1, max_size=140))
    session = Session(models)
    for _ in range(data.draw(st.integers(1, 5))):
        edit = data.draw(st.sampled_from(["append", "cut", "replace", "accept"]))
        if edit == "append":
            text = text + data.draw(st.lists(tokens, min_size=1, max_size=70))
        elif edit == "cut" and len(text) > 1:
            text = text[: data.draw(st.integers(1, len(text) - 1))]
        elif edit == "replace":
            text = [*text[: len(text) // 2], data.draw(tokens), *text[len(text) // 2 + 1 :]]
        else:
            text = text + session.cache.token_ids[len(text) : len(text) + 5]
        text = text[:200]
        num_tokens = data.draw(st.sampled_from([0, 1, 3, 20]))
        drafter = InOrder(session.drafters(data.draw(st.sampled_from(["plain", "lookup", "suffix", "draft", "auto"]))))
        warm = decode(models, text, drafter, num_tokens, cache=session.cache)
        assert warm == decode(models, text, PLAIN, num_tokens)
        assert len(session.cache) <= session.cache.capacity


def test_a_round_always_yields_a_token_and_ends_at_the_models_length(llama: ModelSet) -> None:
    prompt = list(range(8, 8 + 300))
    emitted = decode(llama, prompt, InOrder([ScriptedDrafter(lambda _, k: [9] * (k + 5))]), 10_000)
    assert len(prompt) + len(emitted) == llama.target.shape.max_len
    assert emitted == decode(llama, prompt, PLAIN, 10_000)


@pytest.mark.skipif(not HAS_BUNDLED, reason="the shipped pair is not there")
def test_the_shipped_pair_is_lossless() -> None:
    models, _ = load_models(EngineConfig(device="cpu"))
    source = Path(random.__file__).read_text(encoding="utf-8")
    for start in range(0, 6000, 700):
        prompt = models.encode(source[start : start + 900])
        plain = decode(models, prompt, PLAIN, 48)
        for method in ("lookup", "suffix", "draft", "auto"):
            assert decode(models, prompt, InOrder(Session(models).drafters(method)), 48) == plain  # type: ignore[arg-type]
