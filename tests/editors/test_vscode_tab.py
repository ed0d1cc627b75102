"""Tab in VS Code's real workbench where it belongs to the editor although something is shown, and the snooze."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.editors.conftest import PACKAGE, STUB
from tests.editors.vscode import Workbench
from tests.editors.vscode_steps import expect, see, type_until_ghost, write_program
from tests.editors.waiting import ask_until, wait_until

pytestmark = pytest.mark.editor

# Below such a line the stub suggests an indented line where nothing is typed yet.
BODY = "def add(alpha, beta):  # body\n"
TAIL = "\n\nprint(add(1, 2))\n"
SNIPPET = {"Pair": {"prefix": "pair", "body": ["${1:one}", "${2:two}"]}}


@pytest.fixture(scope="module")
def workbench(vscode_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """A workbench for the tests of this module, with the stub server running and a snippet of the user's."""
    home = tmp_path_factory.mktemp("home")
    program = write_program(home / "stub", *STUB)
    (home / "workspace").mkdir()
    (home / "data" / "User" / "snippets").mkdir(parents=True)
    (home / "data" / "User" / "snippets" / "python.json").write_text(json.dumps(SNIPPET))
    workbench = Workbench(vscode_dir, home)
    settings = {"tabcast.server.path": str(program), "editor.tabCompletion": "onlySnippets"}
    try:
        workbench.start(home / "workspace", PACKAGE, is_trusted=True, machine_settings=settings, environment={})
        open_document(workbench, "first", "def add(alpha, beta):\n    " + TAIL, 5)
        type_until_ghost(workbench, "r")
        yield workbench
    finally:
        workbench.close()


def open_document(workbench: Workbench, name: str, text: str, column: int) -> Path:
    file = workbench.home / "workspace" / f"{name}.py"
    file.write_text(text)
    workbench.open(file, 2, column)
    return file


def test_tab_indents_until_the_line_is_as_deep_as_the_suggestion(workbench: Workbench) -> None:
    file = open_document(workbench, "indent", BODY + TAIL, 1)
    workbench.command("Trigger Inline Suggestion")
    see(workbench, "    return alpha + beta")
    workbench.press("Tab")
    see(workbench, "return alpha + beta")
    workbench.press("Tab")
    expect(workbench, file, BODY + "    return alpha + beta" + TAIL)


def test_tab_goes_on_in_a_snippet(workbench: Workbench) -> None:
    file = open_document(workbench, "snippet", "def add(alpha, beta):\n    " + TAIL, 5)
    workbench.type("pair")
    ask_until(lambda: workbench.press("Tab"), lambda: "two" in workbench.text(), "the snippet")
    workbench.type("r")
    workbench.press("Tab")
    workbench.type("b")
    expect(workbench, file, "def add(alpha, beta):\n    r\n    b" + TAIL)


def test_a_snooze_hides_what_is_shown_and_can_be_ended(workbench: Workbench) -> None:
    open_document(workbench, "snooze", "def add(alpha, beta):\n    " + TAIL, 5)
    type_until_ghost(workbench, "r")
    workbench.command("Tabcast: Snooze Suggestions for 5 Minutes")
    wait_until(lambda: workbench.messages() == ["Tabcast: no suggestions for 5 minutes."], "the message")
    wait_until(lambda: workbench.ghost() == "", "silence")
    workbench.click("Suggest Again")
    wait_until(lambda: workbench.messages() == [], "its end")
