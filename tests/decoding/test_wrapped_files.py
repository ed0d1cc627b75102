"""GGUF files of architectures that transformers computes: the same logits as the folder, and llama.cpp's own text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel

from decoding.config import EngineConfig
from decoding.errors import ModelError
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.gguf.wrapped import FORMS
from decoding.models.loading.model_set import load_model, load_models
from decoding.models.loading.parts import planned_bytes
from decoding.models.loading.weight_forms import keeps_blocks
from decoding.training import tokenizer as training_tokenizer
from tests.gguf_files import Gguf, floats
from tests.gguf_models import tokens_of
from tests.tiny_models import SETTINGS, make_tokenizer

CPU = torch.device("cpu")
IDS = [5, 300, 17, 201, 9, 44, 100, 3, 250, 77, 12, 400] * 5
Settings = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a folder's config.json and a file's metadata say beyond what all have."""

    config: Settings
    metadata: Settings
    has_offset_norms: bool = False
    pairs_rows: bool = False
    epsilon: str = "layer_norm_rms_epsilon"


THETA = {"rope_type": "default", "rope_theta": 50_000.0}
LINES = {
    "starcoder2": Line(
        config={"rope_parameters": THETA, "norm_epsilon": 1e-5, "use_bias": True, "tie_word_embeddings": True},
        metadata={},
        epsilon="layer_norm_epsilon",
    ),
    "stablelm": Line(
        config={"rope_parameters": {**THETA, "partial_rotary_factor": 0.5}, "use_qkv_bias": True},
        metadata={"rope.dimension_count": 4, "use_parallel_residual": False},
        epsilon="layer_norm_epsilon",
    ),
    "gemma": Line(config={"rope_parameters": THETA, "tie_word_embeddings": True}, metadata={}, has_offset_norms=True),
    "gemma2": Line(
        config={
            "rope_parameters": THETA,
            "tie_word_embeddings": True,
            "query_pre_attn_scalar": 8,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 3.0,
            "sliding_window": 16,
        },
        metadata={"attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0, "attention.sliding_window": 16},
        has_offset_norms=True,
    ),
    "phi3": Line(config={"rope_parameters": THETA, "rms_norm_eps": 1e-6}, metadata={"rope.dimension_count": 8}),
    "granite": Line(
        config={
            "rope_parameters": THETA,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.5,
            "attention_multiplier": 0.25,
            "logits_scaling": 2.0,
        },
        metadata={"embedding_scale": 3.0, "residual_scale": 0.5, "attention.scale": 0.25, "logit_scale": 2.0},
        pairs_rows=True,
    ),
}


def make_folder(folder: Path, kind: str) -> Path:
    """A tiny random model whose norms and biases are random, too, so that none can be forgotten."""
    torch.manual_seed(1)
    settings = {**SETTINGS, "vocab_size": make_tokenizer().get_vocab_size(), **LINES[kind].config}
    model: PreTrainedModel = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**settings))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, 0.3)
        else:
            parameter.data += torch.randn_like(parameter) * 0.2
    model.save_pretrained(folder)
    training_tokenizer.save(make_tokenizer(), folder)
    return folder


