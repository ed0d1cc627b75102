"""A GGUF file is the same model as the folder that it was made from, and what isn't computed is told in a sentence."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from decoding.config import EngineConfig
from decoding.errors import ModelError
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.gguf.blocks import widen_blocks
from decoding.models.gguf.tensor_types import TYPES
from decoding.models.loading.model_set import load_model, load_models
from decoding.models.torch.rope import inverse_frequencies
from decoding.models.weights.tensors import Tensors
from decoding.models.weights.weight_schema import decoder_schema
from decoding.protocol import is_hub_name
from tests.gguf_files import Gguf, floats, text
from tests.gguf_models import UNUSED, quantised, settings_of, tensors_of, tiny_gguf
from tests.tiny_models import make_model

CPU = torch.device("cpu")
IDS = [5, 300, 17, 201, 9, 44, 100, 3]


def logits(path: Path, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    model = load_model(ModelFolder.read(path), EngineConfig(kernels="torch"), CPU, dtype).model
    return model.advance(IDS, model.new_cache())


def weights(path: Path) -> Tensors:
    folder = ModelFolder.read(path)
    return Tensors(path, folder.entries, decoder_schema(folder.sizes), CPU, torch.float32)


def are_alike(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Up to the order in which torch adds, which depends on where in the memory a matrix lies."""
    return torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral"])
def test_it_computes_what_the_folder_does(tiny_models: dict[str, Path], family: str, tmp_path: Path) -> None:
    file = tiny_gguf(tmp_path / "x.gguf", tiny_models[family])
    ours, folder = ModelFolder.read(file), ModelFolder.read(tiny_models[family])
    assert ours.sizes == folder.sizes
    assert ours.num_token_ids == folder.num_token_ids
    mine, theirs = weights(file), weights(tiny_models[family])
    assert mine.names == theirs.names
    assert all(torch.equal(mine.take(name), theirs.take(name)) for name in theirs.names)
    assert are_alike(logits(file), logits(tiny_models[family]))


def test_a_file_without_an_ending_is_a_model_too(tiny_model: Path, tmp_path: Path) -> None:
    file = tiny_gguf(tmp_path / "sha256-00ff", tiny_model)
    assert are_alike(logits(file), logits(tiny_model))


@pytest.mark.parametrize("kind", [kind.name for kind in TYPES.values()])
def test_matrices_of_each_type_are_what_their_blocks_stand_for(kind: str, tmp_path: Path) -> None:
    wide = make_model(tmp_path / "wide", "llama", layers=1, hidden_size=256, intermediate_size=256, head_dim=64)
    stored = quantised(tensors_of(wide), kind)
    file = Gguf(metadata=settings_of(wide), tensors=stored).write(tmp_path / "x.gguf")
    folder = ModelFolder.read(file)
    read = Tensors(file, folder.entries, decoder_schema(folder.sizes), CPU, torch.bfloat16)
    described = TYPES[stored["blk.0.ffn_up.weight"].kind]
    for ours, theirs in {"mlp.up_proj": "ffn_up", "self_attn.v_proj": "attn_v", "self_attn.q_proj": "attn_q"}.items():
        tensor = stored[f"blk.0.{theirs}.weight"]
        blocks = np.frombuffer(tensor.data, np.uint8).reshape(-1, described.num_bytes)
        values = torch.from_numpy(widen_blocks(kind, blocks).reshape(tensor.dimensions[::-1]).copy())
        if theirs == "attn_q":
            values = values.unflatten(0, (4, 32, 2)).transpose(1, 2).reshape(values.shape)
        assert torch.equal(read.take(f"model.layers.0.{ours}.weight"), values.bfloat16())
    assert logits(file, torch.bfloat16).isfinite().all()
    assert re.search(rf"\b{kind} (100|[5-9]\d) %", folder.stored_as)


