"""`tabcast demo`, on the shipped pair where there is one, and what it leaves behind."""

import json
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from decoding.protocol import ADDRESS_FILE, Address
from lsp_server.cli.demo.scenes import SCENES, Scene
from tests.cli.conftest import Run
from tests.conftest import HAS_BUNDLED


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.title)
def test_each_cursor_stands_once_in_its_file(scene: Scene) -> None:
    text = scene.path.read_text(encoding="utf-8")
    assert text.count(scene.before + scene.cut) == 1
    prefix, suffix = scene.prefix_and_suffix()
    assert prefix + scene.cut + suffix == text


def test_no_scene_shares_a_file_with_another() -> None:
    """A prompt of the same file would leave the engine a text in which the next scene's answer stands."""
    assert len({scene.file for scene in SCENES}) == len(SCENES)


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
