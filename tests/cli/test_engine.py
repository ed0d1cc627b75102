"""`tabcast engine`, and how it fails."""

import json
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from decoding.protocol import Address, engine_directory
from tests.cli.conftest import Run, error_line
from tests.lsp.fake_engine import Script


def test_nothing_runs(tabcast: Run) -> None:
    status = tabcast("engine", "status")
    assert (status.returncode, status.stdout) == (1, "no engine is running\n")
    assert json.loads(tabcast("engine", "status", "--json").stdout)["status"] == "absent"
    stop = tabcast("engine", "stop")
    assert (stop.returncode, stop.stdout) == (0, "no engine was running\n")
    env = tabcast("engine", "env")
    assert env.returncode == 1
    assert "tabcast engine start" in error_line(env)


@pytest.fixture
def fake_engine(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """An engine without a model in the runtime directory that the command looks at; it is loading for ever."""
    directory = engine_directory((), environment)
    directory.mkdir(mode=0o700, parents=True)
    Script(status="loading", detail="reading weights", progress=0.4).write(directory)
    program = Path(__file__).parents[1] / "lsp" / "fake_engine.py"
    process = subprocess.Popen([sys.executable, "-P", program, "--runtime-dir", directory])
    while Address.read(directory) is None:
        assert process.poll() is None
        time.sleep(0.02)
    yield process
    process.kill()
    process.wait()


def test_an_engine_that_loads_is_told_in_a_sentence(tabcast: Run, fake_engine: subprocess.Popen[bytes]) -> None:
    told = tabcast("engine", "status").stdout
    assert told.startswith("loading: the engine is getting its models ready, 40%: reading weights, http://127.0.0.1:")
    assert told.endswith(f", pid {fake_engine.pid}\n")


@pytest.mark.skipif(os.name != "posix", reason="there are no such signals")
def test_who_breaks_off_a_start_is_told_that_the_engine_goes_on(
    environment: dict[str, str], engine_options: list[str]
) -> None:
    command = [sys.executable, "-P", "-m", "lsp_server", "engine", "start", *engine_options]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as starting:
        while not any(Path(environment["TABCAST_RUNTIME_DIR"]).glob("*/engine.json")):
            assert starting.poll() is None
            time.sleep(0.01)
        starting.send_signal(signal.SIGINT)
        _, told = starting.communicate()
    assert starting.returncode == 130
    assert told == "tabcast: interrupted: the engine goes on without you; 'tabcast engine stop' ends it\n"


@pytest.mark.skipif(os.name != "posix", reason="there are no such signals")
def test_a_frozen_engine_is_told_and_stopped(tabcast: Run, fake_engine: subprocess.Popen[bytes]) -> None:
    fake_engine.send_signal(signal.SIGSTOP)
    status = tabcast("engine", "status")
    assert status.returncode == 1
    assert f"the engine does not answer (pid {fake_engine.pid})" in status.stdout
    assert "does not answer" in json.loads(tabcast("engine", "status", "--json").stdout)["detail"]
    stop = tabcast("engine", "stop")
    assert (stop.returncode, stop.stdout) == (0, "the engine has stopped\n")
    assert fake_engine.wait(60) == -signal.SIGKILL


def test_port_in_use(tabcast: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = tabcast("engine", "start", "--port", port)
    assert result.returncode == 4
    assert error_line(result) == f"port {port} is in use"


def test_start_status_env_stop(tabcast: Run, engine_options: list[str]) -> None:
    started = tabcast("engine", "start", *engine_options, "--json")
    assert started.returncode == 0, started.stderr
    assert json.loads(started.stdout)["status"] == "ready"

    again = tabcast("engine", "start", *engine_options)
    assert again.returncode == 3
    assert "already running" in error_line(again)

    status = tabcast("engine", "status", *engine_options, "--json")
    assert status.returncode == 0
    assert json.loads(status.stdout)["pid"] == json.loads(started.stdout)["pid"]
    assert json.loads(status.stdout)["proof"] == ""

    stopped = tabcast("engine", "stop", *engine_options)
    assert (stopped.returncode, stopped.stdout) == (0, "the engine has stopped\n")
    assert tabcast("engine", "status", *engine_options).returncode == 1


def test_env_opens_the_engine_to_other_clients(tabcast: Run, engine_options: list[str]) -> None:
    assert tabcast("engine", "start", *engine_options).returncode == 0
    exports = tabcast("engine", "env", *engine_options)
    assert exports.returncode == 0
    words = [shlex.split(line) for line in exports.stdout.splitlines()]
    assert all(word[0] == "export" for word in words)
    variables = dict(word[1].split("=", 1) for word in words)
    assert variables == json.loads(tabcast("engine", "env", *engine_options, "--json").stdout)

    request = urllib.request.Request(
        variables["OPENAI_BASE_URL"] + "/models", headers={"Authorization": f"Bearer {variables['OPENAI_API_KEY']}"}
    )
    with urllib.request.urlopen(request) as answer:
        assert json.load(answer)["object"] == "list"
    header_file = Path(variables["OPENAI_HEADER_FILE"])
    assert header_file.read_text(encoding="utf-8") == f"Authorization: Bearer {variables['OPENAI_API_KEY']}\n"
    if os.name == "posix":
        assert stat.S_IMODE(header_file.stat().st_mode) == 0o600
    # No variable of ours may change which engine the next command finds.
    assert not any(name.startswith("TABCAST_") for name in variables)


def test_port_does_not_change_which_engine_it_is(tabcast: Run, engine_options: list[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = tabcast("engine", "start", *engine_options, "--port", port, "--json")
    assert json.loads(started.stdout)["url"] == f"http://127.0.0.1:{port}"
    assert json.loads(tabcast("engine", "status", *engine_options, "--json").stdout)["url"].endswith(f":{port}")


@pytest.fixture(params=["missing", "empty", "pickled"])
def bad_model(request: pytest.FixtureRequest, tmp_path: Path, tiny_model: Path) -> Path:
    """A model folder that can't be loaded."""
    folder = tmp_path / "model"
    if request.param != "missing":
        folder.mkdir()
    if request.param == "pickled":
        for name in ("config.json", "tokenizer.json"):
            (folder / name).write_bytes((tiny_model / name).read_bytes())
        (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    return folder


def test_model_that_cannot_be_loaded(tabcast: Run, bad_model: Path) -> None:
    result = tabcast("engine", "start", "--model", bad_model, "--draft", "none")
    assert result.returncode == 5
    assert str(bad_model) in error_line(result)


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root may enter every folder")
def test_runtime_directory_that_is_not_ours(tabcast: Run, environment: dict[str, str]) -> None:
    environment["TABCAST_RUNTIME_DIR"] = "/"
    result: subprocess.CompletedProcess[str] = tabcast("engine", "start")
    assert result.returncode == 1
    error_line(result)


def run_without_room(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `tabcast`; neither it nor an engine that it starts may write a byte into a file, not even into the log."""
    command = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", sys.executable, "-P", "-m", "lsp_server", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


no_limit = pytest.mark.skipif(os.name != "posix", reason="there is no such limit")


@no_limit
def test_a_runtime_folder_without_room_is_told_in_a_sentence(
    environment: dict[str, str], engine_options: list[str]
) -> None:
    result = run_without_room(environment, "engine", "start", *engine_options)
    assert result.returncode != 0
    assert "can't be written" in error_line(result)
    assert "TABCAST_RUNTIME_DIR" in result.stderr


@no_limit
def test_a_header_file_without_room_is_told_in_a_sentence(
    environment: dict[str, str], fake_engine: subprocess.Popen[bytes]
) -> None:
    result = run_without_room(environment, "engine", "env")
    assert result.returncode == 1
    assert "can't be written" in error_line(result)