def test_embedding_and_head_are_each_as_stored(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    tied = tiny_models["qwen2"]
    tensors = tensors_of(tied)
    assert ModelFolder.read(tiny_gguf(tmp_path / "tied.gguf", tied)).sizes.is_tied
    other = np.frombuffer(tensors["token_embd.weight"].data, np.float32).reshape(
        tensors["token_embd.weight"].dimensions[::-1]
    )
    file = Gguf(metadata=settings_of(tied), tensors={**tensors, "output.weight": floats(-other)}).write(
        tmp_path / "x.gguf"
    )
    assert not ModelFolder.read(file).sizes.is_tied
    assert are_alike(logits(file), -logits(tied))


def test_padding_ids_are_no_tokens_and_have_no_logits(tiny_model: Path, tmp_path: Path) -> None:
    file = tiny_gguf(tmp_path / "x.gguf", tiny_model, padding=7)
    folder = ModelFolder.read(file)
    assert folder.num_token_ids == ModelFolder.read(tiny_model).num_token_ids == folder.sizes.vocabulary - 7
    assert are_alike(logits(file), logits(tiny_model))


def test_numbers_within_the_vocabulary_that_are_no_tokens_are_known(tiny_model: Path, tmp_path: Path) -> None:
    plain = settings_of(tiny_model)
    types = plain["tokenizer.ggml.token_type"].copy()
    gap = plain["tokenizer.ggml.tokens"].index("ÿ")
    types[gap] = UNUSED
    file = tiny_gguf(tmp_path / "x.gguf", tiny_model, tokenizer__ggml__token_type=types)
    assert load_models(EngineConfig(model=str(file), draft="none", device="cpu"))[0].unused_ids == (gap,)
    assert load_models(EngineConfig(model=str(tiny_model), draft="none", device="cpu"))[0].unused_ids == ()


def test_a_draft_shares_the_tokenizer_of_its_target_if_it_has_the_same(tiny_model: Path, tmp_path: Path) -> None:
    target = ModelFolder.read(tiny_gguf(tmp_path / "target.gguf", tiny_model))
    draft = ModelFolder.read(tiny_gguf(tmp_path / "draft.gguf", tiny_model), like=target)
    assert draft.tokenizer is target.tokenizer
    other = ModelFolder.read(
        tiny_gguf(tmp_path / "other.gguf", tiny_model, tokenizer__ggml__eos_token_id=4), like=target
    )
    assert other.tokenizer is not target.tokenizer
    assert not other.why_not_alike(target)


def test_ends_are_those_of_the_file_and_those_that_are_known_by_name(tiny_model: Path, tmp_path: Path) -> None:
    file = tiny_gguf(tmp_path / "x.gguf", tiny_model, tokenizer__ggml__eos_token_id=4, tokenizer__ggml__eot_token_id=2)
    assert ModelFolder.read(file).end_token_ids == [0, 2, 4]
    models, _ = load_models(EngineConfig(model=str(file), device="cpu"))
    assert models.layout.template is not None
    assert {0, 2, 4} <= models.layout.stop_ids


def test_it_writes_as_its_folder_does(tiny_model: Path, tmp_path: Path) -> None:
    """Through the whole loader, with the compiled kernels and a draft that is a file as well."""
    file = tiny_gguf(tmp_path / "x.gguf", tiny_model)
    models, probe = load_models(EngineConfig(model=str(file), draft=str(file), device="cpu"))
    assert probe.width > 1
    assert models.draft is not None
    assert not models.notices


def test_stretched_rotations_are_taken_over(tiny_model: Path, tmp_path: Path) -> None:
    plain = inverse_frequencies(ModelFolder.read(tiny_gguf(tmp_path / "x.gguf", tiny_model)).config, 8)
    linear = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    file = tiny_gguf(tmp_path / "x.gguf", tiny_model, **linear)
    assert torch.equal(inverse_frequencies(ModelFolder.read(file).config, 8), plain / 4)
    factors = np.array([1, 1.5, 3, 8], np.float32)
    tensors = {**tensors_of(tiny_model), "rope_freqs.weight": floats(factors)}
    file = Gguf(metadata=settings_of(tiny_model), tensors=tensors).write(tmp_path / "x.gguf")
    stretched = inverse_frequencies(ModelFolder.read(file).config, 8)
    assert torch.equal(stretched, plain / torch.from_numpy(factors).double())
    assert not are_alike(logits(file), logits(tiny_model))


KIND = "general__architecture"
REFUSED = {
    "a part of a picture model": ({KIND: "clip"}, "the part of a model that looks at pictures"),
    "a picture model": ({KIND: "qwen2vl"}, "a model that looks at pictures (qwen2vl)"),
    "a picture model of Meta": ({KIND: "mllama"}, "a model that looks at pictures (mllama)"),
    "a language model with eyes": ({"llama__vision__block_count": 3}, "a model that looks at pictures (llama)"),
    "a painter": ({KIND: "flux"}, "a model that makes pictures (flux)"),
    "an embedding model": ({KIND: "nomic-bert"}, "a model for embeddings (nomic-bert)"),
    "an older embedding model": ({KIND: "bert"}, "a model for embeddings (bert)"),
    "a pooled model": ({"llama__pooling_type": 3}, "a model for embeddings"),
    "an adapter": ({"general__type": "adapter"}, "an adapter"),
    "no architecture": ({KIND: None}, "general.architecture is missing"),
    "another architecture": ({KIND: "deepseek2"}, "deepseek2 is not computed"),
    "a strange architecture": ({KIND: "a\nb"}, "is not computed"),
    "experts": ({"llama__expert_count": 8}, "mixture of experts"),
    "multipliers": ({"llama__logit_scale": 8.0}, "logit_scale"),
    "no layers": ({"llama__block_count": None}, "llama.block_count is missing"),
    "too many layers": ({"llama__block_count": 2**31}, "num_hidden_layers must be"),
    "layers in words": ({"llama__block_count": "two"}, "llama.block_count must be one whole number"),
    "unequal layers": ({"llama__attention__head_count_kv": np.array([2, 4], np.int32)}, "the same in all layers"),
    "no heads": ({"llama__attention__head_count": 0}, "num_attention_heads must be"),
    "values of another size": ({"llama__attention__value_length": 16}, "different sizes"),
    "an endless base": ({"llama__rope__freq_base": float("inf")}, "rope_theta must be"),
    "no tokens": ({"tokenizer__ggml__tokens": None}, "holds no tokenizer"),
    "a list for a value": ({"tokenizer__ggml__model": ["gpt2"]}, "must be one value"),
    "another tokenizer": ({"tokenizer__ggml__model": "t5"}, "kind 't5' is not read"),
    "unknown splitting": ({"tokenizer__ggml__pre": "superbpe"}, "'superbpe' is not known"),
    "no merges": ({"tokenizer__ggml__merges": None}, "merges is missing"),
    "merges of no tokens": ({"tokenizer__ggml__merges": ["zzz yyy"]}, "describes no tokenizer"),
    "too few types": ({"tokenizer__ggml__token_type": np.ones(3, np.int32)}, "token_type must be a list"),
    "a beginning that is none": (
        {"tokenizer__ggml__add_bos_token": True, "tokenizer__ggml__bos_token_id": 10**6}, "bos_token_id must be",
    ),
    "a window": ({"llama__attention__sliding_window": 64}, "sliding window of 64"),
    "a part of the rotation": ({"llama__rope__dimension_count": 4}, "partial rotation"),
    "yarn": ({"llama__rope__scaling__type": "yarn", "llama__rope__scaling__factor": 4.0}, "rotary scaling yarn"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_computed_is_told_in_one_sentence(name: str, tiny_model: Path, tmp_path: Path) -> None:
    changes, expected = REFUSED[name]
    file = tiny_gguf(tmp_path / "x.gguf", tiny_model, **changes)
    with pytest.raises(ModelError, match=re.escape(expected)) as caught:
        load_model(ModelFolder.read(file), EngineConfig(), CPU, torch.float32)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["token_embd.weight", "output_norm.weight", "blk.1.ffn_down.weight"])
def test_a_missing_or_misshapen_tensor_is_named(name: str, tiny_model: Path, tmp_path: Path) -> None:
    tensors = tensors_of(tiny_model)
    misshapen = floats(np.zeros((3, 32), np.float32))
    for changed in ({key: value for key, value in tensors.items() if key != name}, tensors | {name: misshapen}):
        file = Gguf(metadata=settings_of(tiny_model), tensors=changed).write(tmp_path / "x.gguf")
        with pytest.raises(ModelError, match=r"tensor|tokens"):
            load_model(ModelFolder.read(file), EngineConfig(), CPU, torch.float32)


def test_tensors_without_a_place_are_told(tiny_model: Path, tmp_path: Path) -> None:
    tensors = {**tensors_of(tiny_model), "blk.0.attn_q.bias": floats(np.zeros(32, np.float32))}
    file = Gguf(metadata=settings_of(tiny_model), tensors=tensors).write(tmp_path / "x.gguf")
    with pytest.raises(ModelError, match="has no place in this architecture"):
        load_model(ModelFolder.read(file), EngineConfig(), CPU, torch.float32)


@pytest.mark.parametrize("name", ["blk.0.ffn_up.weight", "blk.0.attn_norm.weight"])
def test_numbers_that_are_not_finite_are_told(name: str, tiny_model: Path, tmp_path: Path) -> None:
    tensors = tensors_of(tiny_model)
    values = np.frombuffer(tensors[name].data, np.float32).reshape(tensors[name].dimensions[::-1]).copy()
    values.flat[-1] = np.nan
    file = Gguf(metadata=settings_of(tiny_model), tensors=tensors | {name: floats(values)}).write(tmp_path / "x.gguf")
    with pytest.raises(ModelError, match="not finite"):
        load_model(ModelFolder.read(file), EngineConfig(), CPU, torch.float32)


def test_a_folder_with_a_file_in_it_names_the_file(tiny_model: Path, tmp_path: Path) -> None:
    tiny_gguf(tmp_path / "x.gguf", tiny_model)
    with pytest.raises(ModelError, match=r"x\.gguf in it is a model of its own"):
        ModelFolder.read(tmp_path)
    assert not is_hub_name("models/x.gguf")


def test_spoiled_settings_do_no_harm(tiny_model: Path, tmp_path: Path) -> None:
    """Whatever the settings and the tokenizer say, there is a model or a sentence."""
    whole = Gguf(metadata=settings_of(tiny_model), tensors=tensors_of(tiny_model)).written()
    end = whole.index(text("token_embd.weight"))
    rng = random.Random(7)
    file = tmp_path / "x.gguf"
    refused = 0
    for _ in range(400):
        spoiled = bytearray(whole)
        for _ in range(rng.choice((1, 2, 8))):
            # Half of the changes fall on the settings' first kilobyte, before the lists of the tokenizer.
            at = rng.randrange(24, rng.choice((1200, end)))
            spoiled[at] = rng.choice((0, 1, 2, 5, 9, 0x7F, 0xFF, rng.randrange(256)))
        file.write_bytes(spoiled)
        try:
            folder = ModelFolder.read(file)
            folder.why_not_ours(128)
            decoder_schema(folder.sizes)
        except ModelError:
            refused += 1
    assert refused > 50
