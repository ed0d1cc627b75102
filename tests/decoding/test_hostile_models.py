"""Model folders that can't be right: each is refused by a sentence that says which file, which key and why."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from decoding.config import EngineConfig
from decoding.errors import ModelError
from decoding.models.folder.json_files import read_json
from decoding.models.folder.safetensors_headers import MAX_TENSORS
from decoding.models.loading.model_set import load_models
from tests.decoding.conftest import make_heads
from tests.decoding.hostile import (
    WEIGHTS,
    assert_left_out,
    assert_refused,
    change_config,
    header_of,
)
from tests.tiny_models import FAMILIES

OURS = [name for name, line in FAMILIES.items() if line.is_ours]


@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"hidden_size": 10**9}, "hidden_size"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"hidden_size": -32}, "hidden_size"),
        ({"hidden_size": "32"}, "hidden_size"),
        ({"hidden_size": 32.5}, "hidden_size"),
        ({"hidden_size": None}, "hidden_size"),
        ({"hidden_size": [32, 32]}, "hidden_size"),
        ({"hidden_size": True}, "hidden_size"),
        ({"hidden_size": 64}, "embed_tokens"),
        ({"intermediate_size": 128}, "gate_proj"),
        ({"intermediate_size": 10**12}, "intermediate_size"),
        ({"intermediate_size": None}, "intermediate_size"),
        ({"num_attention_heads": 0}, "num_attention_heads"),
        ({"num_attention_heads": -4}, "num_attention_heads"),
        ({"num_attention_heads": 3}, "num_attention_heads"),
        ({"num_attention_heads": 3, "num_key_value_heads": 1}, "q_proj"),
        ({"num_attention_heads": 5, "num_key_value_heads": 1, "head_dim": None}, "hidden_size"),
        ({"num_key_value_heads": 0}, "num_key_value_heads"),
        ({"num_key_value_heads": 4}, "k_proj"),
        ({"num_key_value_heads": 8}, "num_key_value_heads"),
        ({"head_dim": 7}, "head_dim"),
        ({"head_dim": 0}, "head_dim"),
        ({"head_dim": 4}, "q_proj"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers"),
        ({"num_hidden_layers": 3}, "model.layers.2."),
        ({"num_hidden_layers": 1}, "has no place"),
        ({"vocab_size": 10**10}, "vocab_size"),
        ({"vocab_size": 601}, "embed_tokens"),
        ({"vocab_size": 599}, "the model only 599"),
        ({"max_position_embeddings": 1}, "max_position_embeddings"),
        ({"max_position_embeddings": -320}, "max_position_embeddings"),
        ({"max_position_embeddings": "many"}, "max_position_embeddings"),
        ({"rms_norm_eps": math.nan}, "rms_norm_eps"),
        ({"rms_norm_eps": -1e-6}, "rms_norm_eps"),
        ({"rms_norm_eps": math.inf}, "rms_norm_eps"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": math.nan}}, "rope_parameters.rope_theta"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 0}}, "rope_parameters.rope_theta"),
        ({"rope_parameters": None, "rope_theta": 0}, "rope_theta"),
        ({"rope_parameters": None, "rope_theta": -math.inf}, "rope_theta"),
        ({"rope_parameters": [1, 2]}, "rope_parameters"),
        ({"rope_scaling": "linear"}, "rope_scaling"),
        ({"rope_scaling": {"rope_type": 7}}, "rope_scaling.rope_type"),
        ({"rope_parameters": {"rope_type": "linear"}}, "factor"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 0}}, "rope_parameters.factor"),
        ({"rope_parameters": {"rope_type": "llama3", "factor": 8}}, "low_freq_factor"),
        ({"rope_parameters": {"low_freq_factor": 4, "high_freq_factor": 4}}, "high_freq_factor"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"hidden_act": ["silu"]}, "hidden_act"),
        ({"eos_token_id": "end"}, "eos_token_id"),
        ({"tabcast": [1]}, "tabcast"),
        ({"tabcast": {"languages": 7}}, "tabcast.languages"),
        ({"tabcast": {"fim_order": ["suffix_first"]}}, "fim_order"),
        ({"tabcast": {"fim_order": 7}}, "fim_order"),
        ({"model_type": 7}, "model_type"),
        ({"text_config": []}, "text_config"),
        ({"hidden_act": ["\ud800\x9b31m"]}, "hidden_act"),
    ],
    ids=str,
)
def test_a_configuration_that_cannot_be_right_is_refused(
    copy_of: Callable[[str], Path], family: str, changes: dict[str, object], key: str
) -> None:
    path = copy_of(family)
    change_config(path, changes)
    assert_refused(path, key)


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - OURS - {"mistral-window"}))
@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 10**9, "n_embd": 10**9},
        {"hidden_size": "wide"},
        {"hidden_size": 48},
        {"hidden_size": 60_000, "intermediate_size": 1_000_000, "ffn_dim": 1_000_000, "num_hidden_layers": 50},
        {"layer_types": 7},
        {"vocab_size": 700},
        {"vocab_size": [1]},
        {"vocab_size": 0},
        {"num_attention_heads": 0, "n_head": 0},
        {"num_hidden_layers": -1, "n_layer": -1},
        {"max_position_embeddings": 1},
        {
            "rms_norm_eps": math.nan,
            "layer_norm_eps": math.nan,
            "layer_norm_epsilon": math.nan,
            "norm_epsilon": math.nan,
        },
    ],
    ids=str,
)
def test_models_that_transformers_computes_are_refused_by_a_sentence_too(
    copy_of: Callable[[str], Path], family: str, changes: dict[str, object]
) -> None:
    path = copy_of(family)
    change_config(path, changes)
    assert_refused(path, str(path))


@pytest.mark.parametrize("value", ["somebody/kernels", {"": "somebody/kernels:attention"}], ids=str)
def test_code_of_a_repository_is_not_asked_for(copy_of: Callable[[str], Path], value: object) -> None:
    """Transformers fetches and runs it where a package for that is installed."""
    path = copy_of("gpt_neox")
    change_config(path, {"attn_implementation": value})
    assert_refused(path, "config.json: attn_implementation must be a kernel that is no repository")


def tensor(**changes: object) -> dict[str, object]:
    return {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", b"[" * 100_000 + b"]" * 100_000),
        ("config.json", b'{"model_type": "llama", "more": ' + b"[" * 50 + b"]" * 50 + b"}"),
        ("config.json", b"[]"),
        ("config.json", b"\xff\xfe"),
        ("config.json", b'{"model_type": "llama", "hidden_size": 1' + b"0" * 5000 + b"}"),
        ("config.json", b" " * 5_000_000),
        ("tokenizer.json", b"[" * 100_000 + b"]" * 100_000),
        ("tokenizer.json", b'{"model": ' + b'{"a":' * 120 + b"1" + b"}" * 121),
        ("tokenizer.json", b"[]"),
        ("tokenizer.json", b'{"model": {"type": "BPE", "vocab": {"a": 4000000000}, "merges": []}}'),
        ("tokenizer.json", b'{"model": {"type": "BPE", "vocab": {"a": "b"}, "merges": []}}'),
        ("tokenizer.json", b'{"model": {"type": "magic"}}'),
        ("tokenizer_config.json", b"[1]"),
        ("tokenizer_config.json", b"{"),
        (WEIGHTS, b""),
        (WEIGHTS, b"1234"),
        (WEIGHTS, header_of(b"[" * 100_000 + b"]" * 100_000)),
        (WEIGHTS, header_of({}, length=2**63)),
        (WEIGHTS, header_of({}, length=100)),
        (WEIGHTS, header_of([1, 2])),
        (WEIGHTS, header_of({"x": 7})),
        (WEIGHTS, header_of(tensor(dtype="F33"), data=bytes(8))),
        (WEIGHTS, header_of(tensor(dtype=["F32"]), data=bytes(8))),
        (WEIGHTS, header_of(tensor(shape=[-2]), data=bytes(8))),
        (WEIGHTS, header_of(tensor(shape=["2"]), data=bytes(8))),
        (WEIGHTS, header_of(tensor(shape=7), data=bytes(8))),
        (WEIGHTS, header_of(tensor(shape=[1] * 99 + [2]), data=bytes(8))),
        (WEIGHTS, header_of(tensor(shape=[2**62, 2**62]), data=bytes(8))),
        (WEIGHTS, header_of(tensor(data_offsets=[0, 80]), data=bytes(8))),
        (WEIGHTS, header_of(tensor(data_offsets=[8, 0]), data=bytes(8))),
        (WEIGHTS, header_of(tensor(data_offsets=[0]), data=bytes(8))),
        (WEIGHTS, header_of(tensor(), data=bytes(4))),
        (WEIGHTS, header_of(tensor(shape=[0, 10**4000], data_offsets=[0, 0]))),
        (WEIGHTS, header_of(tensor(dtype="F" * 10_000))),
        (WEIGHTS, header_of({"x\x1b[31m": tensor()["x"]}, data=bytes(8))),
        (WEIGHTS, header_of({"x" * 10_000: tensor()["x"]}, data=bytes(8))),
        (WEIGHTS, header_of({"\ud800": tensor()["x"]}, data=bytes(8))),
        (WEIGHTS, header_of({f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(300_000)})),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value[:24]),
)
def test_a_file_of_another_form_is_refused(copy_of: Callable[[str], Path], file: str, content: bytes) -> None:
    path = copy_of("llama")
    (path / file).write_bytes(content)
    assert_refused(path, file)


def test_a_million_tensors_over_several_files_are_refused(copy_of: Callable[[str], Path]) -> None:
    path = copy_of("llama")
    for number in range(3):
        names = (f"t{number}.{i}" for i in range(MAX_TENSORS // 3 + 10))
        described = {name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for name in names}
        (path / f"more-{number}.safetensors").write_bytes(header_of(described))
    assert_refused(path, str(path), "tensors")


def test_a_pipe_is_not_opened(copy_of: Callable[[str], Path]) -> None:
    path = copy_of("llama")
    os.mkfifo(path / "more.safetensors")
    assert_refused(path, "more.safetensors", "no regular file")


@pytest.mark.skipif(not Path("/proc/kmsg").exists(), reason="there is no such file, or not on this system")
def test_a_file_that_makes_its_reader_wait_is_refused(copy_of: Callable[[str], Path]) -> None:
    """The kernel's messages are a regular file by their kind, of no size and without an end."""
    path = copy_of("llama")
    (path / "config.json").unlink()
    (path / "config.json").symlink_to("/proc/kmsg")
    assert_refused(path, "config.json")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no such file on this system")
