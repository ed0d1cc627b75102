"""Which models an engine takes, what it makes of them, and what it says of those that it doesn't take."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from decoding.completion.sessions import Session
from decoding.config import EngineConfig
from decoding.drafters.in_order import InOrder
from decoding.errors import ConfigError, ModelError
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.loading import memory, model_set, parts
from decoding.models.loading.devices import choose_device
from decoding.models.loading.model_set import load_models
from decoding.models.recommended import RECOMMENDATIONS, largest_that_fits
from decoding.speculation.drafting import NoDrafter
from decoding.training import tokenizer as training_tokenizer
from tests.decoding.conftest import decode
from tests.tiny_models import VOCABULARY, make_model

PLAIN = NoDrafter()


def test_vocabularies_padded_to_different_widths_are_compared_over_the_tokens(tmp_path: Path) -> None:
    target = make_model(tmp_path / "target", "qwen2", vocab_size=VOCABULARY + 40)
    draft = make_model(tmp_path / "draft", "gpt_neox", vocab_size=VOCABULARY + 8)
    models, _ = load_models(EngineConfig(model=str(target), draft=str(draft), device="cpu"))
    assert models.draft is not None
    assert models.target.shape.vocabulary == models.draft.shape.vocabulary == VOCABULARY
    prompt = list(range(20, 60))
    plain = decode(models, prompt, PLAIN, 60)
    assert max(plain) < VOCABULARY
    assert decode(models, prompt, InOrder(Session(models).drafters("draft")), 60) == plain


def other_tokenizer(folder: Path) -> Path:
    make_model(folder, "llama")
    training_tokenizer.save(training_tokenizer.train(["other words entirely"], vocabulary_size=300), folder)
    return folder


def recurrent(folder: Path) -> Path:
    return make_model(folder, "mamba")


@pytest.mark.parametrize(
    ("make", "reason"), [(other_tokenizer, r"another tokenizer: \d+ ids differ: \d+ is"), (recurrent, "rolled back")]
)
def test_a_draft_that_will_not_do_is_left_out_with_the_reason(
    tiny_model: Path, tmp_path: Path, make: Callable[[Path], Path], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    draft = make(tmp_path / "draft")
    with caplog.at_level(logging.WARNING):
        models, _ = load_models(EngineConfig(model=str(tiny_model), draft=str(draft), device="cpu"))
    assert models.draft is None
    assert [message for message in models.notices if str(draft) in message] == list(models.notices) != []
    assert models.notices[0] in caplog.text
    assert re.search(reason, models.notices[0])
    # Look-up needs no model.
    prompt = list(range(20, 40)) * 3
    assert decode(models, prompt, InOrder(Session(models).drafters("auto")), 20) == decode(models, prompt, PLAIN, 20)


def test_a_model_that_does_not_fit_is_refused_before_it_is_read(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "free_bytes", lambda _device: 100_000)
    monkeypatch.setattr(model_set, "load_decoder", lambda *_, **__: pytest.fail("weights were read"))
    with pytest.raises(ModelError) as caught:
        load_models(EngineConfig(model=str(tiny_model), device="cpu"))
    for part in ("GiB", "cpu has 0.0 GiB free", "tabcast models use bundled"):
        assert part in str(caught.value)


def test_the_need_is_read_from_the_files(tiny_model: Path) -> None:
    weights = load_file(tiny_model / "model.safetensors")
    numbers = sum(tensor.numel() for tensor in weights.values())
    folder = ModelFolder.read(tiny_model)
    assert folder.num_parameters == numbers
    short, long = (memory.needed_bytes(folder, torch.bfloat16, length) for length in (128, 256))
    assert short >= 2 * numbers
    # Two layers, keys and values, two heads of eight numbers.
    assert long - short == 128 * 2 * 2 * 2 * 8 * 2


@pytest.mark.parametrize(
    ("device", "dtype", "has_cuda", "multiplies_bfloat16", "expected"),
    [
        ("auto", "auto", True, True, ("cuda", torch.bfloat16)),
        ("auto", "auto", True, False, ("cuda", torch.float16)),
        ("auto", "auto", False, True, ("cpu", torch.bfloat16)),
        ("auto", "auto", False, False, ("cpu", torch.float32)),
        ("cpu", "float32", True, True, ("cpu", torch.float32)),
        ("cuda:1", "float16", True, True, ("cuda:1", torch.float16)),
        ("cuda", "auto", False, True, "torch finds none"),
    ],
)
def test_device_and_dtype_are_chosen_unless_they_are_named(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    dtype: str,
    has_cuda: bool,
    multiplies_bfloat16: bool,
    expected: str | tuple[str, torch.dtype],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: multiplies_bfloat16)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: multiplies_bfloat16)
    config = EngineConfig(device=device, dtype=dtype)
    if isinstance(expected, str):
        with pytest.raises(ConfigError, match=expected):
            choose_device(config)
    else:
        assert choose_device(config) == (torch.device(expected[0]), expected[1])


@pytest.mark.parametrize(
    ("gib", "on_cpu", "target"),
    [
        (0.4, True, "bundled"),
        (1.2, True, "qwen2.5-coder-0.5b-q4"),
        (2, True, "qwen2.5-coder-1.5b-q4"),
        (200, True, "qwen2.5-coder-1.5b-q4"),
        (0.5, False, "bundled"),
        (6, False, "1.5B"),
        (23.5, False, "7B"),
        (47, False, "14B"),
        (79, False, "32B"),
    ],
)
def test_the_recommendation_is_the_largest_that_fits(gib: float, on_cpu: bool, target: str) -> None:
    assert largest_that_fits(gib, on_cpu=on_cpu).target.endswith(target)
    assert not any("-3B" in item.target for item in RECOMMENDATIONS)  # a research licence


def lose_a_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["gpt_neox.layers.1.mlp.dense_h_to_4h.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def only_pickles(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def own_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(folder / 'it-ran')!r}, 'w').close()\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(lose_a_tensor, "tensor gpt_neox.layers.1.mlp"), (only_pickles, "safetensors"), (own_code, "never run")],
)
def test_a_folder_that_transformers_would_make_do_with_is_refused(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    folder = make_model(tmp_path / "model", "gpt_neox")
    spoil(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load_models(EngineConfig(model=str(folder), device="cpu"))
    assert "\n" not in str(caught.value)
    assert not (folder / "it-ran").exists()


def test_a_model_that_must_decode_plainly_says_why(tiny_models: dict[str, Path]) -> None:
    _, found = load_models(EngineConfig(model=str(tiny_models["mamba"]), device="cpu"))
    assert found.width == 1
    assert "can't be rolled back" in found.describe()


def test_a_state_that_went_too_far_is_computed_again(tiny_models: dict[str, Path]) -> None:
    """What was computed and not committed, as when a request ends in between, leaves no trace."""
    models, _ = load_models(EngineConfig(model=str(tiny_models["mamba"]), device="cpu", dtype="float32"))
    target, prompt = models.target, list(range(20, 120))
    clean, used = target.new_cache(), target.new_cache()
    for cache in (clean, used):
        target.prefill(prompt[:64], cache)
    target.step([7], used)
    target.step([9], used)
    assert torch.equal(target.step([prompt[64]], clean), target.step([prompt[64]], used))
    used.commit([prompt[64]])
    used.roll_back(40)
    target.step([5], used)
    assert used.reuse(prompt, target.chunk) == 0
