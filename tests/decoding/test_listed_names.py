"""Names of `tabcast models` stand for files wherever a model is named; a better model than that in use is told."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from decoding.__main__ import main
from decoding.cli import inspect_models
from decoding.cli.list_models import list_models
from decoding.config import EngineConfig, load
from decoding.errors import ModelError
from decoding.models.catalogue import CATALOGUE
from decoding.models.folder.model_folder import ModelFolder
from decoding.models.folder.summary import ModelSummary
from decoding.models.listed import resolved
from decoding.models.loading import better
from decoding.models.loading.model_set import load_models
from decoding.protocol import CATALOGUE_FILES, PROGRAMS, is_model_name
from decoding.service import worker
from decoding.service.jobs import EngineState, Mailbox
from decoding.storage import discovery
from tests.decoding.other_programs import add_to_ollama
from tests.gguf_files import Gguf


def test_a_listed_name_is_taken_wherever_a_model_is_named(
    home: Path, gguf_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = home / ".ollama" / "models" / "manifests"
    blob = add_to_ollama(store.parent, "registry.ollama.ai/library/tiny:latest", gguf_file.read_bytes())
    file = home / ".lmstudio/models/owner/repository/tiny.gguf"
    file.parent.mkdir(parents=True)
    shutil.copy(gguf_file, file)
    assert resolved(load({"model": "ollama:tiny"})).model_path == blob
    monkeypatch.setenv("TABCAST_DRAFT", "lmstudio:owner/repository/tiny.gguf")
    Path(os.environ["TABCAST_CONFIG"]).write_text('[engine]\nmodel = "ollama:tiny:latest"\n', encoding="utf-8")
    config = resolved(load({}))
    assert (config.model_path, config.draft_path) == (blob, file)
    models, _ = load_models(load({"device": "cpu"}))
    assert models.draft is not None
    Path(os.environ["TABCAST_CONFIG"]).unlink()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("hf:someone/writer", "hf:someone/writer was not found .*: 'tabcast models' lists what there is"),
        ("ollama:tiny:1.5b", "'tabcast models' lists ollama:tiny:1b"),
        ("qwen2.5-coder-0.5b-q4", "'tabcast models pull qwen2.5-coder-0.5b-q4' fetches it"),
        ("qwen2.5-coder-2b-q4", "'tabcast models' lists qwen2.5-coder"),
        ("Qwen/Qwen2.5-Coder-15B", "'tabcast models' lists Qwen/Qwen2.5-Coder-1.5B"),
        ("/models/qwen2.5-coder-1.5-q4", "there is no model at .*: 'tabcast models' lists qwen2.5-coder-1.5b-q4"),
    ],
)
def test_a_name_that_stands_for_nothing_gets_the_nearest_ones(
    home: Path, gguf_file: Path, name: str, told: str
) -> None:
    add_to_ollama(home / ".ollama" / "models", "registry.ollama.ai/library/tiny:1b", gguf_file.read_bytes())
    with pytest.raises(ModelError, match=told) as caught:
        load_models(EngineConfig(model=name, device="cpu"))
    assert "\n" not in str(caught.value)


def test_an_absent_path_gets_the_nearest_names_at_its_place(home: Path, gguf_file: Path, tmp_path: Path) -> None:
    for name in ("tiny-Q4_K_M.gguf", "tiny-Q8_0.gguf", "else.gguf", "tiny-Q4_K_S.txt"):
        (tmp_path / name).touch()
    shutil.copytree(gguf_file.parent / "llama", tmp_path / "tiny-whole")
    for name, told in (
        ("tiny-q4_k_s.gguf", f"{tmp_path} holds tiny-Q4_K_M.gguf and tiny-Q8_0.gguf"),
        ("tiny-hole", f"{tmp_path} holds tiny-whole"),
        ("qwen2.5-coder-1.5b.gguf", "'tabcast models' lists qwen2.5-coder-1.5b-q4"),
        ("nothing-like-it.gguf", "'tabcast models' lists what there is"),
        ("absent/tiny-Q8_0.gguf", "'tabcast models' lists what there is"),
    ):
        path = tmp_path / name
        for read in (ModelFolder.read, ModelSummary.read):
            with pytest.raises(ModelError) as caught:
                read(path)
            assert str(caught.value).startswith(f"there is no model at {path}: {told}")


def test_a_listed_name_is_never_a_path_of_the_working_directory(
    home: Path, gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = tmp_path / "workspace"
    for name in ("ollama:tiny:1b", *CATALOGUE_FILES):
        shutil.copytree(gguf_file.parent / "llama", workspace / name)
        monkeypatch.chdir(workspace)
        with pytest.raises(ModelError, match="was not"):
            load_models(EngineConfig(model=name, device="cpu"))


def test_both_sides_know_the_same_names() -> None:
    assert tuple(kind.PREFIX for kind in discovery.KINDS) == PROGRAMS
    assert tuple(model.name for model in CATALOGUE if model.file) == CATALOGUE_FILES
    assert all(is_model_name(model.name) for model in CATALOGUE)


LIBRARY = "registry.ollama.ai/library"


def of_size(architecture: str, size: int) -> bytes:
    """The beginning of a GGUF file, in a blob of its own."""
    return Gguf(metadata={"general.architecture": architecture, "general.file_type": size}).written()


@pytest.fixture
def store(home: Path, gguf_file: Path) -> Path:
    """A store with code models, chat models and some that don't work here."""
    folder = home / ".ollama" / "models"
    add_to_ollama(folder, f"{LIBRARY}/qwen2.5-coder:0.5b", of_size("qwen2", 1))
    add_to_ollama(folder, f"{LIBRARY}/qwen2.5-coder:1.5b", gguf_file.read_bytes())
    add_to_ollama(folder, f"{LIBRARY}/qwen2.5-coder:3b", of_size("unheard", 2))
    add_to_ollama(folder, f"{LIBRARY}/qwen2.5-coder:14b", None)
    add_to_ollama(folder, f"{LIBRARY}/deepseek-coder-v2:16b", of_size("deepseek2", 3))
    add_to_ollama(folder, f"{LIBRARY}/llama3.2:3b", of_size("llama", 4))
    return folder


