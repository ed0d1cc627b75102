"""Typing in VS Code's real workbench with the packed extension."""

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.editors.conftest import EXTENSION, PACKAGE, STUB
from tests.editors.vscode import Workbench
from tests.editors.vscode_steps import (
    expect,
    pack_python_extension,
    see,
    type_until_ghost,
    write_program,
)
from tests.editors.waiting import ask_until, wait_until

pytestmark = pytest.mark.editor

HEAD = "def add(alpha, beta):\n"
TAIL = "\n\nprint(add(1, 2))\n"
LINE = "    return alpha + beta"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that tries to choose which program is started."""
    folder = tmp_path_factory.mktemp("workspace")
    intruder = write_program(folder / "tabcast", "sh", "-c", f"touch {shlex.quote(str(folder / 'was-run'))}")
    (folder / ".vscode").mkdir()
    settings = {"tabcast.server.path": str(intruder), "tabcast.server.draft": str(folder)}
    (folder / ".vscode" / "settings.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def workbench(vscode_dir: Path, workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """A workbench for all tests of this module, on the untrusted workspace, with the stub server running."""
    home = tmp_path_factory.mktemp("home")
    program = write_program(home / "stub", *STUB)
    workbench = Workbench(vscode_dir, home)
    try:
        settings = {"tabcast.server.path": str(program), "tabcast.server.device": "cpu"}
        (home / "selected").write_text(str(workspace / "tabcast"))
        python = pack_python_extension(home / "python.vsix", home / "selected")
        workbench.start(workspace, PACKAGE, python, is_trusted=False, machine_settings=settings, environment={})
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


def test_a_server_that_has_another_text_is_asked_again(workbench: Workbench, file: Path) -> None:
    workbench.open(file, 2, 5)
    workbench.type("y")
    see(workbench, "ield alpha  # gamma")  # `# beta` at first
    workbench.press("Tab")
    expect(workbench, file, f"{HEAD}    yield alpha  # gamma{TAIL}")


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


def test_accepting_right_after_the_last_key(workbench: Workbench, file: Path) -> None:
    workbench.open(file, 2, 5)
    workbench.type("r")
    see(workbench, "eturn alpha + beta")
    workbench.keys("e", "t", "u", "Tab", "!")
    expect(workbench, file, HEAD + LINE + "!" + TAIL)


def test_typing_through_keeps_the_rest(workbench: Workbench, file: Path) -> None:
    workbench.open(file, 2, 5)
    workbench.type("r")
    see(workbench, "eturn alpha + beta")
    workbench.type("eturn ")
    see(workbench, "alpha + beta")
    expect(workbench, file, HEAD + "    return " + TAIL)


def test_word_by_word(workbench: Workbench, file: Path) -> None:
    workbench.open(file, 2, 5)
    workbench.type("r")
    see(workbench, "eturn alpha + beta")
    workbench.press("Control+ArrowRight")
    see(workbench, " alpha + beta")
    workbench.press("Control+ArrowRight")
    see(workbench, "alpha + beta")  # VS Code takes the blanks for a word
    workbench.press("Control+ArrowRight")
    see(workbench, " + beta")
    workbench.press("Tab")
    expect(workbench, file, HEAD + LINE + TAIL)


def test_line_by_line(workbench: Workbench, file: Path) -> None:
    workbench.open(file, 2, 5)
    workbench.type("for")
    see(workbench, " item in items:\n        total += item\n    return total")
    workbench.press("Control+Alt+l")
    wait_until(lambda: workbench.ghost().strip().startswith("total += item"), "the rest")
    expect(workbench, file, f"{HEAD}    for item in items:\n{TAIL}")


def test_cycling(workbench: Workbench, file: Path) -> None:
    workbench.open(file, 2, 5)
    workbench.type("r")
    see(workbench, "eturn alpha + beta")
    workbench.press("Control+Alt+n")
    see(workbench, "eturn alpha - beta")
    workbench.press("Control+Alt+n")
    see(workbench, "eturn alpha * beta")
    workbench.press("Control+Alt+p")
    see(workbench, "eturn alpha - beta")
    workbench.press("Tab")
    expect(workbench, file, f"{HEAD}    return alpha - beta{TAIL}")


def test_dismissing(workbench: Workbench, file: Path) -> None:
    workbench.open(file, 2, 5)
    workbench.type("r")
    see(workbench, "eturn alpha + beta")
    workbench.press("Escape")
    see(workbench, "")
    workbench.press("Tab")
    expect(workbench, file, HEAD + "    r   " + TAIL)


def test_undo_takes_back_what_was_accepted_alone(workbench: Workbench, file: Path) -> None:
    workbench.open(file, 2, 5)
    workbench.type("r")
    see(workbench, "eturn alpha + beta")
    workbench.press("Tab")
    expect(workbench, file, HEAD + LINE + TAIL)
    workbench.press("Control+z")
    expect(workbench, file, HEAD + "    r" + TAIL)


def test_a_server_that_was_killed_is_started_again(workbench: Workbench, file: Path) -> None:
    workbench.open(file, 2, 5)
    (pid,) = workbench.processes("stub_server.py")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: [new for new in workbench.processes("stub_server.py") if new != pid], "another server")
    type_until_ghost(workbench, "r")
    see(workbench, "eturn alpha + beta")
    workbench.press("Tab")
    expect(workbench, file, HEAD + LINE + TAIL)


def test_the_workspace_chose_no_program(workbench: Workbench, workspace: Path) -> None:
    assert workbench.messages() == []
    assert not (workspace / "was-run").exists()
    (pid,) = workbench.processes("stub_server.py")
    process = Path("/proc") / str(pid)
    assert process.joinpath("cmdline").read_text().endswith("\0lsp\0--device\0cpu\0")
    # Nothing in the workspace can take a module's place.
    assert process.joinpath("cwd").readlink() == workbench.home
    assert "PYTHONSAFEPATH=1" in process.joinpath("environ").read_text().split("\0")


def test_a_cell_of_a_notebook(workbench: Workbench, workspace: Path) -> None:
    file = workspace / "sample.ipynb"
    cells: list[dict[str, object]] = [
        {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source}
        for source in (["alpha = 1\n", "beta = 2"], ["# the sum\n", "re"])
    ]
    metadata = {"language_info": {"name": "python"}}
    file.write_text(json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 2}))
    workbench.open_notebook(file)
    type_until_ghost(workbench, "t")
    see(workbench, "urn alpha + beta")
    workbench.press("Tab")

    def sources() -> list[str]:
        return ["".join(cell["source"]) for cell in json.loads(file.read_text())["cells"]]

    expected = ["alpha = 1\nbeta = 2", "# the sum\nreturn alpha + beta"]
    ask_until(lambda: workbench.press("Control+s"), lambda: sources() == expected, "the notebook")


def test_a_program_that_is_not_there_is_told_once(workbench: Workbench, workspace: Path, file: Path) -> None:
    missing = str(workspace / "missing")
    workbench.open(file, 2, 5)
    workbench.configure({"tabcast.server.path": missing})
    (message,) = wait_until(workbench.messages, "the message")
    assert f"is not the absolute path of a program: {missing}" in message
    wait_until(lambda: workbench.buttons() == ["Open Settings"], "the button")
    wait_until(lambda: "Tabcast: failed" in workbench.status(), "the status")
    workbench.type("r")
    wait_until(lambda: "    r" in workbench.text(), "the key")
    workbench.clear_messages()


def test_what_the_workspace_selected_is_not_run_without_trust(workbench: Workbench, workspace: Path) -> None:
    workbench.configure({})
    wait_until(lambda: "no tabcast command was found" in workbench.status(), "the status")
    assert not (workspace / "was-run").exists()
    workbench.command("Tabcast: Statistics")
    wait_until(lambda: workbench.messages() == ["Tabcast: no language server is running."], "the message")
    assert workbench.buttons() == ["Start"]
    workbench.clear_messages()


def test_another_version_and_an_engine_that_fails_are_told_once(workbench: Workbench) -> None:
    program = write_program(workbench.home / "other", *STUB, "--version=99.0.0", "--engine-fails")
    workbench.configure({"tabcast.server.path": str(program)})
    (message,) = wait_until(workbench.messages, "the message about the version")
    assert f"{program} has version 99.0.0 and this extension" in message
    wait_until(lambda: "no memory" in workbench.status(), "the status")
    assert "Snooze" in workbench.bar("Tabcast: failed")
    workbench.clear_messages()
    (message,) = wait_until(workbench.messages, "the message about the engine")
    assert message == "Tabcast: no memory."
    assert workbench.buttons() == ["Show Log", "Restart Engine"]
    workbench.clear_messages()


def test_a_server_that_ends_at_once_is_told_once(workbench: Workbench) -> None:
    starts = workbench.home / "starts"
    program = workbench.home / "ends"
    program.write_text(f"#!/bin/sh\necho >>{starts}\nexit 3\n")
    program.chmod(0o755)
    workbench.configure({"tabcast.server.path": str(program)})
    (message,) = wait_until(workbench.messages, "the message")
    assert "could not be started" in message
    assert "six times in a row" in message
    assert workbench.buttons() == ["Show Log", "Restart"]
    assert workbench.messages() == [message]
    assert len(starts.read_text().splitlines()) == 1 + 5
    workbench.clear_messages()


def test_the_extension_has_no_type_or_lint_error_and_passes_its_own_tests(vscode_dir: Path) -> None:
    environ = {**os.environ, "PATH": f"{vscode_dir / 'bin'}:{os.environ['PATH']}"}
    command = ["npm", "run", "--silent", "check"]
    found = subprocess.run(command, cwd=EXTENSION, env=environ, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
