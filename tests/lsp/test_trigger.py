"""Should we ask, and for a line or a block: a table with `|` as the cursor."""

from __future__ import annotations

import pytest

from lsp_server.completion.trigger import MAX_READ_CHARS, debounce_s, decide
from lsp_server.documents.store import Place
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
    ("d = {'a':|", "line"),
    ("x[1:|", "line"),
    ("f = lambda:|", "line"),
    ("x: |", "line"),
    ("# for example:|", "line"),
    ("else:|", "block"),
    ("async with a() as b:|", "block"),
    ("def f(\n    a,\n):|\n", "block"),
    ("def f(\n    a: int,\n    |\n", "line"),
    ("x = [\n    1,\n    |\n]\n", "line"),
    ("x = [\n    1,\n]\n|\n", "block"),
    ('def f():\n    """What it does.\n    |\n', "line"),
    ('def f():\n    """What it does."""\n    |\n', "block"),
    ('it does.\n"""\nx = 1\n|\n', "block"),
    ("s = '(' # don't (\n|\n", "block"),
    ("s = 'it\\'s (' + \"(\"\n|\n", "block"),
    ("    x = f(|", "line"),
]


@pytest.mark.parametrize(("text", "mode"), CASES)
def test_decide(text: str, mode: str | None) -> None:
    assert decide(place_at(text), is_invoked=False).mode == mode


BRACES = [
    ("function f() {|\n", "block"),
    ("function f() {\n  |\n}", "block"),
    ("const o = f(\n  |\n)", "line"),
    ("/* don't (\n */\nx = 1;\n|", "block"),
    ("/* what\n|", "line"),
    ("x = '(' // it's (\n|", "block"),
    ("case 1:|", "line"),
]


@pytest.mark.parametrize(("text", "mode"), BRACES)
def test_decide_in_languages_with_braces(text: str, mode: str | None) -> None:
    assert decide(place_at(text), is_invoked=False, language="javascript").mode == mode


@pytest.mark.parametrize(
    ("head", "gap_s", "since_change_s", "answer_s", "expected"),
    [
        ("x", 0.2, 0.0, 0.1, 0.0),  # the answer comes before the next key
        ("x", 0.04, 0.0, 0.1, 0.06),  # until a key is overdue
        ("x", 0.04, 0.05, 0.1, 0.01),  # what the editor waited counts
        ("x", 0.04, 0.2, 0.1, 0.0),
        ("x", 0.15, 0.0, 0.3, 0.075),  # never long
        ("x.", 0.04, 0.0, 0.1, 0.0),  # something new begins
        ("    ", 0.04, 0.0, 0.1, 0.0),
    ],
)
def test_debounce(head: str, gap_s: float, since_change_s: float, answer_s: float, expected: float) -> None:
    place = place_at(f"{head}|")
    assert debounce_s(place, gap_s=gap_s, since_change_s=since_change_s, answer_s=answer_s) == pytest.approx(expected)


def test_inside_a_word_only_by_hand() -> None:
    assert decide(place_at("foo_|bar"), is_invoked=True).mode == "line"


@pytest.mark.parametrize(
    ("above", "mode"),
    [
        (("f(", "a" * (MAX_READ_CHARS - 10)), "line"),
        (("f(", "a" * MAX_READ_CHARS), "block"),  # so far above nothing is looked for
        (("f(" + "a" * MAX_READ_CHARS,), "block"),
        (("a" * MAX_READ_CHARS + "f(",), "line"),
        (("function a(b){return b.c(1,'x')};" * 30_000 + "f(",) * 40, "line"),
    ],
)
def test_long_lines_are_read_from_their_end(above: tuple[str, ...], mode: str) -> None:
    assert decide(Place(above=above), is_invoked=False, language="javascript").mode == mode
