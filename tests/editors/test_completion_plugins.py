"""nvim-cmp and blink.cmp in a real Neovim with our server: the menu beside ghost text, Tab, and entries of the menu.

The plugins are not part of this repository; tests/editors/setup_completion_plugins.sh fetches them.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.editors.conftest import EDITORS, ROOT, find_neovim
from tests.editors.neovim import Neovim
from tests.editors.neovim_steps import EMPTY, HEAD, TAIL, expect, type_and_see
from tests.editors.waiting import wait_until
from tests.lsp.conftest import FakeRuntime
from tests.lsp.fake_engine import Script

pytestmark = pytest.mark.editor

PLUGINS = {"nvim-cmp": ("nvim-cmp", "cmp-nvim-lsp"), "blink.cmp": ("blink.cmp",)}
WRITTEN = "alpha + beta"
# A document in which the fake engine's text fits wherever `return ` was typed.
DONE = f"{HEAD}    return {WRITTEN}{TAIL}"

Start = Callable[..., Neovim]


@pytest.fixture(params=list(PLUGINS))
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Starts Neovim with a completion plugin and our server, whose engine always writes the same."""
    folders = [EDITORS / "plugins" / name for name in PLUGINS[request.param]]
    if missing := [folder for folder in folders if not folder.exists()]:
        pytest.skip(f"no {missing[0]}: run tests/editors/setup_completion_plugins.sh")
    directory = tmp_path / "runtime" / "engine"
    directory.mkdir(parents=True, mode=0o700)
    Script(text=WRITTEN).write(directory)
    command = [sys.executable, "-P", str(ROOT / "tests" / "lsp" / "serve_with_fake.py"), str(directory)]
    running: list[Neovim] = []

    def start(items: str) -> Neovim:
        file = tmp_path / "sample.py"
        file.write_text(EMPTY + "\n")
        environment = {
            "HOME": str(tmp_path / "home"),
            "TEST_PLUGIN": str(ROOT / "editors" / "neovim"),
            "TEST_MENU": request.param,
            "TEST_MENU_FOLDERS": ":".join(map(str, folders)),
            "TEST_COMMAND": json.dumps(command),
            "TEST_ITEMS": items,
        }
        init = Path(__file__).with_name("completion_plugins.lua")
        editor = Neovim.with_init(find_neovim("nvim"), init, environment, file)
        running.append(editor)
        wait_until(editor.is_attached, "the language server")
        editor.type("2G$")
        return editor

    yield start
    for editor in running:
        editor.close()
    FakeRuntime(directory).end()  # it would wait for its ten idle minutes


def wait_for_menu(editor: Neovim, *, is_open: bool = True) -> None:
    look = f"return {editor.lua('return vim.g.menu_is_open')}"
    wait_until(lambda: bool(editor.lua(look)) == is_open, "the menu" if is_open else "the menu's end")


def test_tab_accepts_the_ghost_text_beside_the_menu(start: Start) -> None:
    editor = start("always")
    type_and_see(editor, "Areturn ", WRITTEN)
    type_and_see(editor, "al", WRITTEN[2:])
    wait_for_menu(editor)
    editor.type("<Tab>")
    expect(editor, DONE)
    editor.type("!")
    expect(editor, f"{HEAD}    return {WRITTEN}!{TAIL}")


def test_tab_is_the_editors_where_nothing_is_shown(start: Start) -> None:
    editor = start("never")
    editor.lua("vim.bo.expandtab, vim.bo.shiftwidth, vim.bo.softtabstop = true, 4, 4")
    editor.type("Ax = 1<Esc>")
    wait_until(lambda: editor.text() == f"{HEAD}    x = 1{TAIL}", "the keys")
    editor.lua("require('tabcast.completor').clear_all()")
    editor.type("O<Tab>y")
    wait_until(lambda: "        y" in editor.text(), "the indentation")


def test_an_entry_of_the_menu_is_the_same_text(start: Start) -> None:
    editor = start("always")
    type_and_see(editor, "Areturn ", WRITTEN)
    type_and_see(editor, "al", WRITTEN[2:])
    wait_for_menu(editor)
    editor.type("<C-n><C-y>")
    expect(editor, DONE)
    wait_for_menu(editor, is_open=False)
