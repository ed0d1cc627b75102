"""The filters, one table of cases each; `|` is the cursor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.filters import filter_text
from lsp_server.filters.blank import drop_blank
from lsp_server.filters.end import cut_at_end, find_end
from lsp_server.filters.repetition import cut_repetition
from lsp_server.filters.suffix import cut_suffix, num_replaced
from lsp_server.trigger import Mode
from tests.lsp.places import place_at

BODY = "def f():\n    |\n"

END_CASES: list[tuple[str, Mode, str, str]] = [
    ("x = |", "line", "1\ny = 2", "1"),
    ("x = |", "line", "\ny = 2", ""),
    ("x = |", "line", "1  ", "1"),
    (BODY, "block", "return 1\n", "return 1"),
    (BODY, "block", "return 1\n\n\ndef g():\n    pass", "return 1"),
    (BODY, "block", "a = 1\n    b = 2\n    return a\nx = 3", "a = 1\n    b = 2\n    return a"),
    (BODY, "block", "if a:\n        return 1\n    return 2\n", "if a:\n        return 1\n    return 2"),
    (BODY, "block", "if a:\n        b\n    else:\n        c\nd", "if a:\n        b\n    else:\n        c"),
    (BODY, "block", "a = 1\n\n    b = 2\n", "a = 1\n\n    b = 2"),
    (BODY, "block", "x = [\n        1,\n    ]\n    y\n", "x = [\n        1,\n    ]\n    y"),
    (BODY, "block", "def inner():\n        pass\n    return inner", "def inner():\n        pass\n    return inner"),
    ("def f():\n|\n", "block", "    return 1\nx", "    return 1"),
    ("def f():\n|\n", "block", "x = 1\n", ""),
    ("def f():|\n", "block", "\n    return 1\n\ndef g():", "\n    return 1"),
    ("def f():|\n", "block", " pass\nx = 1", " pass"),
    ("class A:\n    |\n", "block", "def a(self):\n        pass\n\n    def b(self):\n", "def a(self):\n        pass"),
    (
        "class A:\n    |\n",
        "block",
        "@property\n    def a(self):\n        x\n    @b",
        "@property\n    def a(self):\n        x",
    ),
    ("import os\n|\n", "block", "def f():\n    pass\n\n\nx = 1\n", "def f():\n    pass"),
    ("import os\n|\n", "block", "def f():\n    pass\nclass B:\n", "def f():\n    pass"),
    ("import os\n|\n", "block", "import sys\nimport re\n\nx = 1\n", "import sys\nimport re"),
    ("import os\n|\n", "block", "if a:\n    b\nelse:\n    c\nd = 1", "if a:\n    b\nelse:\n    c"),
    ("import os\n|\n", "block", "f(\n    1,\n)\ng()\n", "f(\n    1,\n)"),
    ("\tif a:\n\t\t|", "block", "b\n\t\tc\n\td", "b\n\t\tc"),
]


@pytest.mark.parametrize(("place", "mode", "text", "expected"), END_CASES)
def test_cut_at_end(place: str, mode: Mode, text: str, expected: str) -> None:
    assert cut_at_end(text, place_at(place), mode) == expected


@pytest.mark.parametrize(("place", "mode", "text", "expected"), END_CASES)
def test_an_end_found_while_streaming_is_the_end(place: str, mode: Mode, text: str, expected: str) -> None:
    """Whatever has come so far, an end that is found then gives the same text as the whole."""
    for length in range(len(text) + 1):
        end = find_end(text[:length], place_at(place), mode)
        if end is not None:
            assert text[:end].rstrip() == expected


def test_the_stream_is_stopped_at_the_first_letter_of_a_dedent() -> None:
    assert find_end("return 1\n", place_at(BODY), "block") is None
    assert find_end("return 1\n\n\nd", place_at(BODY), "block") == len("return 1\n\n")


@pytest.mark.parametrize(
    ("place", "text", "expected"),
    [
        ("print(|)", '"hello")', '"hello"'),
        ("print(|)", "f(1)", "f(1)"),
        ("print(|)", "f(1))", "f(1)"),
        ('print("|")', 'hello")', "hello"),
        ('print("|")', 'hello", "x")', 'hello", "x'),
        ("print(|)", "a, b):", "a, b):"),
        ("f(g(|))", "x))", "x"),
        ("x = [|],", "1, 2],", "1, 2"),
        ("foo(|, bar)", "a, bar)", "a"),
        ("foo(|, bar)", "a", "a"),
        ("def f():\n    |\n    return x", "y = 1\n    return x", "y = 1"),
        ("def f():\n    |\n    return x", "return x", ""),
        ("def f():\n    |\n\n    return result", "y = 1\n    return resu", "y = 1"),
        ("def f():\n    |\n    return x", "y = 1\n    return xyz", "y = 1\n    return xyz"),
        ("if a:\n    |\nelse:\n    c", "b\nelse:\n    c", "b"),
        ("x = |\nx = 1", "1", ""),
        ("x = |\ny = 1", "1", "1"),
    ],
)
def test_cut_suffix(place: str, text: str, expected: str) -> None:
    assert cut_suffix(text, place_at(place), "block") == expected


@pytest.mark.parametrize(
    ("text", "tail", "expected"),
    [("a, b):", ")", 1), ("a", ")", 0), ("f(a)", ")", 0), ('y"): pass', ")", 1), ('y")', '")', 2), ("]", ")", 0)],
)
def test_num_replaced(text: str, tail: str, expected: int) -> None:
    assert num_replaced(text, tail) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1\nb = 2\nc = 3", "a = 1\nb = 2\nc = 3"),
        ("x.append(1)\nx.append(1)\nx.append(1)", "x.append(1)"),
        ("x()\nx()", "x()\nx()"),
        ("a\nb\na\nb\na\nb\na", "a\nb"),
        ("f(a, b)(a, b)(a, b)(a, b)(a, b)", ""),
        ("x = 1\ny = f(a, b)(a, b)(a, b)(a, b)(a, b)\nz = 2", "x = 1"),
        ("# ----------------------------", "# ----------------------------"),
        ("[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]", "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]"),
        ("a = {\n}\n}\n}", "a = {\n}\n}\n}"),
    ],
)
def test_cut_repetition(text: str, expected: str) -> None:
    assert cut_repetition(text, place_at("|"), "block") == expected


@pytest.mark.parametrize(("text", "expected"), [("", ""), (" \n\t", ""), (" x", " x")])
def test_drop_blank(text: str, expected: str) -> None:
    assert drop_blank(text, place_at("|"), "line") == expected


def test_the_filter_that_dropped_a_text_is_named() -> None:
    assert filter_text("\n", place_at("x = |"), "line").dropped_by == "end"
    assert filter_text("return x", place_at("def f():\n    |\n    return x"), "block").dropped_by == "suffix"
    assert filter_text("1", place_at("x = |"), "line") == ("1", "")


CODE = st.text(alphabet="ab :()\"'\n\t", max_size=40)


@given(CODE, CODE, CODE, st.sampled_from(["line", "block"]))
def test_filters_only_cut_at_the_end(before: str, after: str, text: str, mode: Mode) -> None:
    place = place_at(f"{before}|{after}")
    assert text.startswith(filter_text(text, place, mode).text)
