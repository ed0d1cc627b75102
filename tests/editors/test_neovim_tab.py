"""<Tab> in a real Neovim where it belongs to the editor although something is shown, and `:Tabcast snooze`."""

from pathlib import Path

import pytest

from tests.editors.conftest import StartNeovim
from tests.editors.neovim import Neovim
from tests.editors.neovim_steps import EMPTY, HEAD, TAIL, expect, see, type_and_see
from tests.editors.waiting import wait_until

pytestmark = pytest.mark.editor

# Below such a line the stub suggests an indented line where nothing is typed yet.
BODY = "def add(alpha, beta):  # body\n"
SHOWS = ["own", "builtin"]


def start_with(start_neovim: StartNeovim, nvim_program: Path, shows: str, document: str) -> Neovim:
    if shows == "builtin" and nvim_program.name != "nvim":
        pytest.skip("this Neovim has no inline completion of its own")
    return start_neovim(document, shows=shows)


@pytest.mark.parametrize("shows", SHOWS)
def test_tab_indents_until_the_line_is_as_deep_as_the_suggestion(
    start_neovim: StartNeovim, nvim_program: Path, shows: str
) -> None:
    editor = start_with(start_neovim, nvim_program, shows, BODY + TAIL)
    editor.lua("vim.bo.shiftwidth, vim.bo.expandtab = 4, true")
    type_and_see(editor, "i", "    return alpha + beta")
    editor.type("<Tab>")
    expect(editor, BODY + "    " + TAIL)
    see(editor, "return alpha + beta")
    editor.type("<Tab>")
    expect(editor, BODY + "    return alpha + beta" + TAIL)


@pytest.mark.parametrize("shows", SHOWS)
def test_tab_goes_on_in_a_snippet(start_neovim: StartNeovim, nvim_program: Path, shows: str) -> None:
    editor = start_with(start_neovim, nvim_program, shows, EMPTY)
    editor.type("A")
    editor.lua("vim.snippet.expand('${1:one}\\n${2:two}')")
    wait_until(lambda: "two" in editor.text(), "the snippet")
    type_and_see(editor, "r", "eturn alpha + beta")
    editor.type("<Tab>")
    wait_until(lambda: editor.lua("return vim.api.nvim_get_mode().mode") == "s", "the next place")
    editor.type("b")
    expect(editor, f"{HEAD}    r\n    b{TAIL}")


def test_a_snooze_hides_what_is_shown_and_is_told(start_neovim: StartNeovim) -> None:
    editor = start_neovim(EMPTY)
    editor.lua("_G.said = {} vim.notify = function(text) table.insert(said, text) end")
    type_and_see(editor, "Ar", "eturn alpha + beta")
    for argument, told in (
        (" 15", "Tabcast is silent for 15 minutes"),
        (" 0", "Tabcast suggests again"),
        ("", "Tabcast is silent for 5 minutes"),
        (" soon", "Tabcast: snooze takes a number of minutes, not soon"),
    ):
        editor.lua("said = {} vim.cmd(...)", f"Tabcast snooze{argument}")
        assert wait_until(lambda: editor.lua("return said"), "a message") == [told]
    assert editor.ghost() == ""


def test_why_is_told_in_the_words_of_the_server(start_neovim: StartNeovim) -> None:
    editor = start_neovim(EMPTY)
    type_and_see(editor, "Ar", "eturn alpha + beta")
    editor.lua("_G.said = {} vim.notify = function(text) table.insert(said, text) end vim.cmd('Tabcast why')")
    assert wait_until(lambda: editor.lua("return said"), "a message") == ["nothing was asked yet"]
