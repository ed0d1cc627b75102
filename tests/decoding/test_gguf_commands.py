"""The command line takes GGUF files where it takes folders, and says what they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from decoding.__main__ import main
from decoding.config import EngineConfig
from decoding.errors import TabcastError
from decoding.storage.adaptation import AdaptationFolder
from tests.gguf_files import Gguf, floats
from tests.gguf_models import settings_of, tensors_of, tiny_gguf


@pytest.fixture
def file(tiny_model: Path, tmp_path: Path) -> Path:
    return tiny_gguf(tmp_path / "tiny.gguf", tiny_model, general__file_type=15)


def shown(capsys: pytest.CaptureFixture[str], *command: str) -> dict[str, object]:
    main(["models", *command, "--json"])
    value: dict[str, object] = json.loads(capsys.readouterr().out)
    return value


def test_show_says_what_a_file_is(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = shown(capsys, "show", str(file))
    assert row["architecture"] == "llama"
    assert row["weights"] == "Q4_K_M (F32 100 %)"
    assert row["computed_by"] == "our own forward pass"
    assert row["middle"] == "<|fim_prefix|> <|fim_suffix|> <|fim_middle|>"
    assert row["ok"]


def test_show_says_of_a_file_that_nothing_computes_why(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    yarn = {"llama__rope__scaling__type": "yarn", "llama__rope__scaling__factor": 4.0}
    row = shown(capsys, "show", str(tiny_gguf(tmp_path / "x.gguf", tiny_model, **yarn)))
    assert "rotary scaling yarn" in str(row["computed_by"])
    assert not row["ok"]


def test_use_writes_the_whole_path_and_list_shows_it(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent.parent)
    name = f"{file.parent.name}/{file.name}"  # looks like owner/model
    assert main(["models", "use", name]) == 0
    capsys.readouterr()
    main(["models", "list", "--json"])
    rows = [row for row in json.loads(capsys.readouterr().out) if row["selected"]]
    (row,) = rows
    assert (row["name"], row["megabytes"]) == (str(file), round(file.stat().st_size / 1e6, 1))
    assert str(row["note"]).startswith("llama, Q4_K_M; needs ")


def test_a_broken_file_is_told_in_a_line_and_not_used(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_bytes(file.read_bytes()[:-500])
    for action in ("show", "use"):
        assert main(["models", action, str(file)]) != 0
        told = capsys.readouterr().err.strip()
        assert "is cut short" in told
        assert "\n" not in told


def test_a_file_is_not_exported_again(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gguf", reason="the extra `bench` is not installed")
    assert main(["models", "export", "--model", str(file), "--gguf", str(tmp_path / "y.gguf")]) != 0
    assert "is a GGUF file already" in capsys.readouterr().err


def test_another_file_of_the_same_name_has_another_home(tiny_model: Path, file: Path) -> None:
    """What a draft has learnt for a file isn't used for the one that took its place."""
    before = AdaptationFolder.of(file, tiny_model)
    changed = {**tensors_of(tiny_model), "rope_freqs.weight": floats(np.ones(4))}
    Gguf(metadata=settings_of(tiny_model), tensors=changed).write(file)
    assert AdaptationFolder.of(file, tiny_model) != before


def test_nothing_is_looked_for_beside_a_file(file: Path) -> None:
    config = EngineConfig(model=str(file))
    assert config.model_path == file
    assert (config.draft_path, config.parallel_path, config.heads_path) == (None, None, None)


def test_what_transformers_would_have_to_load_is_refused_in_a_line(file: Path) -> None:
    from decoding.bench.harness import baselines
    from decoding.training.draft import load_model

    with pytest.raises(TabcastError, match="GGUF files can't be trained"):
        load_model(file, "cpu")
    with pytest.raises(TabcastError, match="this is a GGUF file"):
        baselines.load(file, None, torch.device("cpu"), torch.float32)
