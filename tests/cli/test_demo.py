"""`tabcast demo`, on the shipped pair where there is one, and what it leaves behind."""

import json
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from decoding.protocol import ADDRESS_FILE, Address
from lsp_server.cli.demo.real_scenes import REAL_SCENES
from lsp_server.cli.demo.scenes import SCENES, Scene
from tests.cli.conftest import Run
from tests.conftest import HAS_BUNDLED

REAL_MODELS = Path(os.environ.get("TABCAST_REAL_MODELS") or "absent")


@pytest.mark.parametrize("scene", [*SCENES, *REAL_SCENES], ids=lambda scene: scene.title)
def test_each_cursor_stands_once_in_its_file(scene: Scene) -> None:
    text = scene.path.read_text(encoding="utf-8")
    assert text.count(scene.before + scene.cut) == 1
    prefix, suffix = scene.prefix_and_suffix()
    assert prefix + scene.cut + suffix == text


@pytest.mark.parametrize("scenes", [SCENES, REAL_SCENES], ids=["shipped", "real"])
def test_no_scene_shares_a_file_with_another(scenes: tuple[Scene, ...]) -> None:
    """A prompt of the same file would leave the engine a text in which the next scene's answer stands."""
    assert len({scene.file for scene in scenes}) == len(scenes)


def test_a_snapshot_is_the_document_of_its_scene() -> None:
    for scene in REAL_SCENES:
        snapshot, cursor = scene.snapshot()
        prefix, suffix = scene.prefix_and_suffix()
        assert snapshot.text == prefix + suffix
        assert sum(map(len, snapshot.lines[: cursor.line])) + cursor.column == len(prefix)
    assert [scene.language for scene in REAL_SCENES] == ["python", "typescript", "go", "rust"]


