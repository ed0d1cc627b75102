"""A user without any server lets the extension install the one that is packed in it, and types.

Only with TABCAST_TEST_INSTALL=1 in the environment: pip downloads what it needs, 0.4 GB. Pip's own
variables (PIP_CONSTRAINT, PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL) choose where from and which build; without the first,
it is the versions of constraints-cpu.txt.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.editors.conftest import PACKAGE, ROOT
from tests.editors.vscode import Workbench
from tests.editors.vscode_steps import expect, type_until_ghost
from tests.editors.waiting import wait_until
from tests.engines import stop_all

pytestmark = [
    pytest.mark.editor,
    pytest.mark.skipif(
        os.environ.get("TABCAST_TEST_INSTALL") != "1", reason="downloads 0.2 GB: TABCAST_TEST_INSTALL=1"
    ),
]

SAMPLE = """\
class Node:
    def __init__(self, name):
        self.name = name

    def get_name(self):
        return self
"""
INSTALL_LIMIT_S = 3600


@pytest.fixture
def bare(vscode_dir: Path, tmp_path: Path) -> Iterator[Workbench]:
    """A workbench on a trusted workspace, in a home without anything, with a Python but no server on the PATH."""
    (tmp_path / "sample").mkdir()
    path = f"{sys.base_prefix}/bin:/usr/bin:/bin"
    (tmp_path / ".profile").write_text(f"PATH={shlex.quote(path)}\n")
    workbench = Workbench(vscode_dir, tmp_path)
    environment = {
        "PATH": path,
        "PIP_CONSTRAINT": os.environ.get("PIP_CONSTRAINT") or str(ROOT / "constraints-cpu.txt"),
        "SHELL": "/bin/bash",
        "TABCAST_RUNTIME_DIR": str(tmp_path / "run"),
        "TABCAST_CONFIG": str(tmp_path / "config.toml"),
    }
    settings = {"tabcast.minConfidence": 0, "tabcast.server.model": "bundled"}
    try:
        workbench.start(
            tmp_path / "sample", PACKAGE, is_trusted=True, machine_settings=settings, environment=environment
        )
        yield workbench
    finally:
        workbench.close()
        stop_all(tmp_path / "run")
        shutil.rmtree(tmp_path / "data", ignore_errors=True)


def test_the_packed_server_is_installed_with_consent(bare: Workbench) -> None:
    (message,) = wait_until(bare.messages, "the message")
    assert "no tabcast command was found" in message
    assert bare.buttons() == ["Install…", "Open Settings"]
    environments = bare.home / "data" / "User" / "globalStorage" / "tabcast.tabcast"
    bare.click("Install…")
    wait_until(lambda: any("into an environment of its own?" in text for text in bare.messages()), "the question")
    bare.screenshot(ROOT / "artifacts" / "vscode-install.png")
    assert not list(environments.glob("server-*/*"))
    bare.click("Install")
    wait_until(lambda: any("Installing Tabcast" in text for text in bare.messages()), "the progress")
    wait_until(lambda: list(environments.glob("server-*/tabcast-installed")), "the installation", INSTALL_LIMIT_S)
    wait_until(lambda: bare.processes(f"{environments}/"), "the server of that environment")
    file = bare.home / "sample" / "first.py"
    file.write_text(SAMPLE)
    bare.open(file, 6, 20)
    wait_until(lambda: "Tabcast: ready" in bare.status(), "the engine", INSTALL_LIMIT_S)
    ghost = type_until_ghost(bare, ".")
    bare.press("Tab")
    expect(bare, file, SAMPLE.replace("self\n", f"self.{ghost}\n"))
