"""GGUF files: what is written is what the folder holds, and what can't be written is told."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from decoding.__main__ import main
from decoding.errors import ModelError
from decoding.models import gguf_export

gguf = pytest.importorskip("gguf", reason="the extra `bench` is not installed")


def read(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_each_tensor_is_there(tiny_models: dict[str, Path], family: str, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    gguf_export.export(tiny_models[family], file, "f32")
    ours, theirs = load_file(tiny_models[family] / "model.safetensors"), read(file)
    assert len(ours) == len(theirs)
    assert np.array_equal(theirs["blk.1.ffn_up.weight"], ours["model.layers.1.mlp.up_proj.weight"].numpy())
    query = ours["model.layers.0.self_attn.q_proj.weight"].numpy()
    # Four heads of 8 rows: in Llama's the rows 0, 4, 1, 5, … of a head follow one another.
    order = [0, 4, 1, 5, 2, 6, 3, 7] if family == "llama" else list(range(8))
    assert np.array_equal(theirs["blk.0.attn_q.weight"][8:16], query[8:16][order])


def test_types_differ_by_their_rounding_alone(tiny_model: Path, tmp_path: Path) -> None:
    files = {kind: tmp_path / f"{kind}.gguf" for kind in gguf_export.TYPES}
    for kind, file in files.items():
        gguf_export.export(tiny_model, file, kind)
    exact = read(files["f32"])
    for kind in ("bf16", "q8_0"):
        for name, values in read(files[kind]).items():
            assert np.abs(values - exact[name]).max() <= 0.01 * np.abs(exact[name]).max(), (kind, name)
    sizes = {kind: file.stat().st_size for kind, file in files.items()}
    assert sizes["q8_0"] < sizes["bf16"] < sizes["f32"]


def test_the_tokens_are_the_tokenizers(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    gguf_export.export(tiny_model, file, "f32")
    fields = gguf.GGUFReader(file).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    vocabulary = json.loads((tiny_model / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    assert all(tokens[token_id] == text for text, token_id in vocabulary.items())
    assert fields["tokenizer.ggml.token_type"].contents()[0] == gguf.TokenType.CONTROL
    gguf_export.export(tiny_model, file, "f32", has_stops=False)
    assert gguf.GGUFReader(file).fields["tokenizer.ggml.tokens"].contents()[0] == "<token 0>"


def test_the_command(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.gguf"
    assert main(["models", "export", "--gguf", str(file), "--model", str(tiny_model), "--type", "q8_0"]) == 0
    assert file.read_bytes()[:4] == b"GGUF"
    assert main(["models", "export", "--model", str(tiny_model)]) == 2
    assert "--gguf" in capsys.readouterr().err


def test_what_cannot_be_written_is_told(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(tiny_model, folder)
    (folder / "model.safetensors").write_bytes(b"\x10")
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        gguf_export.export(folder, tmp_path / "x.gguf", "f32")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no \.safetensors"):
        gguf_export.export(folder, tmp_path / "x.gguf", "f32")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ModelError, match=r"pip install gguf"):
        gguf_export.export(tiny_model, tmp_path / "x.gguf", "f32")
