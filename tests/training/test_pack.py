"""Weights stored in int8: back within their rounding, loaded by the engine and by the trainer as they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from decoding.__main__ import main
from decoding.config import EngineConfig
from decoding.errors import ModelError, TabcastError
from decoding.models.folder.model_config import decoder_sizes, read_config
from decoding.models.folder.safetensors_headers import read_headers
from decoding.models.folder.tokenizer_files import load_tokenizer
from decoding.models.loading.model_set import load_models
from decoding.models.weights.tensors import Tensors
from decoding.models.weights.weight_schema import decoder_schema
from decoding.training import pack
from decoding.training.draft import load_model
from decoding.training.samples import SampleFormat
from tests.decoding.conftest import ScriptedDrafter, decode
from tests.tiny_models import make_model
from tests.training.conftest import new_small_model


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A packed model in several files; the whole one lies beside it."""
    monkeypatch.setattr(pack, "MAX_FILE_BYTES", 20_000)
    family = getattr(request, "param", "llama")
    whole = make_model(tmp_path / "whole", family, layers=2)
    pack.pack(load_model(whole, "cpu"), whole, tmp_path / "packed")
    assert len(list((tmp_path / "packed").glob(pack.PATTERN))) > 1
    return tmp_path / "packed"


def test_rounding_is_within_half_a_step_of_each_row(form: SampleFormat) -> None:
    weights = new_small_model(form).state_dict()
    back = pack.restore(pack.quantize(weights, is_tied=False))
    for name, tensor in weights.items():
        step = tensor.abs().amax(dim=-1, keepdim=True) / 127 if tensor.ndim == 2 else torch.zeros(1)
        assert bool(((back[name] - tensor).abs() <= 0.5001 * step).all()), name


@pytest.mark.parametrize("packed", ["llama", "qwen2", "qwen3", "mistral"], indirect=True)
def test_the_engine_writes_what_the_rounded_model_writes(packed: Path, tmp_path: Path) -> None:
    pack.unpack(packed, tmp_path / "unpacked")
    texts = []
    for folder in (packed, tmp_path / "unpacked"):
        models, _ = load_models(EngineConfig(model=str(folder), draft="none", device="cpu", dtype="bfloat16"))
        texts.append(decode(models, list(range(20, 60)), ScriptedDrafter(lambda _ids, _budget: []), 24))
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > 2


def test_a_packed_draft_drafts_for_a_packed_target(packed: Path, tmp_path: Path) -> None:
    small = make_model(tmp_path / "small", "llama", layers=1, seed=1)
    pack.pack(load_model(small, "cpu"), small, tmp_path / "draft")
    models, _ = load_models(EngineConfig(model=str(packed), draft=str(tmp_path / "draft"), device="cpu"))
    assert models.draft is not None
    assert not models.notices


def test_the_trainer_reads_it_too(packed: Path) -> None:
    model = load_model(packed, "cpu")
    with torch.no_grad():
        logits = model(torch.arange(8, 24)[None]).logits
    schema = decoder_schema(decoder_sizes(read_config(packed), packed))
    tensors = Tensors(packed, read_headers(packed), schema, torch.device("cpu"), torch.float32)
    assert torch.equal(model.model.embed_tokens.weight, tensors.take("model.embed_tokens.weight"))
    assert bool(logits.isfinite().all())


def test_the_commands_pack_and_unpack(packed: Path, tmp_path: Path) -> None:
    assert main(["train", "unpack", "--model", str(packed), "--out", str(tmp_path / "model")]) == 0
    assert main(["train", "pack", "--model", str(tmp_path / "model"), "--out", str(tmp_path / "again")]) == 0
    assert load_tokenizer(tmp_path / "again").get_vocab() == load_tokenizer(packed).get_vocab()


def _lose_factors(folder: Path) -> None:
    for path in folder.glob(pack.PATTERN):
        tensors = {name: tensor for name, tensor in load_file(path).items() if not name.endswith(pack.FACTORS)}
        save_file(tensors, path)


def _cut_factors(folder: Path) -> None:
    for path in folder.glob(pack.PATTERN):
        cut = {name: t[:-1].clone() if name.endswith(pack.FACTORS) else t for name, t in load_file(path).items()}
        save_file(cut, path)


def _spoil_factors(folder: Path) -> None:
    for path in folder.glob(pack.PATTERN):
        spoilt = {name: t * torch.nan if name.endswith(pack.FACTORS) else t for name, t in load_file(path).items()}
        save_file(spoilt, path)


def _lengthen(folder: Path) -> None:
    for path in folder.glob(pack.PATTERN):
        tensors = load_file(path)
        longer = {name: torch.cat([t, t]) for name, t in tensors.items() if "o_proj" in name}
        save_file({**tensors, **longer}, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: next(folder.glob(pack.PATTERN)).unlink(), "is missing"),
        (_lose_factors, r"\.factors is missing"),
        (_cut_factors, "not those of its rows"),
        (_spoil_factors, "not finite"),
        (_lengthen, "o_proj"),
        (lambda folder: next(folder.glob(pack.PATTERN)).write_bytes(b"x"), "not a safetensors file"),
        (lambda folder: [path.unlink() for path in folder.glob(pack.PATTERN)], "no .safetensors file"),
    ],
)
def test_a_folder_that_is_not_whole_is_one_line(packed: Path, damage: object, message: str) -> None:
    damage(packed)  # type: ignore[operator]
    with pytest.raises(ModelError, match=message) as caught:
        load_models(EngineConfig(model=str(packed), draft="none", device="cpu"))
    assert "\n" not in str(caught.value)
    with pytest.raises(TabcastError, match=message.replace("no .safetensors file", "no packed model")):
        pack.load(packed)


def test_the_trainer_says_what_is_damaged(packed: Path, tmp_path: Path) -> None:
    shutil.copytree(packed, tmp_path / "cut")
    next((tmp_path / "cut").glob(pack.PATTERN)).write_bytes(b"x")
    with pytest.raises(TabcastError, match="not a safetensors file"):
        pack.unpack(tmp_path / "cut", tmp_path / "model")
    next(packed.glob(pack.PATTERN)).unlink()
    with pytest.raises(TabcastError, match="is missing"):
        pack.unpack(packed, tmp_path / "model")
    assert not (tmp_path / "model").exists()