def make_file(file: Path, folder: Path, kind: str, **changes: Any) -> Path:
    """Write the folder as llama.cpp's converter does, with the names of its own `gguf` package."""
    gguf = pytest.importorskip("gguf", reason="the extra `bench` is not installed")
    line = LINES[kind]
    arch = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == kind)
    names = gguf.get_tensor_name_map(arch, SETTINGS["num_hidden_layers"])
    tensors = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        values = tensor.float().numpy()
        stem, _, ending = name.rpartition(".")
        if line.has_offset_norms and stem.endswith("norm"):
            values = values + np.float32(1)
        if line.pairs_rows and stem.endswith(("q_proj", "k_proj")):
            halves = values.reshape(-1, 2, SETTINGS["head_dim"] // 2, values.shape[-1])
            values = halves.swapaxes(1, 2).reshape(values.shape)
        tensors[f"{names.get_name(stem)}.{ending}"] = floats(values)
    own = {
        "block_count": SETTINGS["num_hidden_layers"],
        "context_length": SETTINGS["max_position_embeddings"],
        "embedding_length": SETTINGS["hidden_size"],
        "feed_forward_length": SETTINGS["intermediate_size"],
        "attention.head_count": SETTINGS["num_attention_heads"],
        "attention.head_count_kv": SETTINGS["num_key_value_heads"],
        "attention.key_length": SETTINGS["head_dim"],
        "attention.value_length": SETTINGS["head_dim"],
        f"attention.{line.epsilon}": 1e-6 if line.epsilon == "layer_norm_rms_epsilon" else 1e-5,
        "rope.freq_base": THETA["rope_theta"],
        "rope.dimension_count": SETTINGS["head_dim"],
        **line.metadata,
    }
    metadata = {"general.architecture": kind, **{f"{kind}.{key}": value for key, value in own.items()}}
    return Gguf(metadata={**metadata, **tokens_of(folder, 0, "gpt-2"), **changes}, tensors=tensors).write(file)


def logits(path: Path) -> torch.Tensor:
    model = load_model(ModelFolder.read(path), EngineConfig(), CPU, torch.float32).model
    return model.advance(IDS, model.new_cache())


@pytest.fixture
def file_of(tmp_path: Path) -> Callable[[str], Path]:
    return lambda kind: make_file(tmp_path / f"{kind}.gguf", make_folder(tmp_path / kind, kind), kind)


@pytest.mark.parametrize("kind", FORMS)
def test_it_is_the_model_of_its_folder(kind: str, file_of: Callable[[str], Path]) -> None:
    file = file_of(kind)
    ours, theirs = logits(file), logits(file.with_suffix(""))
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4), (ours - theirs).abs().max()
    assert theirs.std() > 0.1


@pytest.mark.parametrize("kind", FORMS)
def test_llama_cpp_computes_the_same(kind: str, file_of: Callable[[str], Path]) -> None:
    """What both sides of the other test might read wrongly alike."""
    pytest.importorskip("xllamacpp", reason="the extra `bench` is not installed")
    from decoding.bench.harness import llama_cpp

    file = file_of(kind)
    setting = llama_cpp.Setting(file=file, draft=None, speculation="", max_len=256)
    servers: list[object] = []
    theirs, _, _ = llama_cpp.package_server(setting, servers)[0].complete(IDS, 12)
    models, _ = load_models(EngineConfig(model=str(file), device="cpu", dtype="float32"))
    cache, pending = models.target.new_cache(), IDS
    for at, wanted in enumerate(theirs):
        row = models.target.advance(pending, cache)
        best = row.topk(2).values
        if int(row.argmax()) != wanted:
            assert float(best[0] - row[wanted]) < 2e-3, f"token {at}"
            return
        pending = [wanted]


def test_its_blocks_are_widened_and_the_memory_is_planned_so(file_of: Callable[[str], Path]) -> None:
    file = file_of("phi3")
    read, config = ModelFolder.read(file), EngineConfig(context_tokens=256)
    assert planned_bytes(read, config, CPU, torch.bfloat16) > 2 * read.num_parameters
    assert not keeps_blocks(read, config, CPU)
    assert read.is_wrapped


def test_what_is_not_computed_is_told(file_of: Callable[[str], Path], tmp_path: Path) -> None:
    file = file_of("phi3")
    data = file.read_bytes().replace(b"blk.1.ffn_norm.weight", b"rope_factors_long.wei")
    (tmp_path / "long.gguf").write_bytes(data)
    with pytest.raises(ModelError, match=re.escape("a model with the tensor rope_factors_long.wei is not computed")):
        ModelFolder.read(tmp_path / "long.gguf")


@pytest.mark.parametrize("kind", ["gemma2", "granite"])
def test_a_missing_tensor_is_named(kind: str, file_of: Callable[[str], Path]) -> None:
    file = file_of(kind)
    file.write_bytes(file.read_bytes().replace(b"blk.1.ffn_up.weight", b"blk.7.ffn_up.weight"))
    with pytest.raises(ModelError, match=r"tensor model\.layers\.1\.mlp\.up_proj\.weight is missing"):
        load_model(ModelFolder.read(file), EngineConfig(), CPU, torch.float32)


@pytest.mark.parametrize("value", ["much", float("nan"), ["1"]])
def test_a_factor_that_is_none_is_told(value: Any, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "granite", "granite")
    file = make_file(tmp_path / "x.gguf", folder, "granite", **{"granite.logit_scale": value})
    with pytest.raises(ModelError, match=r"granite\.logit_scale must be"):
        ModelFolder.read(file)
