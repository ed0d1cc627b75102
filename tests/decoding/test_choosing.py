"""`tabcast models use` refuses what an engine couldn't load, and config.toml stays as it is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from decoding.__main__ import main


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def config_only(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != "config.json":
            path.unlink()


def deeper(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "num_hidden_layers": config["num_hidden_layers"] + 1}), encoding="utf-8")


@pytest.mark.parametrize(
    "change", [without("model.safetensors"), without("tokenizer.json"), config_only, deeper], ids=str
)
def test_a_folder_that_is_not_whole_is_refused(
    change: Callable[[Path], None], tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    assert main(["models", "use", str(folder)]) == 0
    written = Path(os.environ["TABCAST_CONFIG"]).read_text(encoding="utf-8")
    capsys.readouterr()
    broken = Path(shutil.copytree(tiny_model, tmp_path / "broken"))
    change(broken)
    assert main(["models", "use", str(broken)]) == 5
    told = capsys.readouterr().err
    assert told.startswith("tabcast: ")
    assert str(broken) in told
    assert told.count("\n") == 1
    assert Path(os.environ["TABCAST_CONFIG"]).read_text(encoding="utf-8") == written


def test_an_address_is_told_from_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "use", "http://localhost:11434"]) == 5
    assert "'tabcast engine add NAME --url http://localhost:11434' adds it" in capsys.readouterr().err
