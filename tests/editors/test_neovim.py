"""Typing in a real Neovim with the plugin's own ghost text."""

import os
import signal
from pathlib import Path

import pytest

from tests.editors.conftest import STUB, StartNeovim
from tests.editors.neovim import Neovim
from tests.editors.waiting import ask_until, wait_until
from tests.engines import engine_pids

pytestmark = pytest.mark.editor

HEAD = "def add(alpha, beta):\n"
TAIL = "\n\nprint(add(1, 2))"
# The stub completes this line, whatever its beginning.
LINE = "    return alpha + beta"
BLOCK = "    for item in items:\n        total += item\n    return total"
EMPTY = HEAD + "    " + TAIL


def see(editor: Neovim, ghost: str) -> None:
    """Wait until exactly this is shown."""
    try:
        wait_until(lambda: editor.ghost() == ghost, f"the ghost text {ghost!r}")
    except AssertionError:
        assert editor.ghost() == ghost  # shows what is there instead
        raise


def type_and_see(editor: Neovim, keys: str, ghost: str) -> None:
    """Type, and wait until exactly this is shown."""
    editor.type(keys)
    see(editor, ghost)


def expect(editor: Neovim, text: str) -> None:
    """Wait until the whole document is this."""
    try:
        wait_until(lambda: editor.text() == text, "the document")
    except AssertionError:
        assert editor.text() == text  # shows the difference
        raise