def test_a_better_model_is_told_by_doctor_list_and_the_engine(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = "tabcast models use ollama:qwen2.5-coder:1.5b"
    rows = {row["name"]: row for row in inspect_models.doctor(EngineConfig(device="cpu"))}
    assert command in rows["better model"]["advice"]
    assert rows["better model"]["ok"]
    assert main(["models", "--json"]) == 0
    assert [row["better"] for row in json.loads(capsys.readouterr().out) if row["better"]] == [command]
    assert main(["models"]) == 0
    assert f"'{command}' chooses it" in capsys.readouterr().err
    state, mailbox = EngineState(), Mailbox()
    mailbox.put(None)
    worker.run(EngineConfig(device="cpu"), mailbox, state)
    assert (state.health.status, state.health.weights) == ("ready", "the shipped pair")
    assert state.health.better.startswith(f"a better model is on this machine: '{command}' chooses it")


def test_no_model_is_better_than_one_of_its_size_or_one_that_does_not_fit(store: Path) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    (blob,) = (model.path for model in better.at_other_programs() if model.name == "ollama:qwen2.5-coder:1.5b")

    def found(num_weights: float, in_use: Path = store, free: int | None = None, device: torch.device = cpu) -> str:
        model = better.better_model(in_use, int(num_weights), device, free)
        return "" if model is None else model.name

    assert found(0) == found(0.63e9) == "ollama:qwen2.5-coder:1.5b"
    assert found(1.2e9) == found(7e9) == ""
    assert found(0, in_use=blob) == "ollama:qwen2.5-coder:0.5b"
    assert found(0, free=blob.stat().st_size) == "ollama:qwen2.5-coder:0.5b"
    assert found(0, free=10) == ""
    large = store / "manifests" / LIBRARY / "qwen2.5-coder" / "7b"
    shutil.copy(large.with_name("1.5b"), large)
    with blob.open("r+b") as opened:
        opened.truncate(4_000_000_000)
    assert found(0) == "ollama:qwen2.5-coder:0.5b"
    assert found(0, device=cuda) == "ollama:qwen2.5-coder:7b"


def test_weights_that_come_in_numbers_count_as_they_are_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU a model of the hub is rounded, and one of 3.1 GB needs less than one."""
    whole = better.BetterModel(name="Qwen/Qwen2.5-Coder-1.5B", path=tmp_path, num_bytes=3_087_467_144)
    monkeypatch.setattr(better, "_at_hand", lambda: iter([whole]))
    used, cpu, cuda = tmp_path / "used", torch.device("cpu"), torch.device("cuda")
    assert better.better_model(used, 0, cpu, 2 * 10**9) == whole
    assert better.better_model(used, 0, cpu, 10**9) is None
    assert better.better_model(used, 0, cuda, 2 * 10**9) is None
    rows = {row["name"]: row for row in list_models(EngineConfig(device="cpu"))}
    rounded = rows["Qwen/Qwen2.5-Coder-1.5B"]["needs_gib_2k"]
    rows = {row["name"]: row for row in list_models(EngineConfig(device="cpu", quantize="none"))}
    assert 2 * rounded < rows["Qwen/Qwen2.5-Coder-1.5B"]["needs_gib_2k"]


def test_it_is_found_without_reading_a_model(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search comes before an engine is ready, so that it must not take the third of a second of a whole header."""

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("decoding.models.gguf.reader.read_header", refuse)
    monkeypatch.setattr("decoding.models.gguf.reader._Reader._texts", refuse)
    assert better.better_model(store, 0, torch.device("cpu"), None) is not None
