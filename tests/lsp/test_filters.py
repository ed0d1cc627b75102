"""The filters, one table of cases each; `|` is the cursor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.filters import FILTERS, Surroundings, filter_text
from lsp_server.filters.closers import num_replaced
from lsp_server.filters.end import find_end
from lsp_server.filters.rewriting import Rewriter, rewrite
from lsp_server.trigger import Mode
from tests.lsp.places import place_at

BODY = "def f():\n    |\n"
EMPTY = "|"

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


SPECIAL_TOKEN_CASES = [
    (EMPTY, "a = 1\n<|fim_middle|>b", "a = 1\n"),
    (EMPTY, "<|endoftext|>", ""),
    (EMPTY, "a<fim_suffix>b", "a"),
    (EMPTY, "a<[fim-prefix]>b", "a"),
    (EMPTY, "a<｜fim▁end｜>b", "a"),
    (EMPTY, "a<PRE>b", "a"),
    (EMPTY, "a[SUFFIX]b", "a"),
    (EMPTY, "a</s>", "a"),
    (EMPTY, "'<s>text</s>'", "'<s>text</s>'"),
    (EMPTY, "a < b | c > d", "a < b | c > d"),
    (EMPTY, "List[int]", "List[int]"),
    ("TOKENS = ['[SUFFIX]', |]", "'[SUFFIX]'", "'[SUFFIX]'"),
]

UNFINISHED_CASES: list[tuple[Mode, str, str]] = [
    ("block", "a = 1\n    b = unfini", "a = 1\n"),
    ("block", "a = unfini", ""),
    ("line", "a = call(unfini", "a = call("),
    ("line", "a = call(unfini)", "a = call(unfini)"),
    ("line", "a = 1\nb", "a = 1\nb"),
]

REPETITION_CASES = [
    (EMPTY, "a = 1\nb = 2\nc = 3", "a = 1\nb = 2\nc = 3"),
    (EMPTY, "x.append(1)\nx.append(1)\nx.append(1)", "x.append(1)"),
    (EMPTY, "x()\nx()", "x()\nx()"),
    (EMPTY, "self.a = a\nself.a = a", "self.a = a"),
    ("    |", "self.a = a\n    self.a = a", "self.a = a"),
    (EMPTY, "self.a = a\n    self.a = a", "self.a = a\n    self.a = a"),
    (EMPTY, "a\nb\na\nb\na\nb\na", "a\nb"),
    (EMPTY, "f(a, b)(a, b)(a, b)(a, b)(a, b)", ""),
    (EMPTY, "x = 1\ny = f(a, b)(a, b)(a, b)(a, b)(a, b)\nz = 2", "x = 1"),
    (EMPTY, "# " + "-" * 70, "# " + "-" * 70),
    (EMPTY, "=" * 60, "=" * 60),
    (EMPTY, "# " + "-" * 200, ""),
    (EMPTY, "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]", "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]"),
    (EMPTY, "[" + "0, " * 30, ""),
    (EMPTY, "x = 1\ny = " + "()" * 30, "x = 1"),
    (EMPTY, "x" + ")" * 45, ""),
    (EMPTY, "a = {\n}\n}\n}", "a = {\n}\n}\n}"),
    (EMPTY, "a\n" + "}\n" * 8, "a\n}"),
    ("x = compute(1)\n|", "x = compute(1)", ""),
    ("x = compute(1)\nx = |", "compute(1)", ""),
    ("x = compute(1)\nx = |", "compute(2)", "compute(2)"),
    ("    pass\n    |", "pass", "pass"),
]

NEXT_LINE_CASES = [
    ("def f():\n    |\n    return x", "y = 1\n    return x", "y = 1"),
    ("def f():\n    |\n    return x", "return x", ""),
    ("def f():\n    |\n\n    return result", "y = 1\n    return resu", "y = 1"),
    ("def f():\n    |\n    return x", "y = 1\n    return xyz", "y = 1\n    return xyz"),
    ("if a:\n    |\nelse:\n    c", "b\nelse:\n    c", "b"),
    ("x = |\nx = 1", "1", ""),
    ("x = |\ny = 1", "1", "1"),
]

CLOSER_CASES = [
    ("print(|)", '"hello")', '"hello"'),
    ("print(|)", '"hello"', '"hello"'),
    ("print(|)", "f(1)", "f(1)"),
    ("print(|)", "f(1))", "f(1)"),
    ('print("|")', 'hello")', "hello"),
    ('print("|")', 'hello", "x")', 'hello", "x'),
    ("print(|)", "a, b):", "a, b):"),
    ("f(g(|))", "x))", "x"),
    ("x = [|],", "1, 2],", "1, 2"),
    ("foo(|, bar)", "a, bar)", "a"),
    ("foo(|, bar)", "a", "a"),
]

DELETED_CASES = [
    ("return x", "return x", ""),
    ("return x + 1", "return x", ""),
    ("  return x\n", "return x", ""),
    ("return", "return x", "return x"),
    ("", "return x", "return x"),
]

TRAILING_CASES = [(EMPTY, "a  \n \n", "a"), (EMPTY, "a", "a"), (EMPTY, "  ", "")]
BLANK_CASES = [(EMPTY, "", ""), (EMPTY, " \n\t", ""), (EMPTY, " x", " x")]


def test_every_filter_has_a_table() -> None:
    tables = {name.replace(" ", "_").rstrip("s").upper() for name, _ in FILTERS}
    assert {f"{table}_CASES" for table in tables} <= set(globals())


def apply(name: str, text: str, place: str = EMPTY, mode: Mode = "block", **more: object) -> str:
    around = Surroundings(place=place_at(place), mode=mode, **more)  # type: ignore[arg-type]
    return dict(FILTERS)[name](text, around)


@pytest.mark.parametrize(("place", "mode", "text", "expected"), END_CASES)
def test_end(place: str, mode: Mode, text: str, expected: str) -> None:
    assert apply("end", text, place, mode) == expected


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
    ("name", "place", "text", "expected"),
    [
        *(("special tokens", *case) for case in SPECIAL_TOKEN_CASES),
        *(("repetition", *case) for case in REPETITION_CASES),
        *(("next lines", *case) for case in NEXT_LINE_CASES),
        *(("closers", *case) for case in CLOSER_CASES),
        *(("trailing", *case) for case in TRAILING_CASES),
        *(("blank", *case) for case in BLANK_CASES),
    ],
)
def test_filter(name: str, place: str, text: str, expected: str) -> None:
    assert apply(name, text, place) == expected


@pytest.mark.parametrize(("mode", "text", "expected"), UNFINISHED_CASES)
def test_unfinished(mode: Mode, text: str, expected: str) -> None:
    assert apply("unfinished", text, mode=mode, is_cut_short=True) == expected
    assert apply("unfinished", text, mode=mode) == text


@pytest.mark.parametrize(("deleted", "text", "expected"), DELETED_CASES)
def test_deleted(deleted: str, text: str, expected: str) -> None:
    assert apply("deleted", text, deleted=deleted) == expected


@pytest.mark.parametrize(
    ("text", "tail", "expected"),
    [("a, b):", ")", 1), ("a", ")", 0), ("f(a)", ")", 0), ('y"): pass', ")", 1), ('y")', '")', 2), ("]", ")", 0)],
)
def test_num_replaced(text: str, tail: str, expected: int) -> None:
    assert num_replaced(text, tail) == expected


def test_the_filter_that_dropped_a_text_is_named() -> None:
    def dropped_by(text: str, place: str, mode: Mode) -> str:
        return filter_text(text, Surroundings(place=place_at(place), mode=mode)).dropped_by

    assert dropped_by("\n", "x = |", "line") == "end"
    assert dropped_by("return x", "def f():\n    |\n    return x", "block") == "next lines"
    assert filter_text("1", Surroundings(place=place_at("x = |"), mode="line")) == ("1", "")


CODE = st.text(alphabet="ab :()\"'\n\t<|>", max_size=40)


@given(CODE, CODE, CODE, st.sampled_from(["line", "block"]), st.booleans(), CODE)
def test_filters_only_cut_at_the_end(
    before: str, after: str, text: str, mode: Mode, is_cut_short: bool, deleted: str
) -> None:
    around = Surroundings(place=place_at(f"{before}|{after}"), mode=mode, is_cut_short=is_cut_short, deleted=deleted)
    assert text.startswith(filter_text(text, around).text)


TABBED = "class A:\n\tdef f(self):\n\t\tpass\n\n\tdef g(self):\n\t\t|"
TWO_WIDE = "class A:\n  def f(self):\n    pass\n\n  def g(self):\n    |"


@pytest.mark.parametrize(
    ("place", "text", "expected"),
    [
        (BODY, "if a:\n        b\n    c", "if a:\n        b\n    c"),
        (TABBED, "if a:\n            b\n        c", "if a:\n\t\t\tb\n\t\tc"),
        (TABBED, "if a:\n\t\t\tb", "if a:\n\t\t\tb"),
        (BODY, "if a:\n\t\tb\n\tc", "if a:\n        b\n    c"),
        (
            TWO_WIDE,
            "if a:\n        b\n        if c:\n            d\n    e",
            "if a:\n      b\n      if c:\n        d\n    e",
        ),
        (TWO_WIDE, "if a:\n      b\n    e", "if a:\n      b\n    e"),
        (BODY, "x = f(a,\n          b)", "x = f(a,\n          b)"),
        ("x = |", "[\n  1,\n]", "[\n  1,\n]"),
        (BODY, "a = 1  \n    \n    b = 2\t\n", "a = 1\n\n    b = 2\n"),
        (BODY, "a\r\n    b", "a\n    b"),
    ],
)
def test_rewrite(place: str, text: str, expected: str) -> None:
    assert rewrite(text, place_at(place)) == expected


@given(CODE, CODE, st.integers(1, 5))
def test_rewriting_by_pieces_is_rewriting_the_whole(before: str, text: str, size: int) -> None:
    rewriter = Rewriter(place_at(f"{before}|"))
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert "".join(map(rewriter.feed, pieces)) == rewrite(text, place_at(f"{before}|"))
