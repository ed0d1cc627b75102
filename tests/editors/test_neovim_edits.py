"""Next edits in a real Neovim with the real server: shown where they are due, gone to, accepted, dismissed, undone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.editors.conftest import StartNeovim
from tests.editors.neovim import Neovim, text_of
from tests.editors.waiting import wait_until
from tests.lsp.conftest import SERVE, FakeRuntime

pytestmark = pytest.mark.editor

DOCUMENT = "# names\ndef load(path):\n    return open(path)\n\n\nfirst = load(1)\nsecond = load(2)"
RENAME = "2G0wcwfetch<Esc>"
HINT = " next edit: line 6"


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[FakeRuntime]:
    directory = tmp_path / "runtime" / "engine"
    directory.mkdir(parents=True, mode=0o700)
    runtime = FakeRuntime(directory)
    runtime.script("")
    yield runtime
    runtime.end()


@pytest.fixture
def editor(start_neovim: StartNeovim, runtime: FakeRuntime) -> Neovim:
    editor = start_neovim(DOCUMENT, command=[sys.executable, "-P", str(SERVE), str(runtime.directory)])
    editor.lua("require('tabcast').setup({ keys = { edit = '<Tab>', edit_dismiss = '<C-]>' } })")
    return editor


def shown(editor: Neovim) -> str:
    namespace = "local marks = vim.api.nvim_buf_get_extmarks(0, vim.api.nvim_create_namespace('tabcast.edits'), 0, -1,"
    return text_of(editor.lua(f"{namespace} {{ details = true }}) return marks"))


def why(editor: Neovim) -> str:
    asked = (
        "vim.lsp.get_clients()[1]:request_sync('workspace/executeCommand', { command = 'tabcast.server.why' }, 9999)"
    )
    return str(editor.lua(f"return {asked}.result.detail"))


def line(editor: Neovim) -> int:
    return int(editor.lua("return vim.api.nvim_win_get_cursor(0)[1]"))


def test_an_edit_is_gone_to_accepted_and_followed_by_the_next(editor: Neovim) -> None:
    editor.type(RENAME)
    wait_until(lambda: "fetch" in shown(editor), "the edit")
    assert HINT in shown(editor)
    assert editor.text().count("load") == 2
    editor.type("<Tab>")
    wait_until(lambda: line(editor) == 6, "the jump")
    assert editor.text().count("load") == 2
    editor.type("<Tab>")
    wait_until(lambda: editor.text().count("load") == 1, "the edit's text")
    wait_until(lambda: "line 7" in shown(editor), "the next edit")
    editor.type("<Tab><Tab>")
    wait_until(lambda: "load" not in editor.text(), "the last edit's text")
    wait_until(lambda: shown(editor) == "", "the end")
    editor.type("u")
    wait_until(lambda: editor.text().endswith("first = fetch(1)\nsecond = load(2)"), "one step back")


def test_a_dismissed_edit_stays_away_and_the_keys_do_what_they_did(editor: Neovim) -> None:
    editor.type(RENAME)
    wait_until(lambda: "fetch" in shown(editor), "the edit")
    editor.type("<C-]>")
    wait_until(lambda: shown(editor) == "", "it to go")
    editor.type("G0")
    editor.lua("require('tabcast.edits').ask()")
    wait_until(lambda: "dismissed" in why(editor), "the reason")
    assert shown(editor) == ""
    editor.type("<Tab>")  # a jump ahead in the list of jumps: there is none
    assert line(editor) == 7


def test_what_is_typed_hides_an_edit(editor: Neovim) -> None:
    editor.type(RENAME)
    wait_until(lambda: "fetch" in shown(editor), "the edit")
    editor.type("ggAx")
    wait_until(lambda: editor.text().startswith("# namesx"), "the text")
    editor.type("<Esc>")
    wait_until(lambda: "fetch" in shown(editor), "the edit for the text as it is now")
    assert editor.text().count("load") == 2


def test_they_can_be_turned_off(editor: Neovim) -> None:
    editor.lua("require('tabcast').setup({ edits = false })")
    editor.type(RENAME)
    wait_until(lambda: "fetch" in editor.text(), "the text")
    editor.lua("vim.wait(300)")
    assert shown(editor) == ""
    editor.lua("require('tabcast.edits').ask()")
    wait_until(lambda: "fetch" in shown(editor), "what was asked for by hand")
