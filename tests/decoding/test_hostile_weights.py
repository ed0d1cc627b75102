"""Weights that can't be right: no kernel sees a tensor that the configuration doesn't ask for."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from decoding.config import EngineConfig
from decoding.errors import ModelError
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.heads import identity
from decoding.models.loading.model_set import load_models
from decoding.models.weights.tensors import Tensors, is_finite
from decoding.models.weights.weight_schema import decoder_schema
from tests.decoding.conftest import make_heads
from tests.decoding.hostile import (
    SPOILED,
    WEIGHTS,
    assert_left_out,
    assert_refused,
    assert_sentence,
    change_config,
    header_of,
    integers,
    longer,
    much_longer,
    wider,
    with_nan,
)

LAYER = "model.layers.1."
# A tensor of each kind, and a family that has it.
KINDS = {
    "model.embed_tokens.weight": "llama",
    "lm_head.weight": "llama",
    "model.norm.weight": "llama",
    **{f"{LAYER}self_attn.{kind}_proj.weight": "llama" for kind in "qkvo"},
    **{f"{LAYER}self_attn.{kind}_proj.bias": "qwen2" for kind in "qkv"},
    **{f"{LAYER}self_attn.{kind}_norm.weight": "qwen3" for kind in "qk"},
    **{f"{LAYER}mlp.{kind}_proj.weight": "mistral" for kind in ("gate", "up", "down")},
    **{f"{LAYER}{kind}_layernorm.weight": "llama" for kind in ("input", "post_attention")},
}


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__)
@pytest.mark.parametrize("name", KINDS)
def test_a_tensor_that_the_configuration_does_not_ask_for_is_refused(
    copy_of: Callable[[str], Path], name: str, spoil: Callable[[Tensor], Tensor]
) -> None:
    path = copy_of(KINDS[name])
    weights = load_file(path / WEIGHTS)
    weights[name] = spoil(weights[name])
    save_file(weights, path / WEIGHTS)
    assert_refused(path, name)


@pytest.mark.parametrize("name", KINDS)
def test_a_tensor_that_is_missing_or_has_no_place_is_refused(copy_of: Callable[[str], Path], name: str) -> None:
    path = copy_of(KINDS[name])
    weights = load_file(path / WEIGHTS)
    taken = weights.pop(name)
    save_file(weights, path / WEIGHTS)
    assert_refused(path, f"{name} is missing")
    other = name.replace(LAYER, "model.layers.2.").replace("model.norm", "model.norms").replace("lm_head", "head")
    save_file({**weights, name: taken, other.replace("embed_tokens", "embed_words"): taken.clone()}, path / WEIGHTS)
    assert_refused(path, "has no place")


@pytest.mark.parametrize(
    "settings",
    [{"kernels": "torch"}, {"kernels": "rehearsed"}, {"quantize": "int8"}, {"quantize": "int4"}, {"dtype": "bfloat16"}],
    ids=str,
)
def test_every_way_of_computing_has_the_same_door(copy_of: Callable[[str], Path], settings: dict[str, str]) -> None:
    path, name = copy_of("llama"), f"{LAYER}self_attn.o_proj.weight"
    weights = load_file(path / WEIGHTS)
    save_file({**weights, name: longer(weights[name])}, path / WEIGHTS)
    assert_refused(path, name, "48 x 32", "32 x 32", **settings)


def test_a_draft_has_the_same_door(tiny_model: Path, copy_of: Callable[[str], Path]) -> None:
    path, name = copy_of("llama"), f"{LAYER}mlp.down_proj.weight"
    weights = load_file(path / WEIGHTS)
    save_file({**weights, name: wider(weights[name])}, path / WEIGHTS)
    assert_refused(tiny_model, name, "32 x 128", draft=str(path))


def test_numbers_too_large_for_the_dtype_are_told(copy_of: Callable[[str], Path]) -> None:
    path = copy_of("llama")
    weights = load_file(path / WEIGHTS)
    save_file({**weights, "model.norm.weight": weights["model.norm.weight"] * 1e6}, path / WEIGHTS)
    assert_refused(path, "model.norm.weight", "too large", "float16", dtype="float16")
    # They are finite, and yet what is computed with them is not.
    large = {name: tensor * 1e25 for name, tensor in weights.items() if "gate_proj" in name or "up_proj" in name}
    save_file({**weights, **large}, path / WEIGHTS)
    assert_refused(path, "no finite numbers")


def test_llama_weights_with_another_kinds_name_are_refused(copy_of: Callable[[str], Path]) -> None:
    """Qwen2 has biases and Qwen3 norms of its heads; a folder without them would be computed as something else."""
    for kind, missing in (("qwen2", "q_proj.bias"), ("qwen3", "q_norm.weight")):
        path = copy_of("llama")
        change_config(path, {"model_type": kind})
        assert_refused(path, missing)
        shutil.rmtree(path)


@pytest.mark.parametrize("family", ["gpt_neox", "mamba"])
@pytest.mark.parametrize("spoil", [with_nan, longer, much_longer, integers], ids=lambda spoil: spoil.__name__)
def test_their_weights_are_looked_at(
    copy_of: Callable[[str], Path], family: str, spoil: Callable[[Tensor], Tensor]
) -> None:
    path = copy_of(family)
    weights = load_file(path / WEIGHTS)
    name = next(
        name for name in weights if name.endswith(("layers.1.mixer.in_proj.weight", "1.attention.dense.weight"))
    )
    save_file({**weights, name: spoil(weights[name])}, path / WEIGHTS, metadata={"format": "pt"})
    assert_refused(path, name)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        (name, spoil)
        for name in ("embedding", "down", "norm", "block.1")
        for spoil in SPOILED
        if name != "embedding" or spoil not in (longer, much_longer)  # more rows than tokens are padding
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_heads_have_the_same_door(
    tiny_model: Path, tmp_path: Path, name: str, spoil: Callable[[Tensor], Tensor]
) -> None:
    path = make_heads(tmp_path / "heads", tiny_model)
    weights = load_file(path / "heads.safetensors")
    save_file({**weights, name: spoil(weights[name])}, path / "heads.safetensors")
    assert_left_out(tiny_model, path, str(path))


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn], ids=str
)
def test_numbers_are_finite_or_not_in_every_dtype(dtype: torch.dtype) -> None:
    limits = torch.finfo(dtype)
    assert is_finite(
        torch.tensor([limits.max, limits.max, limits.min, limits.tiny, -0.0], dtype=torch.float64).to(dtype)
    )
    assert is_finite(torch.empty(0, 3, dtype=dtype))
    for value in (math.nan, math.inf, -math.inf):
        numbers = torch.zeros(7, 5)
        numbers[3, 2], numbers[4, 1] = value, -value
        if dtype != torch.float8_e4m3fn or math.isnan(value):  # it has no infinity
            assert not is_finite(numbers.to(dtype))


@pytest.mark.parametrize(("family", "settings"), [("llama", {}), ("llama", {"kernels": "torch"}), ("gpt_neox", {})])
def test_a_file_that_is_cut_while_its_model_computes_ends_nothing(
    copy_of: Callable[[str], Path], family: str, settings: dict[str, str]
) -> None:
    """As a copy over it does; the map of such a file would end the process."""
    path = copy_of(family)
    models, _ = load_models(EngineConfig(model=str(path), device="cpu", dtype="float32", **settings))
    before = models.target.advance([1, 2, 3], models.target.new_cache()).clone()
    os.truncate(path / WEIGHTS, 0)
    assert torch.equal(models.target.advance([1, 2, 3], models.target.new_cache()), before)


@pytest.mark.parametrize(
    "change", [os.utime, lambda file: os.truncate(file, 9), os.remove], ids=["time", "size", "gone"]
)
def test_a_file_that_changes_while_it_is_read_is_told(
    copy_of: Callable[[str], Path], change: Callable[[Path], None]
) -> None:
    folder = ModelFolder.read(copy_of("llama"))
    tensors = Tensors(folder.path, folder.entries, decoder_schema(folder.sizes), torch.device("cpu"), torch.float32)
    tensors.take("model.norm.weight")
    change(folder.path / WEIGHTS)
    with pytest.raises(ModelError) as caught:
        tensors.take("model.norm.weight")
    assert_sentence(str(caught.value), WEIGHTS)


def test_a_tensor_that_can_not_be_compared_is_told(tmp_path: Path) -> None:
    four_bits = {"x": {"dtype": "F4", "shape": [16], "data_offsets": [0, 8]}}
    (tmp_path / WEIGHTS).write_bytes(header_of(four_bits, data=bytes(8)))
    with pytest.raises(ModelError) as caught:
        identity(tmp_path)
    assert_sentence(str(caught.value), WEIGHTS)
