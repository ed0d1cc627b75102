"""A real Neovim with a server or an engine that is missing, of another version, ends, fails or is started again."""

import os
import signal
from pathlib import Path

import pytest

from decoding.protocol import VERSION
from tests.editors.conftest import STUB, StartNeovim
from tests.editors.neovim_steps import EMPTY, HEAD, TAIL, expect, type_and_see
from tests.editors.waiting import ask_until, wait_until
from tests.engines import engine_pids

pytestmark = pytest.mark.editor


def test_a_server_that_keeps_ending_is_started_again_a_few_times(start_neovim: StartNeovim, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    script = f"echo >>{starts}; [ $(wc -l <{starts}) = 1 ] && exec {' '.join(STUB)} lsp; exit 3"
    editor = start_neovim(EMPTY, command=["sh", "-c", script])
    # However long the first one had run: the others never started.
    editor.lua("local revive = require('tabcast.revive') revive.first_pause_ms, revive.STABLE_S = 1, -1")
    editor.lua("_G.said = {} vim.notify = function(text) table.insert(said, text) end")
    os.kill(editor.server_pid(), signal.SIGKILL)
    wait_until(lambda: any("keeps ending" in text for text in editor.lua("return said")), "the message")
    assert len(starts.read_text().splitlines()) == 1 + 5
    of_neovim, ours = editor.lua("return said")
    assert "quit with" in of_neovim
    assert ours.startswith("Tabcast: ")
    assert ":Tabcast log" in ours
    editor.type("Aret")
    expect(editor, HEAD + "    ret" + TAIL)


def test_a_server_that_is_not_there_is_told_once(start_neovim: StartNeovim, tmp_path: Path) -> None:
    editor = start_neovim(EMPTY, command=[str(tmp_path / "missing"), "lsp"], waits=False)
    editor.lua("vim.cmd('edit another.py') vim.cmd('edit third.py')")
    messages = editor.lua("return vim.api.nvim_exec2('messages', {output = true}).output")
    assert messages.count("Tabcast: there is no program") == 1
    assert f"`{tmp_path / 'missing'}`" in messages.replace("\n", "")
    assert ":checkhealth tabcast" in messages


@pytest.mark.parametrize(("version", "is_told"), [("99.0.0", True), (f"{VERSION}.post1", False)])
def test_a_server_of_another_version_is_told(start_neovim: StartNeovim, version: str, is_told: bool) -> None:
    editor = start_neovim(EMPTY, stub=(f"--version={version}",))
    messages = editor.lua("return vim.api.nvim_exec2('messages', {output = true}).output")
    assert (f"the server has version {version}" in messages.replace("\n", "")) == is_told
    type_and_see(editor, "Ar", "eturn alpha + beta")


def test_an_engine_that_fails_is_told_once(start_neovim: StartNeovim) -> None:
    editor = start_neovim(EMPTY, stub=("--engine-fails",))
    status = wait_until(lambda: editor.lua("return require('tabcast').status()"), "the server's status")
    assert status == "Tabcast failed"
    editor.lua("_G.said = {} vim.notify = function(text) table.insert(said, text) end")
    editor.lua("require('tabcast.notice').grace_ms = 0")
    fail = "require('tabcast.status').set({ state = 'failed', message = 'no memory' })"
    recover = "require('tabcast.status').set({ state = 'loading' })"
    # One that comes back at once is not worth a message.
    editor.lua(f"{recover} {fail} {recover} vim.wait(50) assert(#said == 0)")
    for _ in range(3):
        editor.lua(f"{recover} {fail}")
        wait_until(lambda: editor.lua("vim.wait(50) return said"), "the message")
    (message,) = editor.lua("return said")
    assert message.startswith("Tabcast: no memory. `:Tabcast restart engine`")


def test_restarting(start_neovim: StartNeovim) -> None:
    editor = start_neovim(EMPTY)
    before = editor.server_pid()
    editor.lua("vim.cmd('Tabcast restart')")
    wait_until(lambda: editor.is_attached() and editor.server_pid() not in (0, before), "another server")
    type_and_see(editor, "Ar", "eturn alpha + beta")


def test_health(start_neovim: StartNeovim) -> None:
    editor = start_neovim(EMPTY)
    editor.lua("vim.cmd('checkhealth tabcast')")
    report = wait_until(lambda: editor.text() if "log of the server" in editor.text() else "", "the report")
    assert "Neovim 0." in report
    assert "the server runs for 1 buffers" in report


def test_real_server_goes_on_after_its_engine_was_killed(start_neovim: StartNeovim, tabcast_command: list[str]) -> None:
    head = "class A:\n    def __init__(self, name):\n        self.name = name\n\n    def f(self):\n        return self."
    tail = "\n\n\nx = A(1)"
    editor = start_neovim(head + tail, command=tabcast_command)
    editor.type("6GA")
    ask_until(lambda: editor.type("<BS>."), editor.ghost, "ghost text")
    (pid,) = engine_pids(Path(os.environ["TABCAST_RUNTIME_DIR"]))
    os.kill(pid, signal.SIGKILL)
    ghost = editor.type_at_ghost("<Tab>")
    expect(editor, head + ghost + tail)
    editor.type("<CR><CR><Esc>0Cdef get_name(node):<CR>    return node.")
    ask_until(lambda: editor.type("<BS>."), editor.ghost, "ghost text of another engine")
    assert engine_pids(Path(os.environ["TABCAST_RUNTIME_DIR"])) != [pid]
