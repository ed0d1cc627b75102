"""`tabcast uninstall`, `engine list` and `engine stop --all`: what is ours goes, what is others' stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from decoding.protocol import ENGINE_LOCK_FILE, Address
from lsp_server.cli.uninstall import how_to_remove
from lsp_server.engine.engines_here import OLD_S, directories, remove_dead
from tests.cli.conftest import Run
from tests.lsp.fake_engine import Script

FAKE_ENGINE = Path(__file__).parents[1] / "lsp" / "fake_engine.py"
# A run with a home of its own has everything where a user has it.
NAMED = ("TABCAST_CONFIG", "TABCAST_DATASTORES", "TABCAST_EXPERIENCE", "TABCAST_HABITS")


@pytest.fixture
def home(environment: dict[str, str], tmp_path: Path) -> Path:
    """A home folder with everything that may be left, and a neighbour's files."""
    for name in (*NAMED, "TABCAST_MODELS", "TABCAST_ONLINE_DIR"):
        environment.pop(name, None)
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        environment.pop(name, None)
    home = tmp_path / "home"
    environment["HOME"] = str(home)
    record = {
        "name": "team/coder",
        "revision": "1",
        "complete": True,
        "files": [{"name": "coder.gguf", "bytes": 4, "digest": ""}],
    }
    model = ".local/share/tabcast/models/team/coder"
    for name, text in {
        ".config/tabcast/config.toml": "[engine]\nthreads = 1\n",
        ".cache/tabcast/kernels/abc/kernel.nbc": "code",
        ".config/tabcast/keys.json": "{}",
        ".cache/tabcast/experience.json": "{}",
        ".cache/tabcast/step-times.json": "{}",
        ".cache/tabcast/whatever/comes/next": "text",
        ".local/share/tabcast/habits.json": "{}",
        f"{model}/coder.gguf": "GGUF",
        f"{model}/coder.gguf.tabcast-int4": "rounded",
        f"{model}/tabcast-pull.json": json.dumps(record),
        ".ollama/models/blobs/sha256-1": "GGUF",
        ".cache/huggingface/hub/models--x/snapshots/1/config.json": "{}",
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    return home


def files(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}


THEIRS = {".ollama/models/blobs/sha256-1", ".cache/huggingface/hub/models--x/snapshots/1/config.json"}


@pytest.fixture
def engines(environment: dict[str, str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two engines of two configurations."""
    base = Path(environment["TABCAST_RUNTIME_DIR"])
    started = []
    for name in ("0123456789ab", "ba9876543210"):
        directory = base / name
        directory.mkdir(mode=0o700, parents=True)
        Script(status="ready").write(directory)
        started.append(subprocess.Popen([sys.executable, "-P", FAKE_ENGINE, "--runtime-dir", directory]))
        while Address.read(directory) is None:
            assert started[-1].poll() is None
            time.sleep(0.02)
    yield started
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="its folders are those of Linux")
def test_purge_removes_all_that_is_ours_and_nothing_else(tabcast: Run, home: Path) -> None:
    before = files(home)
    told = tabcast("uninstall", "--purge", "--dry-run")
    assert told.returncode == 0, told.stderr
    assert files(home) == before
    for path in before - THEIRS:
        part = "/".join(path.split("/")[:3]) if path.startswith(".cache/tabcast/") else path
        assert str(home / part) in told.stdout, path
    assert "--yes" in tabcast("uninstall", "--purge").stderr
    assert files(home) == before
    done = tabcast("uninstall", "--purge", "--yes")
    assert done.returncode == 0, done.stderr
    assert files(home) == THEIRS
    assert not (home / ".local" / "share" / "tabcast").exists()
    assert done.stdout.splitlines()[-1].startswith("The program itself: ")


@pytest.mark.skipif(sys.platform != "linux", reason="its folders are those of Linux")
def test_without_purge_what_took_time_stays(tabcast: Run, home: Path) -> None:
    done = tabcast("uninstall", "--yes")
    assert done.returncode == 0, done.stderr
    left = files(home) - THEIRS
    assert ".config/tabcast/config.toml" in left
    assert ".local/share/tabcast/models/team/coder/coder.gguf" in left
    assert not [path for path in left if ".cache" in path or "int4" in path]
    assert "'tabcast uninstall --purge' removes them" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="its folders are those of Linux")
def test_what_no_pull_has_recorded_stays(tabcast: Run, home: Path, environment: dict[str, str], tmp_path: Path) -> None:
    mine = home / ".local" / "share" / "tabcast" / "models" / "my" / "own"
    mine.mkdir(parents=True)
    (mine / "weights.gguf").write_text("GGUF")
    environment["TABCAST_DATASTORES"] = str(tmp_path)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "block.kv").write_text("of a document")
    (kept / "diary.txt").write_text("mine")
    environment["TABCAST_KEPT_CACHES"] = str(kept)
    done = tabcast("uninstall", "--purge", "--yes")
    assert (mine / "weights.gguf").exists()
    assert [path.name for path in kept.iterdir()] == ["diary.txt"]
    assert str(mine) in done.stdout
    assert tmp_path.exists()


def test_engines_of_all_configurations_are_listed_and_stopped(
    tabcast: Run, engines: list[subprocess.Popen[bytes]]
) -> None:
    listed = tabcast("engine", "list").stdout
    assert listed.count("    runs: ") == 2
    assert all(f"pid {process.pid}, of another configuration or version" in listed for process in engines)
    running = json.loads(tabcast("engine", "list", "--json").stdout)["running"]
    assert {one["pid"] for one in running} == {process.pid for process in engines}
    stopped = tabcast("engine", "stop", "--all")
    assert stopped.returncode == 0, stopped.stderr
    assert stopped.stdout.count("stopped: ") == 2
    assert [process.wait(60) is not None for process in engines] == [True, True]
    assert tabcast("engine", "stop", "--all").stdout == "no engine was running\n"
    assert json.loads(tabcast("engine", "stop", "--all", "--json").stdout) == {"stopped": 0}


def test_uninstall_stops_engines_and_removes_their_folders(
    tabcast: Run, engines: list[subprocess.Popen[bytes]], home: Path, environment: dict[str, str]
) -> None:
    base = Path(environment["TABCAST_RUNTIME_DIR"])
    assert tabcast("uninstall", "--dry-run").stdout.count("would stop an engine: ") == 2
    assert len(directories(base)) == 2
    done = tabcast("uninstall", "--yes")
    assert done.returncode == 0, done.stderr
    assert [process.wait(60) is not None for process in engines] == [True, True]
    assert directories(base) == []


def test_old_runtime_folders_go_and_young_and_foreign_ones_stay(tmp_path: Path) -> None:
    old, young, foreign = (tmp_path / name for name in ("0" * 12, "1" * 12, "2" * 12))
    for folder in (old, young, foreign):
        folder.mkdir()
    (foreign / "photo.jpg").write_text("somebody's")
    for folder in (old, young):
        (folder / ENGINE_LOCK_FILE).touch()
    long_ago = time.time() - OLD_S - 60
    for path in (old / ENGINE_LOCK_FILE, old, foreign / "photo.jpg", foreign):
        os.utime(path, (long_ago, long_ago))
    assert remove_dead(tmp_path, older_than_s=OLD_S) == [old]
    assert sorted(tmp_path.iterdir()) == [young, foreign]


@pytest.mark.parametrize(
    ("environment", "command"),
    [
        ("/home/a/.local/share/pipx/venvs/tabcast", "pipx uninstall tabcast"),
        ("/home/a/.local/share/uv/tools/tabcast", "uv tool uninstall tabcast"),
        ("/home/a/work/.venv", f"{sys.executable} -m pip uninstall tabcast"),
    ],
)
def test_the_program_is_removed_by_what_installed_it(environment: str, command: str) -> None:
    assert how_to_remove(Path(environment)) == command


def test_without_a_terminal_nothing_is_removed_unasked(tabcast: Run, home: Path) -> None:
    before = files(home)
    told = tabcast("uninstall")
    assert told.returncode == 2
    assert "--dry-run" in told.stderr
    assert files(home) == before
