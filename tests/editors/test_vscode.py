"""Typing in VS Code's real workbench with the packed extension."""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.editors.conftest import EXTENSION, PACKAGE, ROOT, TABCAST
from tests.editors.vscode import Workbench
from tests.editors.waiting import ask_until, wait_until

pytestmark = pytest.mark.editor

STUB = [sys.executable, str(Path(__file__).with_name("stub_server.py"))]
HEAD = "def add(alpha, beta):\n"
TAIL = "\n\nprint(add(1, 2))\n"
LINE = "    return alpha + beta"


def write_program(file: Path, *argv: str) -> Path:
    """A program of one line that runs another with the arguments it is given."""
    file.write_text(f'#!/bin/sh\nexec {shlex.join(argv)} "$@"\n')
    file.chmod(0o755)
    return file


def see(workbench: Workbench, ghost: str) -> None:
    """Wait until exactly this is shown."""
    wait_until(lambda: workbench.ghost() == ghost, f"the ghost text {ghost!r}")


def type_until_ghost(workbench: Workbench, character: str) -> str:
    """Type a character, and again, until anything is shown."""
    workbench.type(character)

    def type_again() -> None:
        workbench.press("Backspace")
        workbench.type(character)

    return ask_until(type_again, workbench.ghost, "ghost text", limit_s=120)


def expect(workbench: Workbench, file: Path, text: str) -> None:
    """Save, and compare the whole document."""
    workbench.press("Control+s")
    try:
        wait_until(lambda: file.read_text() == text, "the document")
    except AssertionError:
        assert file.read_text() == text  # shows the difference
        raise
    assert workbench.messages() == []


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that tries to choose which program is started."""
    folder = tmp_path_factory.mktemp("workspace")
    intruder = write_program(folder / "tabcast", "touch", str(folder / "was-run"))
    (folder / ".vscode").mkdir()
    (folder / ".vscode" / "settings.json").write_text(json.dumps({"tabcast.server.path": str(intruder)}))
    return folder


@pytest.fixture(scope="module")
def workbench(vscode_dir: Path, workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """A workbench for all tests of this module, on the untrusted workspace, with the stub server running."""
    home = tmp_path_factory.mktemp("home")
    program = write_program(home / "stub", *STUB)
    workbench = Workbench(vscode_dir, home)
    try:
        settings = {"tabcast.server.path": str(program)}
        workbench.start(workspace, PACKAGE, is_trusted=False, machine_settings=settings, environment={})
        file = workspace / "first.py"
        file.write_text(HEAD + "    " + TAIL)
        workbench.open(file, 2, 5)
        type_until_ghost(workbench, "r")
        workbench.press("Escape")
        yield workbench
    finally:
        workbench.close()


@pytest.fixture
def file(workspace: Path, request: pytest.FixtureRequest) -> Path:
    """A document of the test's own."""
    file = workspace / f"{request.node.name}.py"
    file.write_text(HEAD + "    " + TAIL)
    return file


def test_ghost_text_is_seen_and_accepted(workbench: Workbench, file: Path) -> None:
    workbench.open(file, 2, 5)
    workbench.type("r")
    see(workbench, "eturn alpha + beta")
    workbench.press("Tab")
    workbench.type("!")
    expect(workbench, file, HEAD + LINE + "!" + TAIL)


def test_several_lines(workbench: Workbench, file: Path) -> None:
    workbench.open(file, 2, 5)
    workbench.type("for")
    see(workbench, " item in items:\n        total += item\n    return total")
    workbench.press("Tab")
    expect(workbench, file, f"{HEAD}    for item in items:\n        total += item\n    return total{TAIL}")


def test_text_outside_the_basic_plane(workbench: Workbench, file: Path) -> None:
    file.write_text(HEAD + '    print("😀"' + TAIL)
    workbench.open(file, 2, 100)
    workbench.type(",")
    see(workbench, " alpha)")
    workbench.press("Tab")
    expect(workbench, file, f'{HEAD}    print("😀", alpha){TAIL}')


def test_a_closer_behind_the_cursor_is_not_doubled(workbench: Workbench, file: Path) -> None:
    file.write_text("x = 1\nadd)\n")
    workbench.open(file, 2, 4)
    workbench.type("(")
    see(workbench, "alpha, beta")
    workbench.press("Tab")
    expect(workbench, file, "x = 1\nadd(alpha, beta)\n")


def test_typing_on_then_accept(workbench: Workbench, file: Path) -> None:
    workbench.open(file, 2, 5)
    workbench.type("r")
    see(workbench, "eturn alpha + beta")
    workbench.type("et")
    workbench.press("Tab")
    expect(workbench, file, HEAD + LINE + TAIL)


def test_a_key_that_contradicts(workbench: Workbench, file: Path) -> None:
    workbench.open(file, 2, 5)
    workbench.type("r")
    see(workbench, "eturn alpha + beta")
    workbench.type("x")
    workbench.press("Tab")
    workbench.type("q")
    expect(workbench, file, HEAD + "    rx  q" + TAIL)


def test_backspace_then_accept(workbench: Workbench, file: Path) -> None:
    workbench.open(file, 2, 5)
    workbench.type("retu")
    see(workbench, "rn alpha + beta")
    workbench.press("Backspace")
    see(workbench, "urn alpha + beta")
    workbench.press("Tab")
    expect(workbench, file, HEAD + LINE + TAIL)


def test_the_workspace_chose_no_program(workbench: Workbench, workspace: Path) -> None:
    assert workbench.messages() == []
    assert not (workspace / "was-run").exists()


def test_real_server(vscode_dir: Path, tabcast_command: list[str], tmp_path: Path) -> None:
    head, tail = (
        "class Node:\n    def __init__(self, name, value):\n        self.name = name\n        self",
        "\n\n    def __repr__(self):\n        return self.name\n",
    )
    home, file = tmp_path / "home", tmp_path / "sample" / "node.py"
    home.mkdir()
    file.parent.mkdir()
    file.write_text(head + tail)
    # VS Code takes the PATH from the user's login shell.
    (home / ".profile").write_text(f"PATH={shlex.quote(str(TABCAST.parent))}:$PATH\n")
    workbench = Workbench(vscode_dir, home)
    try:
        shell = {"SHELL": "/bin/bash"}
        workbench.start(file.parent, PACKAGE, is_trusted=True, machine_settings={}, environment=shell)
        workbench.open(file, 4, 13)
        ghost = type_until_ghost(workbench, ".")
        workbench.screenshot(ROOT / "artifacts" / "vscode.png")
        workbench.press("Tab")
        expect(workbench, file, f"{head}.{ghost}{tail}")
    finally:
        workbench.close()


def test_the_extension_has_no_type_or_lint_error(vscode_dir: Path) -> None:
    tools = EXTENSION / "node_modules"
    for argv in (["typescript/bin/tsc", "--noEmit"], ["eslint/bin/eslint.js", "--max-warnings=0", "."]):
        command = [str(vscode_dir / "bin" / "node"), str(tools / argv[0]), *argv[1:]]
        found = subprocess.run(command, cwd=EXTENSION, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout + found.stderr
