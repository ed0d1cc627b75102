"""`tabcast models provide`: what is on this machine already, in whichever program's folder, is not fetched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from decoding.__main__ import main
from decoding.cli import fetching
from decoding.errors import ModelError
from decoding.models import catalogue
from decoding.models.catalogue import CATALOGUE, KnownModel
from decoding.models.folder.summary import ModelSummary
from decoding.models.loading import memory
from decoding.storage import discovery
from decoding.storage.pulled import Pulled, write_record
from tests.gguf_models import tiny_gguf
from tests.tiny_models import make_model

NAME = CATALOGUE[0].name
Provide = Callable[[], tuple[int, list[dict[str, str]]]]


@pytest.fixture
def known(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> KnownModel:
    """The catalogue's one entry."""
    model = replace(CATALOGUE[0], num_bytes=gguf.stat().st_size, num_parameters=ModelSummary.read(gguf).num_parameters)
    monkeypatch.setattr(catalogue, "CATALOGUE", (model,))
    return model


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of llama.cpp in an empty home."""
    for name in ("OLLAMA_MODELS", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TABCAST_MODELS", str(tmp_path / "pulled"))
    monkeypatch.setattr(discovery.ollama, "SHARED", ())
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("LLAMA_CACHE", str(folder))
    return folder


@pytest.fixture
def fetched(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that are fetched, from a folder instead of the network."""
    names: list[str] = []

    def pull_file(missing: Pulled, *_arguments: object) -> Pulled:
        names.append(missing.name)
        missing.folder.mkdir(parents=True)
        shutil.copy(gguf, missing.folder / missing.files[0].name)
        pulled = replace(missing, is_complete=True)
        write_record(pulled)
        return pulled

    monkeypatch.setattr(fetching, "pull_file", pull_file)
    return names


@pytest.fixture
def provide(known: KnownModel, cache: Path, capsys: pytest.CaptureFixture[str]) -> Provide:
    def run() -> tuple[int, list[dict[str, str]]]:
        capsys.readouterr()
        code = main(["models", "provide", NAME, "--json"])
        told = capsys.readouterr().out
        return code, json.loads(told) if told else []

    return run


def test_what_is_missing_is_fetched_once(
    provide: Provide, fetched: list[str], gguf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "provide", NAME, "--json"]) == 0
    told = capsys.readouterr()
    assert f"Fetching {NAME} ({gguf.stat().st_size / 1e6:.1f} MB), once,\ninto " in told.err
    (found,) = json.loads(told.out)
    assert Path(found["path"]).read_bytes() == gguf.read_bytes()
    assert provide() == (0, [found])
    assert fetched == [NAME]


@pytest.mark.parametrize("name", ["anything.gguf", "my-Qwen2.5-Coder-0.5b.gguf"])
def test_the_same_model_of_another_program_is_used_where_it_lies(
    provide: Provide, fetched: list[str], cache: Path, gguf: Path, name: str
) -> None:
    shutil.copy(gguf, cache / name)
    code, (found,) = provide()
    assert (code, fetched) == (0, [])
    assert (found["path"], found["found_as"]) == (str(cache / name), f"llama.cpp:{name}")


def test_a_file_of_another_size_counts_only_by_its_name(
    provide: Provide, fetched: list[str], cache: Path, gguf: Path
) -> None:
    """Somebody else's file of the model has other metadata, and so another size."""
    (cache / "other.gguf").write_bytes(gguf.read_bytes() + bytes(64))
    assert provide()[1][0]["found_as"] == NAME
    assert fetched == [NAME]
    shutil.rmtree(cache.parent / "pulled")
    (cache / "other.gguf").rename(cache / "qwen2.5-coder.gguf")
    assert provide()[1][0]["found_as"] == "llama.cpp:qwen2.5-coder.gguf"
    assert fetched == [NAME]


def test_another_model_and_a_damaged_file_are_passed_over(
    provide: Provide, fetched: list[str], cache: Path, gguf: Path, tmp_path: Path
) -> None:
    tiny_gguf(cache / "qwen2.5-coder-f16.gguf", make_model(tmp_path / "llama", "llama"), general__file_type=1)
    tiny_gguf(cache / "qwen2.5-coder-7b.gguf", make_model(tmp_path / "wide", "llama", num_hidden_layers=3))
    (cache / "qwen2.5-coder-rubbish.gguf").write_bytes(b"rubbish".ljust(gguf.stat().st_size, b"!"))
    assert provide()[1][0]["found_as"] == NAME
    assert fetched == [NAME]


def test_too_little_memory_is_told_before_anything_is_fetched(
    provide: Provide, fetched: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda _device: 1000)
    assert main(["models", "provide", NAME, "--json"]) == 5
    told = capsys.readouterr()
    assert (told.out, fetched, told.err.count("\n")) == ("", [], 1)
    assert "has 1.0 kB free: nothing was fetched" in told.err


def test_a_source_that_fails_says_why(
    provide: Provide, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_arguments: object) -> None:
        raise ModelError("there is no network")

    monkeypatch.setattr(fetching, "pull_file", fail)
    assert main(["models", "provide", NAME, "--json"]) == 5
    assert capsys.readouterr().err.splitlines()[-1] == "tabcast: there is no network"
    assert main(["models", "provide", "nobody"]) == 5
    assert "nobody is no single file of the catalogue" in capsys.readouterr().err
