"""`tabcast models` against a stand-in for the hub: fetched, resumed, checked, chosen, shown and removed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from decoding.__main__ import main
from decoding.config import EngineConfig, load
from decoding.errors import ModelError
from decoding.models.loading.model_set import load_models
from decoding.storage.pulled import RECORD
from tests.decoding.hub_stand_in import COMMIT, NAME, StandIn, serve
from tests.tiny_models import make_model

# The hub's library reads in pieces of ten megabytes, more than all of a tiny model, and waits before it tries again.
IN_SMALL_PIECES = (
    "import sys, time; time.sleep = lambda _: None; "
    "from huggingface_hub import constants; constants.DOWNLOAD_CHUNK_SIZE = 1000; "
    "from decoding.__main__ import main; sys.exit(main(sys.argv[1:]))"
)
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[StandIn]:
    """Somebody's tiny model on the hub, beside things that are not wanted of it."""
    folder = make_model(tmp_path / "served", "llama")
    for name in ("pytorch_model.bin", "modeling_tiny.py", "consolidated.safetensors", "README.md"):
        (folder / name).write_text("not wanted")
    with serve(folder) as served:
        yield served


@pytest.fixture
def models_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's pulls go."""
    monkeypatch.setenv("TABCAST_MODELS", str(tmp_path / "pulled"))
    return tmp_path / "pulled"


@pytest.fixture
def tabcast(stand_in: StandIn, models_dir: Path) -> Run:
    """Run `python -m decoding models …` as a process, with the stand-in for a hub."""

    def run(*arguments: str, answer: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HF_ENDPOINT": stand_in.url, "HF_HUB_OFFLINE": "0", **variables}
        return subprocess.run(
            [sys.executable, "-P", "-c", IN_SMALL_PIECES, "models", *arguments],
            env=environment,
            input=answer,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_a_model_is_pulled_checked_chosen_and_removed(
    tabcast: Run, stand_in: StandIn, models_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pulled = tabcast("pull", NAME, "--json")
    assert pulled.returncode == 0, pulled.stderr
    assert json.loads(pulled.stdout)["revision"] == COMMIT
    assert re.search(r"^model\.safetensors \([\d.]+ kB of 0\.3 MB are there\)$", pulled.stderr, re.MULTILINE)
    folder = models_dir / NAME
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        RECORD,
    }
    assert load_models(EngineConfig(model=NAME, device="cpu"))[0].name == NAME

    assert main(["models", "use", NAME, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["draft"] == "none"
    assert load({}).model_path == folder
    assert main(["models", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["path"] for row in rows if row["selected"]] == [str(folder)]
    assert {"Qwen/Qwen2.5-Coder-1.5B", "Qwen/Qwen2.5-Coder-32B"} <= {row["name"] for row in rows}
    assert main(["models", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["name"], shown["computed_by"], shown["order"]) == (NAME, "our own forward pass", "prefix first")

    (folder / "notes.txt").write_text("the user's own")
    assert "nothing was removed" in tabcast("remove", NAME, answer="n\n").stderr
    assert (folder / "model.safetensors").exists()
    assert tabcast("remove", NAME, answer="y\n").returncode == 0
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert main(["models", "remove", NAME, "--yes"]) == 5
    assert main(["models", "use", "bundled"]) == 0


def test_a_pull_goes_on_where_it_was_cut_off(tabcast: Run, stand_in: StandIn, models_dir: Path) -> None:
    stand_in.cut_at = 20_000
    cut = tabcast("pull", NAME)
    assert cut.returncode == 5
    assert cut.stderr.splitlines()[-1].startswith(f"tabcast: {NAME}: the hub failed")
    with pytest.raises(ModelError, match=f"was cut off: 'tabcast models pull {NAME}' goes on"):
        load_models(EngineConfig(model=NAME, device="cpu"))
    stand_in.cut_at = None
    stand_in.fetched.clear()
    stand_in.ranges.clear()
    assert tabcast("pull", NAME).returncode == 0
    # What was whole is not fetched again, and of what was not only the rest.
    assert sorted(stand_in.fetched) == ["model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert int(stand_in.ranges[0].removeprefix("bytes=").rstrip("-")) == 20_000
    stand_in.fetched.clear()
    (models_dir / NAME / "config.json").write_text("{}")
    assert tabcast("pull", NAME).returncode == 0
    assert stand_in.fetched == ["config.json"]


def test_what_arrives_damaged_is_not_kept(tabcast: Run, stand_in: StandIn, models_dir: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        stand_in.damaged = {name}
        result = tabcast("pull", NAME)
        assert result.returncode == 5
        assert f"{name} arrived damaged" in result.stderr.splitlines()[-1]
        assert not (models_dir / NAME / name).exists()
    stand_in.damaged = set()
    assert tabcast("pull", NAME).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (["pull", "nobody/nothing"], {}, "nobody/nothing is not on the hub, or not for you"),
        (["pull", NAME], {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set, and so nothing is fetched"),
        (["pull", "../../etc"], {}, "no name of a model on the hub"),
        (["pull", NAME], {"HF_ENDPOINT": "http://127.0.0.1:9"}, "the hub failed"),
        (["use", "nobody/nothing"], {}, "'tabcast models pull nobody/nothing' fetches it"),
        (["remove", "bundled", "--yes"], {}, "bundled was not pulled"),
    ],
)
def test_what_can_not_be_done_is_told_in_one_line(
    tabcast: Run, arguments: list[str], variables: dict[str, str], message: str
) -> None:
    result = tabcast(*arguments, **variables)
    assert (result.returncode, result.stdout) == (5, "")
    (line,) = result.stderr.splitlines()
    assert message in line


def test_pickles_alone_are_not_pulled(tabcast: Run, stand_in: StandIn, models_dir: Path) -> None:
    for name in list(stand_in.large):
        del stand_in.files[name]
    result = tabcast("pull", NAME)
    assert "has no weights in safetensors" in result.stderr
    assert not models_dir.exists()


def test_a_folder_of_the_working_directory_does_not_stand_in_for_a_pulled_model(
    tiny_model: Path, models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = tmp_path / "workspace"
    (workspace / "somebody").mkdir(parents=True)
    (workspace / NAME).symlink_to(tiny_model)
    monkeypatch.chdir(workspace)
    with pytest.raises(ModelError, match=r"was not pulled.*\./somebody/tiny would name a folder"):
        load_models(EngineConfig(model=NAME, device="cpu"))
    assert load_models(EngineConfig(model=f"./{NAME}", device="cpu"))[0].target.shape.max_len > 0
