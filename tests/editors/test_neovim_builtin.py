"""Typing in a real Neovim with its built-in inline completion, set up as editors/README.md says."""

import contextlib
from functools import partial
from pathlib import Path

import pytest

from tests.editors.conftest import StartNeovim, find_neovim
from tests.editors.neovim import Neovim
from tests.editors.waiting import ask_until, wait_until

pytestmark = pytest.mark.editor

HEAD = "def add(alpha, beta):\n"
TAIL = "\n\nprint(add(1, 2))"
# The stub completes this line, whatever its beginning.
LINE = "    return alpha + beta"


@pytest.fixture(scope="module")
def nvim_program() -> Path:
    """One with built-in inline completion."""
    return find_neovim("nvim")


@pytest.fixture
def start(start_neovim: StartNeovim) -> StartNeovim:
    """Starts Neovim with its built-in inline completion."""
    return partial(start_neovim, shows="builtin")


def type_and_see(editor: Neovim, keys: str, ghost: str) -> None:
    """Type, and wait until exactly this is shown."""
    editor.type(keys)
    with contextlib.suppress(AssertionError):
        wait_until(lambda: editor.ghost() == ghost, f"the ghost text {ghost!r}")
    assert editor.ghost() == ghost


def expect(editor: Neovim, text: str) -> None:
    """Wait until the whole document is this."""
    with contextlib.suppress(AssertionError):
        wait_until(lambda: editor.text() == text, "the document")
    assert editor.text() == text


def test_ghost_text_is_seen_and_accepted(start: StartNeovim) -> None:
    editor = start(HEAD + "    " + TAIL)
    type_and_see(editor, "Ar", "eturn alpha + beta")
    editor.type("<Tab>")
    expect(editor, HEAD + LINE + TAIL)
    editor.type("!")
    expect(editor, HEAD + LINE + "!" + TAIL)


def test_several_lines(start: StartNeovim) -> None:
    editor = start(HEAD + "    " + TAIL)
    type_and_see(editor, "Afor", " item in items:\n        total += item\n    return total")
    editor.type("<Tab>")
    expected = f"{HEAD}    for item in items:\n        total += item\n    return total{TAIL}"
    expect(editor, expected)


def test_text_outside_the_basic_plane(start: StartNeovim) -> None:
    editor = start(HEAD + "    " + TAIL)
    type_and_see(editor, 'Aprint("😀', '", alpha)')
    editor.type("<Tab>")
    expect(editor, f'{HEAD}    print("😀", alpha){TAIL}')


def test_a_closer_behind_the_cursor_is_not_doubled(start: StartNeovim) -> None:
    editor = start("x = 1\nadd()")
    type_and_see(editor, "i", "alpha, beta)")
    editor.type("<Tab>")
    expect(editor, "x = 1\nadd(alpha, beta)")


def test_accept_before_the_answer_to_the_last_key(start: StartNeovim) -> None:
    editor = start(HEAD + "    " + TAIL)
    type_and_see(editor, "Ar", "eturn alpha + beta")
    editor.type("et<Tab>")
    expect(editor, HEAD + LINE + TAIL)


def test_accept_while_the_newer_request_is_under_way(start: StartNeovim, tmp_path: Path) -> None:
    editor = start(HEAD + "    " + TAIL)
    type_and_see(editor, "Ar", "eturn alpha + beta")
    (tmp_path / "hold").touch()
    num_sent, _ = editor.num_requests()
    editor.type("e")
    wait_until(lambda: editor.num_requests()[0] > num_sent, "the newer request")
    editor.type("<Tab>")
    expect(editor, HEAD + LINE + TAIL)


@pytest.mark.parametrize("keys", ["x", "et x", "<Left>x", "<CR>"])
def test_a_key_that_contradicts(start: StartNeovim, keys: str) -> None:
    editor = start(HEAD + "    " + TAIL)
    type_and_see(editor, "Ar", "eturn alpha + beta")
    editor.type(keys + "<Tab>")
    # The accepting is scheduled; the second `q` is typed after it.
    editor.type("q")
    typed = {"x": "rxq", "et x": "ret xq", "<Left>x": "xqr", "<CR>": "r\n    q"}[keys]
    expect(editor, f"{HEAD}    {typed}{TAIL}")


def test_backspace_then_accept(start: StartNeovim) -> None:
    editor = start(HEAD + "    " + TAIL)
    type_and_see(editor, "Aretu", "rn alpha + beta")
    editor.type("<BS><BS><Tab>")
    expect(editor, HEAD + LINE + TAIL)


def test_typing_on_before_a_closer_then_accept(start: StartNeovim) -> None:
    editor = start("x = 1\nadd()")
    type_and_see(editor, "i", "alpha, beta)")
    editor.type("al<Tab>")
    expect(editor, "x = 1\nadd(alpha, beta)")


def test_tab_is_itself_where_nothing_is_shown(start: StartNeovim) -> None:
    editor = start("x = 1\ny = 2")
    editor.type("A<Tab>z")
    expect(editor, "x = 1\ny = 2   z")


def test_real_server(start: StartNeovim, tabcast_command: list[str]) -> None:
    head = "class A:\n    def __init__(self, name):\n        self.name = name\n\n    def f(self):\n        return self."
    tail = "\n\n\nx = A(1)"
    editor = start(head + tail, command=tabcast_command)
    editor.type("6GA")
    # The engine is loading at first, and Neovim asks only when something changes.
    ask_until(lambda: editor.type("<BS>."), editor.ghost, "ghost text")
    ghost = editor.type_at_ghost("<Tab>")
    expect(editor, head + ghost + tail)