# (document, keys typed first, ghost text then, keys typed in one go, document then)
CASES = {
    "accept": (EMPTY, "Ar", "eturn alpha + beta", "<Tab>!", HEAD + LINE + "!" + TAIL),
    "accept several lines": (
        EMPTY,
        "Afor",
        " item in items:\n        total += item\n    return total",
        "<Tab>!",
        HEAD + BLOCK + "!" + TAIL,
    ),
    "accept a word": (EMPTY, "Ar", "eturn alpha + beta", "<C-l>", HEAD + "    return" + TAIL),
    "accept two words and a sign": (
        EMPTY,
        "Ar",
        "eturn alpha + beta",
        "<C-l><C-l><C-l>",
        f"{HEAD}    return alpha +{TAIL}",
    ),
    "accept a word, then all": (EMPTY, "Ar", "eturn alpha + beta", "<C-l><Tab>", HEAD + LINE + TAIL),
    "accept a word, type, then all": (EMPTY, "Ar", "eturn alpha + beta", "<C-l> al<Tab>", HEAD + LINE + TAIL),
    "accept a line": (
        EMPTY,
        "Afor",
        " item in items:\n        total += item\n    return total",
        "<C-j>",
        HEAD + "    for item in items:" + TAIL,
    ),
    "accept two lines": (
        EMPTY,
        "Afor",
        " item in items:\n        total += item\n    return total",
        "<C-j><C-j>",
        HEAD + "    for item in items:\n        total += item" + TAIL,
    ),
    "accept right after the last key": (EMPTY, "Ar", "eturn alpha + beta", "et<Tab>", HEAD + LINE + TAIL),
    "a key that contradicts": (EMPTY, "Ar", "eturn alpha + beta", "x<Tab>q", HEAD + "    rx  q" + TAIL),
    "keys that agree and one that doesn't": (
        EMPTY,
        "Ar",
        "eturn alpha + beta",
        "etx<Tab>q",
        HEAD + "    retx    q" + TAIL,
    ),
    "Backspace, then accept": (EMPTY, "Aretu", "rn alpha + beta", "<BS><BS><Tab>", HEAD + LINE + TAIL),
    "a closer is not doubled": ("x = 1\nadd()", "i", "alpha, beta", "<Tab>", "x = 1\nadd(alpha, beta)"),
    "words before a closer": ("x = 1\nadd()", "i", "alpha, beta", "<C-l><C-l><C-l><C-l>", "x = 1\nadd(alpha, beta)"),
    "typing on before a closer": ("x = 1\nadd()", "i", "alpha, beta", "al<Tab>", "x = 1\nadd(alpha, beta)"),
    "outside the basic plane": (EMPTY, 'Aprint("😀', '", alpha)', "<Tab>", f'{HEAD}    print("😀", alpha){TAIL}'),
    "word by word over it": (EMPTY, "Aprint(", '"😀", alpha)', "<C-l><C-l>", f'{HEAD}    print("😀{TAIL}'),
    "undo after accepting": (EMPTY, "Ar", "eturn alpha + beta", "<Tab><Esc>u", HEAD + "    r" + TAIL),
    "undo after accepting lines": (
        EMPTY,
        "Afor",
        " item in items:\n        total += item\n    return total",
        "<Tab>!<Esc>uu",
        HEAD + "    for" + TAIL,
    ),
    "undo the last of two words": (EMPTY, "Ar", "eturn alpha + beta", "<C-l><C-l><Esc>u", HEAD + "    return" + TAIL),
    "redo": (EMPTY, "Ar", "eturn alpha + beta", "<Tab><Esc>u<C-r>", HEAD + LINE + TAIL),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_typing(shared_neovim: Neovim, tmp_path: Path, case: tuple[str, str, str, str, str]) -> None:
    document, first_keys, ghost, keys, expected = case
    editor, file = shared_neovim, tmp_path / "sample.py"
    file.write_text(document + "\n")
    editor.open(file)
    wait_until(editor.is_attached, "the language server")
    editor.type("2G$")
    type_and_see(editor, first_keys, ghost)
    editor.type(keys)
    expect(editor, expected)


def test_what_is_left_stays_on_the_screen_while_it_is_typed(start_neovim: StartNeovim) -> None:
    editor = start_neovim(EMPTY, delay_ms=1500)
    type_and_see(editor, "Ar", "eturn alpha + beta")
    editor.type("et")
    # The answers to these keys are still under way.
    assert editor.lua("vim.wait(20) return vim.fn.getline(2)") == "    ret"
    assert editor.ghost() == "urn alpha + beta"
    type_and_see(editor, "<BS>", "turn alpha + beta")
    type_and_see(editor, "<C-l>", " alpha + beta")
    type_and_see(editor, "<Left>", "")
    expect(editor, HEAD + "    return" + TAIL)


def test_an_outdated_request_is_cancelled(start_neovim: StartNeovim) -> None:
    editor = start_neovim(EMPTY, delay_ms=60_000)
    editor.type("Ar")
    wait_until(lambda: editor.num_requests()[0] >= 1, "a request")
    num_sent = editor.num_requests()[0]
    editor.type("e")
    wait_until(lambda: editor.num_requests()[0] > num_sent, "a newer request")
    pending = "local c = vim.lsp.get_clients()[1] return vim.iter(vim.tbl_values(c.requests)):filter(%s):fold(0, %s)"
    is_pending, count = "function(r) return r.type == 'pending' end", "function(n) return n + 1 end"
    assert editor.lua(pending % (is_pending, count)) == 1
    editor.type("<Esc>")
    wait_until(lambda: editor.lua(pending % (is_pending, count)) == 0, "the cancelling")


def test_cycling(start_neovim: StartNeovim) -> None:
    editor = start_neovim(EMPTY)
    type_and_see(editor, "Ar", "eturn alpha + beta")
    type_and_see(editor, "<C-b>", "eturn alpha - beta (2/3)")
    type_and_see(editor, "<C-b>", "eturn alpha * beta (3/3)")
    type_and_see(editor, "<C-b>", "eturn alpha + beta (1/3)")
    type_and_see(editor, "<C-g>", "eturn alpha * beta (3/3)")
    # What was chosen stays while it is typed, although the server would suggest the first.
    type_and_see(editor, "eturn", " alpha * beta (3/3)")
    editor.type("<Tab>")
    expect(editor, f"{HEAD}    return alpha * beta{TAIL}")


def test_dismissing(start_neovim: StartNeovim) -> None:
    editor = start_neovim(EMPTY)
    type_and_see(editor, "Ar", "eturn alpha + beta")
    type_and_see(editor, "<C-]>", "")
    editor.type("<Tab>")
    expect(editor, HEAD + "    r   " + TAIL)


def test_leaving_insert_mode_clears_and_entering_it_asks(start_neovim: StartNeovim) -> None:
    editor = start_neovim(EMPTY)
    type_and_see(editor, "Ar", "eturn alpha + beta")
    type_and_see(editor, "<Esc>", "")
    type_and_see(editor, "a", "eturn alpha + beta")
    expect(editor, HEAD + "    r" + TAIL)


@pytest.mark.parametrize(
    "setting", ["vim.bo.buftype = 'prompt'", "vim.bo.buftype = 'nofile'", "vim.bo.readonly = true"]
)
def test_prompts_and_read_only_buffers_are_left_alone(start_neovim: StartNeovim, setting: str) -> None:
    editor = start_neovim(EMPTY)
    editor.lua(setting)
    editor.type("Aretu")
    wait_until(lambda: "retu" in editor.text(), "the keys")
    assert editor.lua("vim.wait(100) return vim.g.num_sent") == 0
    assert editor.ghost() == ""


def test_a_completion_menu_is_open(start_neovim: StartNeovim) -> None:
    editor = start_neovim(EMPTY)
    editor.lua("vim.o.completeopt = 'menuone,noinsert'")
    editor.type("Ar")
    see(editor, "eturn alpha + beta")
    editor.lua("vim.fn.complete(5, {'rabbit', 'raven'})")
    wait_until(lambda: editor.lua("return vim.fn.pumvisible()") == 1, "the menu")
    see(editor, "eturn alpha + beta")
    editor.type("<Tab>!")
    expect(editor, HEAD + LINE + "!" + TAIL)
    assert editor.lua("return vim.fn.pumvisible()") == 0


def test_typing_on_with_a_completion_menu_open(start_neovim: StartNeovim) -> None:
    editor = start_neovim(EMPTY)
    editor.lua("vim.o.completeopt = 'menuone,noselect'")
    type_and_see(editor, "Ar", "eturn alpha + beta")
    editor.lua("vim.fn.complete(5, {'return', 'retain', 'retry'})")
    wait_until(lambda: editor.lua("return vim.fn.pumvisible()") == 1, "the menu")
    type_and_see(editor, "et", "urn alpha + beta")
    assert editor.lua("return vim.fn.pumvisible()") == 1
    editor.type("<C-l>")
    expect(editor, HEAD + "    return" + TAIL)


def test_a_closer_that_the_editor_adds(start_neovim: StartNeovim) -> None:
    editor = start_neovim(EMPTY)
    editor.lua("vim.keymap.set('i', '(', '()<Left>')")
    type_and_see(editor, "Aprint", '("😀", alpha)')
    type_and_see(editor, "(", '"😀", alpha')
    editor.type("<Tab>")
    expect(editor, f'{HEAD}    print("😀", alpha){TAIL}')


def test_a_key_that_was_mapped_before_does_what_it_did(start_neovim: StartNeovim) -> None:
    editor = start_neovim("x = 1\ny = 2")
    editor.lua("vim.keymap.set('i', '<C-y>', 'mapped') require('tabcast').setup({ keys = { accept = '<C-y>' } })")
    editor.type("A<C-y>z")
    expect(editor, "x = 1\ny = 2mappedz")


def test_the_plug_mappings(start_neovim: StartNeovim) -> None:
    editor = start_neovim(EMPTY)
    editor.lua("vim.keymap.set('i', '<F2>', '<Plug>(tabcast-accept-word)')")
    type_and_see(editor, "Ar", "eturn alpha + beta")
    editor.type("<F2>")
    expect(editor, HEAD + "    return" + TAIL)


def test_neovims_own_inline_completion_is_not_doubled(start_neovim: StartNeovim) -> None:
    editor = start_neovim(EMPTY, shows="builtin")
    type_and_see(editor, "Ar", "eturn alpha + beta")
    marks = "return #vim.api.nvim_buf_get_extmarks(0, vim.api.nvim_create_namespace('tabcast.ghost'), 0, -1, {})"
    assert editor.lua(marks) == 0


def test_the_command_completes_its_subcommands(start_neovim: StartNeovim) -> None:
    editor = start_neovim(EMPTY)
    complete = "return vim.fn.getcompletion(..., 'cmdline')"
    assert editor.lua(complete, "Tabcast re") == ["restart"]
    assert editor.lua(complete, "Tabcast restart ") == ["engine", "server"]


def test_a_server_that_keeps_ending_is_started_again_a_few_times(start_neovim: StartNeovim, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    script = f"echo >>{starts}; [ $(wc -l <{starts}) = 1 ] && exec {' '.join(STUB)} lsp; exit 3"
    editor = start_neovim(EMPTY, command=["sh", "-c", script])
    editor.lua("require('tabcast.revive').first_pause_ms = 1")
    editor.lua("_G.said = {} vim.notify = function(text) table.insert(said, text) end")
    os.kill(editor.server_pid(), signal.SIGKILL)
    wait_until(lambda: any("keeps ending" in text for text in editor.lua("return said")), "the message")
    assert len(starts.read_text().splitlines()) == 1 + 5
    editor.type("Aret")
    expect(editor, HEAD + "    ret" + TAIL)


def test_restarting(start_neovim: StartNeovim) -> None:
    editor = start_neovim(EMPTY)
    before = editor.server_pid()
    editor.lua("vim.cmd('Tabcast restart')")
    wait_until(lambda: editor.is_attached() and editor.server_pid() != before, "another server")
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
    ghost = ask_until(lambda: editor.type("<BS>."), editor.ghost, "ghost text", limit_s=120)
    (pid,) = engine_pids(Path(os.environ["TABCAST_RUNTIME_DIR"]))
    os.kill(pid, signal.SIGKILL)
    editor.type("<Tab>")
    expect(editor, head + ghost + tail)
    editor.type("<CR><CR><Esc>0Cdef get_name(node):<CR>    return node.")
    ask_until(lambda: editor.type("<BS>."), editor.ghost, "ghost text of another engine", limit_s=120)
    assert engine_pids(Path(os.environ["TABCAST_RUNTIME_DIR"])) != [pid]
