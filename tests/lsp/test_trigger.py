"""Should we ask, and for a line or a block: a table with `|` as the cursor."""

from __future__ import annotations

import pytest

from lsp_server.trigger import decide
from tests.lsp.places import place_at

CASES = [
    ("|", None),
    ("  \n|\n\n", None),
    ("x = |", "line"),
    ("ret|", "line"),
    ("foo_|bar", None),
    ("foo(|)", "line"),
    ("foo([|]):", "line"),
    ("foo(|, bar)", "line"),
    ("x = |  # why", "line"),
    ("def f():\n    |\n", "block"),
    ("def f():\n    |\n\ndef g(): pass", "block"),
    ("x = 1\n|\ny = 2", "block"),
    ("x = 1\n|  \n", "block"),
    ("def f():|\n", "block"),
    ("def f():|\n\ndef g(): pass", "block"),
    ("def f():|\n    pass", "line"),
    ("d = {'a':|", "block"),
    ("    x = f(|", "line"),
]


@pytest.mark.parametrize(("text", "mode"), CASES)
def test_decide(text: str, mode: str | None) -> None:
    assert decide(place_at(text), is_invoked=False).mode == mode


def test_inside_a_word_only_by_hand() -> None:
    assert decide(place_at("foo_|bar"), is_invoked=True).mode == "line"