def test_a_file_that_grows_is_read_to_its_bound() -> None:
    with pytest.raises(ModelError, match="more than 10 bytes"):
        read_json(Path("/proc/self/status"), most_bytes=10)  # whose size is 0 until it is read


def test_sizes_that_some_layers_lack_are_passed_over(copy_of: Callable[[str], Path]) -> None:
    path = copy_of("llama")
    change_config(path, {"text_config": {"num_hidden_layers": [None, 2], "hidden_size": [None]}})
    models, _ = load_models(EngineConfig(model=str(path), device="cpu"))
    assert models.target.shape.vocabulary


@pytest.mark.parametrize("is_whole", [True, False])
def test_an_adapter_is_no_model(copy_of: Callable[[str], Path], is_whole: bool) -> None:
    path = copy_of("llama")
    (path / "adapter_config.json").write_text('{"base_model_name_or_path": "other/model"}', encoding="utf-8")
    if not is_whole:
        (path / "config.json").unlink()
    assert_refused(path, "adapter_config.json", "merge")


@pytest.mark.parametrize(
    "changes",
    [
        {"norm_eps": math.nan},
        {"norm_eps": -1.0},
        {"norm_eps": "small"},
        {"heads": 0},
        {"heads": True},
        {"heads": 10**9},
        {"kept_ids": [True, False]},
        {"kept_ids": "all"},
        {"kept_ids": [-1, 2]},
        {"format": 99},
    ],
    ids=str,
)
def test_heads_that_cannot_be_right_are_left_out(tiny_model: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    make_heads(tmp_path / "heads", tiny_model, **changes)  # type: ignore[arg-type]
    assert_left_out(tiny_model, tmp_path / "heads", "heads.json")
