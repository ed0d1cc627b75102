"""A target over several devices: the plan, and that it computes what one device does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from decoding.config import EngineConfig
from decoding.drafters.prompt_lookup import PromptLookup
from decoding.errors import ConfigError, ModelError
from decoding.models.loading import devices as devices_module
from decoding.models.loading.devices import choose_devices
from decoding.models.loading.memory import spreading_needs
from decoding.models.loading.model_set import load_models
from decoding.models.sharding.layer_split import GIB, WORKING_BYTES, Needs, spread
from decoding.models.sharding.pipeline import Pipeline
from tests.decoding.conftest import decode
from tests.tiny_models import make_model

NEEDS = Needs(num_layers=80, layer=GIB, cached=GIB // 8, first=2 * GIB, last=2 * GIB)
EACH = GIB + GIB // 4


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> EngineConfig:
    folder = tmp_path_factory.mktemp("deep") / "model"
    make_model(folder, "qwen2", layers=5)
    return EngineConfig(model=str(folder), draft="none", dtype="bfloat16", device="cpu")


@pytest.mark.parametrize("devices", ["cpu,cpu", "cpu, cpu, cpu"])
@pytest.mark.parametrize("quantize", ["none", "int8"])
@pytest.mark.parametrize("kernels", ["torch", "rehearsed"])
def test_several_devices_give_the_tokens_of_one(
    config: EngineConfig, devices: str, quantize: str, kernels: str
) -> None:
    config = replace(config, quantize=quantize, kernels=kernels)
    alone = load_models(config)[0]
    spread_out, found = load_models(replace(config, devices=devices))
    assert isinstance(spread_out.target, Pipeline)
    assert sum(spread_out.target.num_layers) == 5
    assert len(spread_out.target.num_layers) == devices.count(",") + 1
    assert found.width > 1
    assert spread_out.target.num_parameters == alone.target.num_parameters
    prompt = list(range(10, 90))
    expected = decode(alone, prompt, PromptLookup(), 40)
    assert decode(spread_out, prompt, PromptLookup(), 40) == expected
    cache = spread_out.target.new_cache()
    for shared in (70, 80):  # a warm cache, diverging and going on
        other = [*prompt[:shared], 7, 8, 9]
        assert decode(spread_out, other, PromptLookup(), 10, cache=cache) == decode(alone, other, PromptLookup(), 10)


def test_layers_go_where_there_is_room() -> None:
    room = 45 * EACH + 2 * GIB + WORKING_BYTES
    assert spread(NEEDS, [room, room]) == [40, 40]
    assert spread(NEEDS, [room, 2 * room]) in ([26, 54], [27, 53])
    assert spread(NEEDS, [None, None]) == [40, 40]
    tight = 40 * EACH + 2 * GIB + WORKING_BYTES
    assert spread(NEEDS, [tight, tight]) == [40, 40]
    assert sum(spread(NEEDS, [room, room // 3, room // 3, room // 3])) == 80


@pytest.mark.parametrize(
    "free",
    [[39 * EACH + 2 * GIB + WORKING_BYTES] * 2, [200 * GIB, GIB], [200 * GIB] * 81],
    ids=["a layer too many", "no room for one layer", "more devices than layers"],
)
def test_what_does_not_fit_is_refused_with_the_numbers(free: list[int]) -> None:
    with pytest.raises(ModelError, match=r"80 layers need \d+\.\d GiB on \d+ devices"):
        spread(NEEDS, free)


def test_a_model_that_does_not_fit_is_refused_before_it_is_read(
    config: EngineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices_module, "free_bytes", lambda _: GIB // 2)
    monkeypatch.setattr(devices_module, "load_decoder", lambda *_, **__: pytest.fail("weights were read"))
    with pytest.raises(ModelError, match="on 2 devices"):
        load_models(replace(config, devices="cpu,cpu"))


def test_rounded_weights_need_less_room() -> None:
    sizes = {"num_hidden_layers": 4, "vocab_size": 100, "hidden_size": 64, "tie_word_embeddings": True}
    full, small = (spreading_needs(sizes, 1_000_000, torch.bfloat16, 100, kind) for kind in ("none", "int4"))
    assert small.layer < 0.3 * full.layer
    assert small.first == full.first
    assert small.last == full.last // 2  # a tied head is copied in full, or rounded to eight bits


@pytest.mark.parametrize("devices", ["cpu,nonsense", "cuda:0,cuda:99", "cpu:x"])
def test_a_device_that_is_not_there_is_named(config: EngineConfig, devices: str) -> None:
    with pytest.raises(ConfigError, match="device"):
        load_models(replace(config, devices=devices))


def test_all_devices_without_a_gpu_are_one(config: EngineConfig) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert choose_devices(replace(config, devices="all"), torch.device("cpu")) == [torch.device("cpu")]


def test_other_architectures_stay_on_one_device(config: EngineConfig, tiny_models: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match="only models of our own forward pass"):
        load_models(replace(config, model=str(tiny_models["gpt_neox"]), devices="cpu,cpu"))


def test_all_cards_are_counted(config: EngineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices_module.torch, "cuda", SimpleNamespace(device_count=lambda: 2))
    found = choose_devices(replace(config, devices="all"), torch.device("cuda"))
    assert [str(device) for device in found] == ["cuda:0", "cuda:1"]
