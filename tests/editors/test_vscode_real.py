"""VS Code's real workbench with the packed extension, the real server and the shipped models.

`artifacts/vscode.png`, which this makes, is what editors/vscode/picture.png is copied from.
"""

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import HAS_BUNDLED
from tests.editors.conftest import PACKAGE, ROOT, TABCAST
from tests.editors.vscode import Workbench
from tests.editors.vscode_steps import expect, pack_python_extension, see, type_until_ghost
from tests.editors.waiting import LIMIT_S, wait_until
from tests.engines import engine_pids, stop_all

pytestmark = pytest.mark.editor

SAMPLE = """\
class Node:
    def __init__(self, name, value):
        self.name = name
        self.value = value

    def get_name(self):
        return self
"""
# The shipped models are sure of what follows, but which ones they are may change.
# Who has chosen a model is offered none.
SURE = {"tabcast.minConfidence": 0, "tabcast.server.model": "bundled"}


@pytest.fixture(scope="module")
def real(vscode_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """A workbench on a trusted workspace, with the real server found on the PATH."""
    if not HAS_BUNDLED:
        pytest.skip("no model pair in decoding/bundled")
    home = tmp_path_factory.mktemp("real")
    (home / "sample").mkdir()
    (home / "sample" / "node.py").write_text(SAMPLE)
    # VS Code takes the PATH from the user's login shell.
    (home / ".profile").write_text(f"PATH={shlex.quote(str(TABCAST.parent))}:$PATH\n")
    workbench = Workbench(vscode_dir, home)
    environment = {
        "SHELL": "/bin/bash",
        "TABCAST_RUNTIME_DIR": str(home / "run"),
        "TABCAST_CONFIG": str(home / "config.toml"),
    }
    try:
        python = pack_python_extension(home / "python.vsix", home / "selected")
        folder = home / "sample"
        workbench.start(folder, PACKAGE, python, is_trusted=True, machine_settings=SURE, environment=environment)
        yield workbench
    finally:
        workbench.close()
        stop_all(home / "run")


def open_sample(workbench: Workbench, name: str) -> Path:
    """A new document of the sample's text, with the cursor behind the last `self`."""
    file = workbench.home / "sample" / name
    file.write_text(SAMPLE)
    workbench.open(file, 7, 20)
    return file


def test_real_server(real: Workbench) -> None:
    file = open_sample(real, "first.py")
    wait_until(lambda: "Tabcast: ready" in real.status(), "the engine", 4 * LIMIT_S)
    ghost = type_until_ghost(real, ".")
    real.screenshot(ROOT / "artifacts" / "vscode.png")
    real.press("Tab")
    expect(real, file, SAMPLE.replace("self\n", f"self.{ghost}\n"))
    assert "Tabcast: ready" in real.status()
    assert "the shipped pair on cpu" in real.status()
    real.screenshot(ROOT / "artifacts" / "vscode-status.png")


def test_real_server_says_why(real: Workbench) -> None:
    real.command("Tabcast: Why Was This Suggested")
    wait_until(lambda: "The last requests" in real.text(), "the report")
    assert "Tabcast is ready: the shipped pair" in real.text()
    assert "first.py" in real.text()
    real.press("Control+F4")
    real.command("Tabcast: Statistics")
    wait_until(lambda: "characters accepted" in real.text(), "the statistics")
    real.press("Control+F4")


def test_real_server_takes_changed_settings(real: Workbench) -> None:
    file = open_sample(real, "settings.py")
    type_until_ghost(real, ".")
    real.configure({**SURE, "tabcast.enabled": False})
    wait_until(lambda: "Tabcast: off" in real.status(), "the status")
    real.press("Backspace")
    see(real, "")
    real.type(".")
    real.configure({**SURE, "tabcast.enabled": True})
    wait_until(lambda: "Tabcast: ready" in real.status(), "the status")
    real.press("Backspace")
    type_until_ghost(real, ".")
    expect(real, file, SAMPLE.replace("self\n", "self.\n"))


def test_real_server_goes_on_after_its_engine_was_killed(real: Workbench) -> None:
    file = open_sample(real, "killed.py")
    ghost = type_until_ghost(real, ".")
    (pid,) = engine_pids(real.home / "run")
    os.kill(pid, signal.SIGKILL)
    real.press("Tab")
    text = SAMPLE.replace("self\n", f"self.{ghost}\n")
    expect(real, file, text)
    real.press("Enter")
    real.press("Enter")
    real.type("def get_value(self):")
    real.press("Enter")
    real.type("return self")
    type_until_ghost(real, ".")
    assert engine_pids(real.home / "run") != [pid]
    assert real.messages() == []


def test_real_server_obeys_the_commands(real: Workbench) -> None:
    open_sample(real, "commands.py")
    wait_until(lambda: "Tabcast: ready" in real.status(), "the status")
    assert "Turn Suggestions Off or On" in real.choices("Tabcast: All Commands")
    real.choose("Turn Suggestions Off or On")
    wait_until(lambda: "Tabcast: off" in real.status(), "the status")
    real.command("Tabcast: Turn Suggestions Off or On")
    wait_until(lambda: "Tabcast: ready" in real.status(), "the status")
    assert real.choices("Tabcast: Select Model") == ["tabcast-bundled"]
    real.choose("tabcast-bundled")
    (pid,) = real.processes(f"{TABCAST}\0lsp")
    real.command("Tabcast: Restart Language Server")
    wait_until(lambda: pid not in real.processes(f"{TABCAST}\0lsp"), "its end")
    wait_until(lambda: real.processes(f"{TABCAST}\0lsp"), "another server")
    wait_until(lambda: "Tabcast: ready" in real.status(), "the status")
    assert real.messages() == []


def test_the_selected_python_comes_before_the_path(real: Workbench) -> None:
    (real.home / "selected").write_text(sys.executable)
    real.command("Tabcast: Restart Language Server")
    wait_until(lambda: real.processes(f"{sys.executable}\0-P\0-m\0lsp_server\0lsp"), "its server")
    (real.home / "selected").unlink()
    real.command("Tabcast: Restart Language Server")
    wait_until(lambda: real.processes(f"{TABCAST}\0lsp"), "the other server")
