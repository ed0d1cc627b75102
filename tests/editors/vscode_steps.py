"""What tests of VS Code do again and again: see, type until there is something to see, compare the whole document."""

import json
import shlex
import zipfile
from pathlib import Path

from tests.editors.vscode import Workbench
from tests.editors.waiting import ask_until, wait_until


def write_program(file: Path, *argv: str) -> Path:
    """A program of one line that runs another with the arguments it is given."""
    file.write_text(f'#!/bin/sh\nexec {shlex.join(argv)} "$@"\n')
    file.chmod(0o755)
    return file


def pack_python_extension(file: Path, selected: Path) -> Path:
    """An extension with the name and the interface of the Python extension; a file says which Python is selected."""
    main = f"""
const fs = require("fs");
const selected = {json.dumps(str(selected))};
const read = () => (fs.existsSync(selected) ? fs.readFileSync(selected, "utf8") : undefined);
exports.activate = () => ({{
  environments: {{
    getActiveEnvironmentPath: () => ({{ path: read() ?? "" }}),
    resolveEnvironment: async ({{ path }}) =>
      path ? {{ executable: {{ uri: require("vscode").Uri.file(path) }} }} : undefined,
  }},
}});
"""
    manifest = {"name": "python", "publisher": "ms-python", "version": "2026.1.0", "main": "main.js"}
    with zipfile.ZipFile(file, "w") as package:
        package.writestr("extension/package.json", json.dumps({**manifest, "engines": {"vscode": "^1.91.0"}}))
        package.writestr("extension/main.js", main)
    return file


def see(workbench: Workbench, ghost: str) -> None:
    """Wait until exactly this is shown."""
    try:
        wait_until(lambda: workbench.ghost() == ghost, f"the ghost text {ghost!r}")
    except AssertionError:
        assert workbench.ghost() == ghost  # shows what is there instead
        raise


def type_until_ghost(workbench: Workbench, character: str) -> str:
    """Type a character, and again, until anything is shown."""
    workbench.type(character)

    def type_again() -> None:
        workbench.press("Backspace")
        workbench.type(character)

    return ask_until(type_again, workbench.ghost, "ghost text")


def expect(workbench: Workbench, file: Path, text: str) -> None:
    """Save, and compare the whole document; what was typed before may be applied after a first saving."""
    try:
        ask_until(lambda: workbench.press("Control+s"), lambda: file.read_text() == text, "the document")
    except AssertionError:
        assert file.read_text() == text  # shows the difference
        raise
    assert workbench.messages() == []
