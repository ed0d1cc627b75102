"""`tabcast setup` as a user runs it: in a terminal and without one, interrupted, again, and undone.

The catalogue has one tiny model, which a stand-in for the hub serves; how fast the machine is, is made up.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from decoding.cli.setup.alone import LOCK_FILE
from decoding.config import load
from decoding.models.catalogue import CATALOGUE
from decoding.storage.setup_record import record_path
from tests.decoding.hub_stand_in import StandIn

NAME = CATALOGUE[0].name
NOWHERE = "http://127.0.0.1:9"
PATIENCE_S = 120
FRONT_END = f"--front-end={sys.executable} -P -m lsp_server"
# PAUSE_AT makes it wait in the middle of a file, or when the configuration is written, until it is interrupted.
PROGRAM = """
import os, sys, time
from dataclasses import replace
from pathlib import Path
from huggingface_hub import constants
from decoding.cli.setup import candidates, check, looking
from decoding.cli.setup.speed import Speed
from decoding.models import catalogue
from decoding.storage import hub, pulled
constants.DOWNLOAD_CHUNK_SIZE = 1000
name, size, digest, pieces = os.environ["PINNED"].split()
catalogue.PIECES = Path(pieces)
catalogue.CATALOGUE = candidates.CATALOGUE = (
    replace(
        catalogue.CATALOGUE[0], repository="somebody/tiny", file=name, num_bytes=int(size), sha256=digest,
        num_parameters=1000, num_looked_up=0, looked_up_bytes=0,
    ),
)
looking.measure = lambda config, in_blocks: Speed(bytes_per_second=float(os.environ["SPEED"]), products_per_second=1e12)

def pause():
    Path(os.environ["PAUSED"]).touch()
    time.sleep(600)

def write(self, piece):
    num_bytes = self._file.write(piece)
    self._tell(self._file.tell())
    if self._file.tell() >= int(at):
        self._file.flush()
        pause()
    return num_bytes

at = os.environ.get("PAUSE_AT", "")
if at == "check":
    check.complete_a_line = lambda front_end: pause()
elif at:
    hub._Counted.write = write
if os.environ.get("FREE"):
    free = int(os.environ["FREE"])
    pulled.shutil.disk_usage = lambda _: pulled.shutil._ntuple_diskusage(10**9, 10**9 - free, free)
from decoding.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


