"""Small sources, and models that train in seconds."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from decoding.training import corpus, pretrain, samples
from decoding.training import tokenizer as training_tokenizer
from decoding.training.export import export
from decoding.training.schedule import RunLength
from tests.tiny_models import make_tokenizer

SOURCE = '''"""A module of {name}."""


def {name}(width: float, height: float) -> float:
    """The {name}."""
    {name}_total = width * height
    return {name}_total - {number}


'''
NAMES = ("area", "volume", "length", "weight", "distance", "pressure", "speed", "colour", "depth", "angle")


@pytest.fixture(autouse=True)
def _stay_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training lowers its own priority, which a test's process would keep."""
    monkeypatch.setattr(os, "nice", lambda _: 0, raising=False)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A package of ten modules, and files that a corpus leaves out."""
    return write_sources(tmp_path / "package")


def write_sources(root: Path) -> Path:
    (root / "tests").mkdir(parents=True)
    for i, name in enumerate(NAMES):
        text = "".join(SOURCE.format(name=f"{name}_{NAMES[(i * 7 + j) % 10]}", number=i * j) for j in range(12))
        (root / f"{name}.py").write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def form() -> samples.SampleFormat:
    return samples.SampleFormat.suffix_first(make_tokenizer())


@pytest.fixture
def files(sources: Path) -> list[corpus.SourceFile]:
    return list(corpus.collect(roots=[sources]))


@pytest.fixture
def small_model(form: samples.SampleFormat) -> LlamaForCausalLM:
    return new_small_model(form)


def new_small_model(form: samples.SampleFormat, *, width: int = 32, layers: int = 1) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return pretrain.new_model(form, width=width, layers=layers, ff=64, heads=4, kv_heads=2, max_len=256)


@pytest.fixture
def tokenizer_folder(tmp_path: Path) -> Path:
    training_tokenizer.save(make_tokenizer(), tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for a moment, so that it writes something."""
    folder = tmp_path_factory.mktemp("trained")
    write_sources(folder / "package")
    training_tokenizer.save(make_tokenizer(), folder / "tokenizer")
    form = samples.SampleFormat.suffix_first(make_tokenizer())
    model = new_small_model(form, layers=3)
    feed = samples.Samples(list(corpus.collect(roots=[folder / "package"])), form, row_len=128, seed=1)
    pretrain.run(model, feed, pretrain.Recipe(length=RunLength(steps=150)), folder / "target.pt")
    export(model, folder / "tokenizer", folder / "target")
    return folder / "target"


@pytest.fixture
def target(_trained: Path, tmp_path: Path) -> Path:
    """A folder of a test's own."""
    return Path(shutil.copytree(_trained, tmp_path / "target"))
