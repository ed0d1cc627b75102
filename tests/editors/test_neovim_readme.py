"""What editors/README.md tells users of Neovim to put into init.lua, to the letter, in a home with nothing else."""

import os
import re
from pathlib import Path

import pytest

from tests.editors.conftest import ROOT, STUB
from tests.editors.neovim import Neovim
from tests.editors.neovim_steps import EMPTY, HEAD, LINE, TAIL, expect, type_and_see
from tests.editors.vscode_steps import write_program
from tests.editors.waiting import wait_until

pytestmark = pytest.mark.editor


@pytest.mark.parametrize("shows", ["own", "builtin"])
def test_the_quick_start(nvim_program: Path, tmp_path: Path, shows: str) -> None:
    if shows == "builtin" and nvim_program.name != "nvim":
        pytest.skip("this Neovim has none")
    readme = (ROOT / "editors" / "README.md").read_text().replace("/path/to/tabcast", str(ROOT))
    own, builtin = re.findall(r"^```lua\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    (tmp_path / "bin").mkdir()
    write_program(tmp_path / "bin" / "tabcast", *STUB)
    file = tmp_path / "sample.py"
    file.write_text(EMPTY + "\n")
    init = own if shows == "own" else "".join(own.splitlines(keepends=True)[:2]) + builtin
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    editor = Neovim.of_user(nvim_program, init, path, file, tmp_path, shows)
    try:
        wait_until(editor.is_attached, "the language server")
        editor.type("2G$")
        type_and_see(editor, "Ar", "eturn alpha + beta")
        editor.type("<Tab>")
        expect(editor, HEAD + LINE + TAIL)
    finally:
        editor.close()