class Setup:
    """Runs the command in an empty home."""

    def __init__(self, folder: Path, gguf: Path, hub: StandIn) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self.models = self.home / "pulled"
        self.config = self.home / "config.toml"
        self.paused = folder / "paused"
        nothing = folder / "none.txt"
        nothing.touch()
        content = gguf.read_bytes()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "OLLAMA", "LLAMA_"))},
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")),
            "TABCAST_CONFIG": str(self.config),
            "TABCAST_MODELS": str(self.models),
            "PINNED": f"{gguf.name} {len(content)} {hashlib.sha256(content).hexdigest()} {nothing}",
            "SPEED": "1e12",
            "HF_ENDPOINT": hub.url,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_CACHE": str(folder / "no hub"),
            "PAUSED": str(self.paused),
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-c", PROGRAM, "setup", FRONT_END, *arguments]

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end, without a terminal."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def events(self, *arguments: str, **variables: str) -> list[dict[str, Any]]:
        """Run it for a program, and return what it tells."""
        return [json.loads(line) for line in self.run("--json", *arguments, **variables).stdout.splitlines()]

    def interrupted(
        self, at: str, number: signal.Signals, meanwhile: Callable[[], None] | None = None
    ) -> tuple[int, str]:
        """Run it to a pause, send a signal there, and return the exit code and what it said."""
        self.paused.unlink(missing_ok=True)
        with subprocess.Popen(
            self.command("--yes"),
            env=self.environment | {"PAUSE_AT": at},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # As a shell does with what it starts in the background.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509
        ) as process:
            self.until_paused(process)
            if meanwhile is not None:
                meanwhile()
            process.send_signal(number)
            told = process.communicate(timeout=PATIENCE_S)[1]
        return process.returncode, told

    def until_paused(self, process: subprocess.Popen[str]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not self.paused.exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < end
            time.sleep(0.02)

    def in_a_terminal(self, *arguments: str, answer: bytes) -> tuple[int, str]:
        """Run it in a terminal and answer its question; return the exit code and all that was on the screen."""
        import pty

        ours, theirs = pty.openpty()
        with subprocess.Popen(
            self.command(*arguments), env=self.environment, stdin=theirs, stdout=theirs, stderr=theirs
        ) as process:
            os.close(theirs)
            screen = b""
            while b"[Y/n] " not in screen:
                screen += os.read(ours, 4096)
            if answer == b"^C":
                process.send_signal(signal.SIGINT)
            else:
                os.write(ours, answer)
            while True:
                try:
                    piece = os.read(ours, 4096)
                except OSError:  # the other side is closed
                    break
                if not piece:
                    break
                screen += piece
        os.close(ours)
        return process.returncode, screen.decode().replace("\r\n", "\n")

    def files(self) -> set[str]:
        return {path.name for path in self.models.rglob("*") if path.is_file()} - {LOCK_FILE}


@pytest.fixture
def setup(tmp_path: Path, gguf: Path, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> Setup:
    made = Setup(tmp_path, gguf, stand_in)
    monkeypatch.setenv("TABCAST_CONFIG", str(made.config))
    monkeypatch.setenv("TABCAST_MODELS", str(made.models))
    return made


def test_without_a_terminal_it_only_recommends(setup: Setup, stand_in: StandIn) -> None:
    result = setup.run()
    assert result.returncode == 1
    assert "'tabcast setup --yes'" in result.stderr.splitlines()[-1]
    lines = dict(line.split(":", 1) for line in result.stdout.splitlines())
    assert set(lines) == {"This machine", "Recommended", "Why", "Speed", "Memory", "To fetch"}
    assert NAME in lines["Recommended"]
    assert setup.run("--dry-run").returncode == 0
    assert stand_in.fetched == []
    assert not setup.config.exists()
    assert setup.files() == set()


def test_yes_fetches_writes_completes_and_can_be_run_again_and_undone(setup: Setup, stand_in: StandIn) -> None:
    setup.config.write_text("# mine\n[engine]\nthreads = 1\n")
    events = setup.events("--yes")
    machine, recommendation, done = events[0], next(e for e in events if e["event"] == "recommendation"), events[-1]
    assert (machine["event"], machine["device"], done["event"]) == ("machine", "cpu", "done")
    assert (recommendation["name"], recommendation["source"], recommendation["draft"]) == (NAME, "pull", "none")
    assert recommendation["tokens_per_second"] > 0
    stages = list(dict.fromkeys(event["stage"] for event in events if event["event"] == "progress"))
    assert stages == ["measure", "fetch", "write", "check"]
    assert (done["model"], done["config"]) == (NAME, str(setup.config))
    (file,) = setup.models.rglob("*.gguf")
    assert load({}).model_path == file
    assert "threads = 1" in setup.config.read_text()

    written = setup.config.read_text()
    again = setup.events("--yes")
    assert next(e for e in again if e["event"] == "recommendation")["source"] == "in use"
    assert (again[-1]["event"], again[-1]["changed"], done["changed"]) == ("done", False, True)
    assert setup.config.read_text() == written
    assert len(stand_in.fetched) == 1

    assert setup.events("--yes", "--model", "bundled")[-1]["model"] == "bundled"
    assert load({}).model == "bundled"
    undone = setup.events("--undo")
    assert undone[-1]["undone"] is True
    assert setup.config.read_text() == "# mine\n[engine]\nthreads = 1\n"
    result = setup.run("--undo")
    assert result.returncode == 2
    assert "nothing is undone" in result.stderr
    assert not record_path(setup.config).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="terminals")
def test_in_a_terminal_it_asks(setup: Setup, stand_in: StandIn) -> None:
    code, screen = setup.in_a_terminal(answer=b"n\n")
    assert code == 1
    assert "Fetch " in screen
    assert "nothing was changed" in screen
    code, screen = setup.in_a_terminal(answer=b"^C")
    assert code == 130
    assert screen.rstrip().splitlines()[-1].startswith("tabcast: interrupted")
    assert (stand_in.fetched, setup.config.exists()) == ([], False)
    code, screen = setup.in_a_terminal(answer=b"y\n")
    assert code == 0, screen
    assert "It completes" in screen or "It answers" in screen
    for told in ("Written:", "--undo", "Neovim:", "VS Code:"):
        assert told in screen
    assert setup.config.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_fetch_that_was_interrupted_goes_on(setup: Setup, stand_in: StandIn, number: signal.Signals) -> None:
    code, told = setup.interrupted("20000", number)
    assert code == 130
    assert [line for line in told.splitlines() if "interrupted" in line] == told.splitlines()[-1:]
    assert "Traceback" not in told
    assert not setup.config.exists()
    stand_in.ranges.clear()
    assert setup.run("--yes").returncode == 0
    assert stand_in.ranges[0] == "bytes=20000-"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupted_check_leaves_the_configuration_as_it_was(setup: Setup) -> None:
    setup.config.write_text("[engine]\nthreads = 1\n")

    def another() -> None:
        events = setup.events("--yes")
        assert "another 'tabcast setup'" in events[-1]["message"]

    code, _ = setup.interrupted("check", signal.SIGINT, another)
    assert code == 130
    assert setup.config.read_text() == "[engine]\nthreads = 1\n"
    assert not record_path(setup.config).exists()
    setup.interrupted("check", signal.SIGKILL)  # without a chance to put anything back
    assert load({}).model_path.is_file()
    assert setup.run("--undo").returncode == 0
    assert setup.config.read_text() == "[engine]\nthreads = 1\n"


def test_a_model_that_does_not_load_changes_nothing(setup: Setup, gguf: Path) -> None:
    broken = setup.home / "code.gguf"
    content = gguf.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    result = setup.run("--yes", "--model", str(broken))
    assert result.returncode == 5
    assert result.stderr.count("\n") == 1
    assert not setup.config.exists()


def test_a_model_of_another_program_is_used_where_it_lies(setup: Setup, gguf: Path, stand_in: StandIn) -> None:
    file = setup.home / ".lmstudio" / "models" / "somebody" / "coder-GGUF" / "tiny-coder.gguf"
    file.parent.mkdir(parents=True)
    shutil.copy(gguf, file)
    done = setup.events("--yes")[-1]
    assert done["model"] == "lmstudio:somebody/coder-GGUF/tiny-coder.gguf"
    assert load({}).model_path == file
    assert (stand_in.fetched, setup.files()) == ([], set())


def test_what_stands_in_the_way_is_said_before_anything_is_fetched(setup: Setup, stand_in: StandIn) -> None:
    for variables, told in (
        ({"TABCAST_MODEL": "bundled"}, "unset it"),
        ({"FREE": "1000000"}, "has 1.0 MB free"),
    ):
        result = setup.run("--yes", **variables)
        assert result.returncode != 0
        assert told in result.stderr.splitlines()[-1]
    setup.config.write_text("engine = { threads = 1 }\n")
    result = setup.run("--yes")
    assert result.returncode == 2
    assert "unusual form" in result.stderr
    assert setup.config.read_text() == "engine = { threads = 1 }\n"
    assert stand_in.fetched == []


@pytest.mark.skipif(sys.platform == "win32", reason="pipes")
def test_a_reader_that_goes_away_gets_no_complaint(setup: Setup) -> None:
    with subprocess.Popen(
        setup.command("--dry-run", "--json"),
        env=setup.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_a_broken_configuration_can_be_undone(setup: Setup) -> None:
    setup.config.write_text("[engine]\nthreads = 1\n")
    assert setup.run("--yes").returncode == 0
    text = setup.config.read_text()
    setup.config.write_text(text + "[engine\n")
    events = setup.events("--yes")
    assert [event["event"] for event in events] == ["error"]
    assert str(setup.config) in events[0]["message"]
    assert str(setup.config) in setup.events("--undo")[-1]["message"]
    assert setup.config.read_text() == text + "[engine\n"
    setup.config.write_text(text)
    assert setup.run("--undo").returncode == 0
    assert setup.config.read_text() == "[engine]\nthreads = 1\n"


def test_a_name_that_nobody_knows_is_refused_before_anything(setup: Setup, stand_in: StandIn) -> None:
    for name, told in (
        ("./nowhere.gguf", "no folder and no GGUF file"),
        ("ollama:never:1", "was not found on this machine"),
        ("somebody/tiny", "no weights in safetensors"),
    ):
        result = setup.run("--yes", "--model", name)
        assert result.returncode == 5
        assert told in result.stderr.splitlines()[-1]
    assert stand_in.fetched == []


def test_without_a_network_it_says_what_was_tried(setup: Setup) -> None:
    events = setup.events("--yes", HF_ENDPOINT=NOWHERE)
    assert events[-1]["event"] == "error"
    assert "was not fetched" in events[-1]["message"]
    assert "check the network" in events[-1]["message"]
    assert not setup.config.exists()


def test_a_slow_machine_is_offered_the_shipped_pair(setup: Setup) -> None:
    recommendation = next(e for e in setup.events("--dry-run", SPEED="1") if e["event"] == "recommendation")
    assert (recommendation["name"], recommendation["source"]) == ("bundled", "in use")
    assert "too slow" in recommendation["reason"]


REAL = Path(os.environ.get("TABCAST_REAL_MODELS", "") or "absent")
REAL_FILES = sorted(REAL.glob("*.gguf"), key=lambda path: path.stat().st_size)


@pytest.mark.skipif(not REAL_FILES, reason="TABCAST_REAL_MODELS names no folder with GGUF files")
def test_a_real_model_completes_a_line_where_it_lies(tmp_path: Path) -> None:
    home = tmp_path / "home"
    link = home / ".lmstudio" / "models" / "Qwen" / "coder" / REAL_FILES[0].name
    link.parent.mkdir(parents=True)
    link.symlink_to(REAL_FILES[0])
    name = f"lmstudio:Qwen/coder/{link.name}"
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("XDG_DATA", "OLLAMA", "LLAMA_"))},
        "HOME": str(home),
        "XDG_CACHE_HOME": str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")),
        "TABCAST_MODELS": str(home / "pulled"),
    }
    command = [sys.executable, "-P", "-m", "lsp_server", "setup", "--yes", "--json", "--model", name]
    result = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    done = json.loads(result.stdout.splitlines()[-1])
    assert done["event"] == "done", result.stdout
    assert done["model"] == name
    assert "fibonacci(n - 1)" in done["completion"]
    assert [path.name for path in (home / "pulled").rglob("*") if path.is_file() and path.name != LOCK_FILE] == []
    assert load({}).model_path == link