@pytest.fixture
def temporary(environment: dict[str, str], tmp_path: Path) -> Path:
    """The folder in which the demo makes its runtime directory."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    environment["TMPDIR"] = str(folder)
    return folder


@pytest.mark.skipif(not HAS_BUNDLED, reason="no bundled model in this checkout")
def test_it_suggests_and_both_ways_of_decoding_agree(tabcast: Run, temporary: Path) -> None:
    result = tabcast("demo", "--json")
    assert result.returncode == 0, result.stderr
    outcome = json.loads(result.stdout)
    assert [row["cursor"] for row in outcome["suggestions"]] == [scene.title for scene in SCENES]
    assert [row["text"] for row in outcome["suggestions"]] == [scene.cut for scene in SCENES]
    assert all(row["identical"] and row["plain"]["tokens"] > 0 for row in outcome["comparisons"])
    for row in outcome["comparisons"]:
        assert row["plain"]["tokens_per_step"] == 1
    assert sum(row["speculative"]["steps"] < row["plain"]["steps"] for row in outcome["comparisons"]) > 1
    assert list(temporary.iterdir()) == []


def test_ghost_text_is_marked_where_there_is_no_style(tabcast: Run, temporary: Path, tiny_model: Path) -> None:
    result = tabcast("demo", "--model", tiny_model, "--draft", "none", "--device", "cpu")
    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stdout
    assert "«" in result.stdout
    assert "identical" in result.stdout
    assert list(temporary.iterdir()) == []


def test_a_model_that_is_missing_is_one_line(tabcast: Run, temporary: Path) -> None:
    result = tabcast("demo", "--model", temporary / "no-model")
    assert result.returncode == 5
    assert result.stderr.count("\n") == 1
    assert list(temporary.iterdir()) == []


def test_the_demo_ends_by_naming_the_one_with_real_models(tabcast: Run, temporary: Path, tiny_model: Path) -> None:
    result = tabcast("demo", "--model", tiny_model, "--draft", "none", "--device", "cpu")
    assert "make demo-real" in result.stdout.splitlines()[-1]


def test_the_real_demo_compares_every_method(tabcast: Run, temporary: Path, tiny_model: Path) -> None:
    result = tabcast("demo", "--real", "--json", "--model", tiny_model, "--draft", tiny_model, "--device", "cpu")
    outcome = json.loads(result.stdout)
    assert [row["cursor"] for row in outcome["suggestions"]] == [scene.title for scene in REAL_SCENES]
    methods = {row["method"]: row for row in outcome["methods"]}
    assert list(methods) == ["plain", "lookup", "draft", "auto"]
    assert all(row["identical"] for row in methods.values())
    assert {row["tokens"] for row in methods.values()} == {methods["plain"]["tokens"]}
    assert (methods["plain"]["tokens_per_step"], methods["plain"]["drafters"]) == (1, {})
    assert set(methods["auto"]["drafters"]) <= {"lookup", "draft"}
    assert list(temporary.iterdir()) == []


def test_the_real_demo_fits_into_a_narrow_terminal(
    environment: dict[str, str], tabcast: Run, temporary: Path, tiny_model: Path
) -> None:
    environment["COLUMNS"] = "80"
    result = tabcast("demo", "--real", "--model", tiny_model, "--draft", "none", "--device", "cpu")
    assert "\x1b" not in result.stdout + result.stderr
    table = result.stdout[result.stdout.index("places.py, sensor.go, line.rs: ") :].splitlines()
    assert max(map(len, table)) <= 80
    assert [line.split()[0] for line in table if "yes" in line] == ["lookup", "draft", "auto"]
    assert "there is no draft model" in result.stdout


@pytest.fixture
def empty_home(environment: dict[str, str], tmp_path: Path) -> Path:
    """A home in which no program has a model; nothing can be fetched."""
    for name in ("OLLAMA_MODELS", "LLAMA_CACHE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        environment.pop(name, None)
    folder = tmp_path / "home"
    folder.mkdir()
    environment.update(HOME=str(folder), TABCAST_MODELS=str(folder / "models"), HF_HUB_OFFLINE="1")
    return folder


def test_without_models_and_network_the_real_demo_says_what_to_do(
    tabcast: Run, temporary: Path, empty_home: Path
) -> None:
    result = tabcast("demo", "--real")
    assert (result.returncode, result.stdout) == (5, "")
    fetching, place, why, advice = result.stderr.splitlines()
    assert str(empty_home) in place
    assert "qwen2.5-coder-1.5b-q4 (1.1 GB) and qwen2.5-coder-0.5b-q4 (0.5 GB)" in fetching
    assert "HF_HUB_OFFLINE is set" in why
    assert "'tabcast demo' shows the shipped ones" in advice
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(
    not all(list(REAL_MODELS.glob(f"qwen2.5-coder-{size}*.gguf")) for size in ("1.5b", "0.5b")),
    reason="TABCAST_REAL_MODELS names no folder with the demo's models",
)
def test_the_real_demo_uses_what_another_program_has(
    environment: dict[str, str], tabcast: Run, temporary: Path, empty_home: Path
) -> None:
    environment["LLAMA_CACHE"] = str(REAL_MODELS)
    result = tabcast("demo", "--real", "--json")
    assert result.returncode == 0, result.stderr
    outcome = json.loads(result.stdout)
    assert all(row["text"].strip() for row in outcome["suggestions"])
    methods = {row["method"]: row for row in outcome["methods"]}
    assert all(row["identical"] for row in methods.values())
    # How many tokens a step a drafter makes depends on the machine: on a busy one it may not pay to ask it.
    assert all(row["tokens_per_step"] >= methods["plain"]["tokens_per_step"] == 1 for row in methods.values())
    assert "as qwen2.5-coder-1.5b-q4, where it lies" in result.stderr
    assert not Path(environment["TABCAST_CONFIG"]).exists()
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_no_engine_and_no_directory(
    environment: dict[str, str], temporary: Path, tiny_model: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-P", "-m", "lsp_server", "demo", "--model", str(tiny_model), "--draft", "none"]
    # A suite that runs in the background of a shell ignores SIGINT, and so would its children.
    listening = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, preexec_fn=listening, **streams) as demo:  # noqa: PLW1509
        address = None
        while address is None and demo.poll() is None:
            found = next(temporary.rglob(ADDRESS_FILE), None)
            address = found and Address.read(found.parent)
        assert address is not None
        demo.send_signal(number)
        _, errors = demo.communicate(timeout=60)
    assert demo.returncode == 128 + number
    assert b"Traceback" not in errors
    assert list(temporary.iterdir()) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.host, address.port))
