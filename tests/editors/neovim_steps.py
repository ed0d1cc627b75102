"""What tests of Neovim do again and again: type, see, compare the whole document; and the document they type into."""

from tests.editors.neovim import Neovim
from tests.editors.waiting import wait_until

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
