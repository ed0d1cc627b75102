"""Typing in a real Neovim with the plugin's own ghost text."""

from pathlib import Path

import pytest

from tests.editors.conftest import StartNeovim
from tests.editors.neovim import Neovim
from tests.editors.neovim_steps import BLOCK, EMPTY, HEAD, LINE, TAIL, expect, see, type_and_see
from tests.editors.waiting import wait_until

pytestmark = pytest.mark.editor

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


def test_what_is_left_stays_on_the_screen_while_it_is_typed(start_neovim: StartNeovim, tmp_path: Path) -> None:
    editor = start_neovim(EMPTY)
    type_and_see(editor, "Ar", "eturn alpha + beta")
    (tmp_path / "hold").touch()  # the answers to all further keys are under way
    type_and_see(editor, "et", "urn alpha + beta")
    type_and_see(editor, "<BS>", "turn alpha + beta")
    type_and_see(editor, "<C-l>", " alpha + beta")
    type_and_see(editor, "<Left>", "")
    expect(editor, HEAD + "    return" + TAIL)


def test_an_answer_replaces_nothing_that_is_shown_and_fits(start_neovim: StartNeovim, tmp_path: Path) -> None:
    editor = start_neovim(EMPTY, stub=("--fickle",))
    editor.type("Ar")
    wait_until(editor.ghost, "ghost text")
    wait_until(lambda: editor.num_pending() == 0, "the answers")
    shown = editor.ghost()
    num_sent = editor.num_requests()[0]
    type_and_see(editor, "et", shown[2:])
    wait_until(lambda: editor.num_requests()[0] > num_sent and editor.num_pending() == 0, "another answer")
    assert editor.type_at_ghost("<Tab>") == shown[2:]
    expect(editor, f"{HEAD}    r{shown}{TAIL}")


def test_a_server_that_has_another_text_is_asked_again(start_neovim: StartNeovim) -> None:
    editor = start_neovim(EMPTY)
    type_and_see(editor, "Ay", "ield alpha  # gamma")  # `# beta` at first, which was not begun to be taken
    assert editor.num_requests()[0] == 2
    editor.type("<Tab>")
    expect(editor, f"{HEAD}    yield alpha  # gamma{TAIL}")


def test_an_outdated_request_is_cancelled(start_neovim: StartNeovim, tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    editor = start_neovim(EMPTY)
    editor.type("Ar")
    wait_until(lambda: editor.num_requests()[0] >= 1, "a request")
    num_sent = editor.num_requests()[0]
    editor.type("e")
    wait_until(lambda: editor.num_requests()[0] > num_sent, "a newer request")
    assert editor.num_pending() == 1
    editor.type("<Esc>")
    wait_until(lambda: editor.num_pending() == 0, "the cancelling")


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


def test_the_first_text_does_not_wait_for_others(start_neovim: StartNeovim, tmp_path: Path) -> None:
    held = tmp_path / "others"
    held.touch()
    editor = start_neovim(EMPTY, stub=("--hold-others", str(held)))
    editor.lua("require('tabcast.config').auto = false")
    editor.type("Ar")
    editor.lua("require('tabcast').trigger()")
    see(editor, "eturn alpha + beta")
    assert editor.num_pending() == 1
    held.unlink()
    wait_until(lambda: editor.num_pending() == 0, "the others")
    type_and_see(editor, "<C-b>", "eturn alpha - beta (2/3)")


def test_a_text_that_comes_late_is_shown_when_cycling(start_neovim: StartNeovim, tmp_path: Path) -> None:
    held = tmp_path / "others"
    held.touch()
    editor = start_neovim(EMPTY, stub=("--hold-others", str(held)))
    type_and_see(editor, "Ar", "eturn alpha + beta")
    editor.type("<C-b>")
    wait_until(lambda: editor.num_pending() == 1, "the request for others")
    assert editor.ghost() == "eturn alpha + beta"
    held.unlink()
    see(editor, "eturn alpha - beta (2/3)")
    type_and_see(editor, "<C-b>", "eturn alpha * beta (3/3)")


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
def test_prompts_and_read_only_buffers_are_left_alone(
    start_neovim: StartNeovim, nvim_program: Path, setting: str
) -> None:
    if nvim_program.name != "nvim" and "prompt" in setting:
        pytest.skip("this Neovim's own synchronizing fails in a prompt")
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


def test_neovims_own_inline_completion_is_not_doubled(start_neovim: StartNeovim, nvim_program: Path) -> None:
    if nvim_program.name != "nvim":
        pytest.skip("this Neovim has none")
    editor = start_neovim(EMPTY, shows="builtin")
    type_and_see(editor, "Ar", "eturn alpha + beta")
    marks = "return #vim.api.nvim_buf_get_extmarks(0, vim.api.nvim_create_namespace('tabcast.ghost'), 0, -1, {})"
    assert editor.lua(marks) == 0


def test_the_command_completes_its_subcommands(start_neovim: StartNeovim) -> None:
    editor = start_neovim(EMPTY)
    complete = "return vim.fn.getcompletion(..., 'cmdline')"
    assert editor.lua(complete, "Tabcast re") == ["restart"]
    assert editor.lua(complete, "Tabcast restart ") == ["engine", "server"]
