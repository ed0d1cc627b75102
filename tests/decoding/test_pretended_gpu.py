"""What only a device of its own would notice, on a pretended one: tensors left on the host, and needless fetching."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from decoding.completion.sessions import Session
from decoding.config import EngineConfig
from decoding.drafters import draft_from_logits, draft_model
from decoding.drafters.combine import Combined
from decoding.drafters.in_order import InOrder
from decoding.drafters.registry import ENTRIES
from decoding.models.language_model import drafts_ahead
from decoding.models.loading.model_set import ModelSet, load_models
from decoding.models.sharding.pipeline import Pipeline
from decoding.policy.policy import Policy
from decoding.speculation.drafting import DraftRequest, NoDrafter
from decoding.speculation.sampling import Sampling
from decoding.speculation.speculate import speculate
from decoding.text.detokenize import token_bytes
from decoding.text.token_healing import Healing, TokenIndex
from tests.pretended_gpu import Device, pretended
from tests.tiny_models import make_tokenizer

PLAIN = NoDrafter()
NUM_TOKENS = 8
SAMPLINGS = {
    "greedy": Sampling(),
    "sampled": Sampling(temperature=0.8, seed=4),
    "nucleus": Sampling(temperature=0.8, top_p=0.9, top_k=50, seed=5),
    "branch": Sampling(branch=2, branch_at=40),
}


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    monkeypatch.setattr(draft_from_logits, "LEAST_ELSEWHERE", 0.0)  # random weights are sure of nothing
    monkeypatch.setattr(draft_model, "MIN_PROBABILITY", 0.0)
    with pretended(monkeypatch) as found:
        yield found


@pytest.fixture(params=["rehearsed", "torch"])
def models(request: pytest.FixtureRequest, device: Device, ahead_folders: dict[str, str]) -> ModelSet:
    folders = {**ahead_folders, "draft": ahead_folders["model"]}  # a draft that is always right
    config = EngineConfig(**folders, device="cuda", dtype="float32", kernels=request.param)  # type: ignore[arg-type]
    loaded, _ = load_models(config)
    assert not loaded.notices
    assert loaded.target.device.type == "cuda"
    return loaded


def decoded(
    models: ModelSet, prompt: list[int], drafter: Combined, sampling: Sampling, healing: Healing | None = None
) -> list[int]:
    drafter.begin(
        DraftRequest(prompt_ids=prompt, hint_ids=(prompt,), max_tokens=NUM_TOKENS, sampling=sampling, healing=healing)
    )
    emitted: list[int] = []
    for outcome in speculate(models.target, models.target.new_cache(), prompt, drafter, sampling, healing):
        emitted += outcome.emitted_ids
        if len(emitted) >= NUM_TOKENS:
            break
    return emitted[:NUM_TOKENS]


def prompt_of(length: int) -> list[int]:
    rng = random.Random(length)
    part = [rng.randrange(8, make_tokenizer().get_vocab_size()) for _ in range(7)]
    return (part * length)[:length]


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_every_drafter_keeps_to_the_device(
    models: ModelSet, sampling: Sampling, caplog: pytest.LogCaptureFixture
) -> None:
    prompt = prompt_of(40)
    index = TokenIndex(token_bytes(models.tokenizer))
    # Rows are taken for cheap, so that all are asked and several chains are verified at once.
    able = models.target.capabilities
    policy = Policy({1: 1e3, able.step_width: 1e3}, max_chains=able.max_chains)
    session = Session(models, policy)
    with caplog.at_level(logging.ERROR):  # a drafter that fails is dropped, and says so
        for healing in (None, Healing(index, b"a")):
            plain = decoded(models, prompt, PLAIN, sampling, healing)
            for method in ENTRIES:
                drafter = InOrder(session.drafters(method))  # type: ignore[arg-type]
                assert decoded(models, prompt, drafter, sampling, healing) == plain, method
            together = Combined(session.drafters("combine"), policy)
            assert decoded(models, prompt, together, sampling, healing) == plain
    assert not [record.exc_text or record.message for record in caplog.records]


@pytest.mark.parametrize("sampling", [SAMPLINGS["greedy"], SAMPLINGS["nucleus"]], ids=["greedy", "nucleus"])
def test_a_round_fetches_once(models: ModelSet, device: Device, sampling: Sampling) -> None:
    """What was chosen, for all rows at once; what a draft model chooses greedily comes by a copy of its own."""
    prompt = prompt_of(40)
    has_ahead = drafts_ahead(models.draft) and sampling.temperature == 0
    ahead = [("draft", 2)] if has_ahead else []
    for method, most in (("", 1), ("lookup", 1), ("suffix", 1), *ahead):
        drafter = InOrder(Session(models).drafters(method) if method else [])  # type: ignore[arg-type]
        drafter.begin(DraftRequest(prompt_ids=prompt, max_tokens=NUM_TOKENS, sampling=sampling))
        fetched = []
        rounds = speculate(models.target, models.target.new_cache(), prompt, drafter, sampling)
        while len(fetched) < 6:
            before = len(device.reads)
            if next(rounds).emitted_ids:
                fetched.append([place for place in device.reads[before:] if "operations.py" not in place])
        assert max(map(len, fetched)) <= most, (method, fetched)


@pytest.mark.parametrize("kernels", ["rehearsed", "torch"])
@pytest.mark.usefixtures("device")
def test_layers_on_two_devices_give_the_tokens_of_one(ahead_folders: dict[str, str], kernels: str) -> None:
    config = EngineConfig(model=ahead_folders["model"], draft="none", dtype="float32", kernels=kernels, device="cuda")
    alone = load_models(config)[0]
    spread_out = load_models(replace(config, devices="cuda:0,cuda:1"))[0]
    assert isinstance(spread_out.target, Pipeline)
    assert spread_out.target.device == torch.device("cuda", 1)
    lookup = InOrder(Session(spread_out).drafters("lookup"))
    for length in (5, 70):
        prompt = prompt_of(length)
        assert decoded(spread_out, prompt, lookup, Sampling()) == decoded(alone, prompt, PLAIN, Sampling())
