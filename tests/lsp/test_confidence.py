"""How much of a text is shown: whole statements that are probable enough, and what is of use by itself."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.filters.calibration import SHOWS_ALL, Bounds, bounds_of
from lsp_server.filters.confidence import ScoredSpan, cut_unlikely, is_worth_showing
from tests.lsp.places import place_at

SURE, UNSURE, NO = -0.01, -0.6, -5.0
BOUNDS = Bounds(math.log(0.3), math.log(0.3))
BODY = "def f(x):\n    |\n"


def shown(place: str, pieces: list[tuple[str, float]], language: str = "python", num_typed: int = 0) -> str:
    text = "".join(text for text, _ in pieces)[num_typed:]
    likely = [ScoredSpan(len(text), log_prob) for text, log_prob in pieces]
    return cut_unlikely(text, likely, num_typed, BOUNDS, place_at(place), language)


@pytest.mark.parametrize(
    ("place", "pieces", "expected"),
    [
        (BODY, [("x = 1", SURE), ("\n", SURE), ("    y = 2", SURE)], "x = 1\n    y = 2"),
        (BODY, [("x = 1", SURE), ("\n", SURE), ("    y = 2", NO)], "x = 1"),
        (BODY, [("x = 1", NO), ("\n", SURE), ("    y = 2", SURE)], ""),
        # Each statement has a chance of its own, however long the block is.
        (BODY, [(f"x{i} = {i}\n    ", UNSURE) for i in range(9)], "".join(f"x{i} = {i}\n    " for i in range(9))),
        # A call over several lines is one statement.
        (BODY, [("abc\n    f(", SURE), ("\n        x,", SURE), ("\n    y", NO), (")\n", SURE)], "abc"),
        (BODY, [("x = f(1)", SURE), (" or", NO), (" y", SURE)], "x = f(1)"),
        (BODY, [("x = f(1)", SURE), (".g", NO), ("()", SURE)], ""),
        (BODY, [("x = f(1)", SURE), (" + 2", NO), ("\n", SURE)], ""),
        (BODY, [("x = f(1)", SURE), ("\n", NO), ("    y", SURE)], "x = f(1)"),
        # A block's head is worth showing by itself, and not at the end of other statements; nor is a comment there.
        (BODY, [("if x:", SURE), ("\n", SURE), ("        y()", NO)], "if x:"),
        (BODY, [("a()\n", SURE), ("    if x:", SURE), ("\n", SURE), ("        y()", NO)], "a()"),
        (BODY, [("a()\n", SURE), ("    # Then b.", SURE), ("\n", SURE), ("    c()", NO)], "a()"),
        # The name that the user has begun, and an argument of a call that was there.
        ("x.app|\n", [("end", SURE), ("(", SURE), ("y", NO), (")", SURE)], "end"),
        ("x.|\n", [("append", SURE), ("(", SURE), ("y", NO), (")", SURE)], "append"),
        ("f(|)\n", [("first", SURE), (", ", NO), ("last", SURE)], "first"),
    ],
)
def test_whole_thoughts_are_shown(place: str, pieces: list[tuple[str, float]], expected: str) -> None:
    assert shown(place, pieces) == expected


@pytest.mark.parametrize(
    ("place", "pieces", "language", "expected"),
    [
        (
            "x = 1  # Take|\n",
            [(" the", SURE), (" first", SURE), (" of", SURE), (" them", NO)],
            "python",
            " the first of",
        ),
        ('def f():\n    """Take|\n', [(" the", SURE), (" first.", SURE), (" Or", NO)], "python", " the first"),
        ("x := 1 // Take|\n", [(" the", SURE), (" first", SURE), (" one", NO)], "go", " the first"),
        ("x := 1 // Take|\n", [(" the", SURE), (" first", SURE), ("ling", NO)], "go", ""),
        ("/** Take|\n */\n", [(" the", SURE), (" fir", SURE), ("st", NO), (" one", SURE)], "typescript", ""),
        ("# Pro|\n", [("duct", SURE), (" of", SURE), (" all", NO)], "python", "duct of"),
        # A word alone is too little, and a phrase has to be surer than a statement.
        ("# Take|\n", [(" the", SURE), (" first", NO)], "python", ""),
        ("# Take|\n", [(" the", UNSURE), (" first", UNSURE), (" one", NO)], "python", ""),
        # In code, in strings and in front of a comment no phrase is looked for.
        ("x = |\n", [("not", SURE), (" a", SURE), (" phrase", NO)], "python", ""),
        ('x = f("Take|")\n', [(" the", SURE), (" first", SURE), (" one", NO)], "python", ""),
    ],
)
def test_in_comments_a_phrase_is_of_use(
    place: str, pieces: list[tuple[str, float]], language: str, expected: str
) -> None:
    assert shown(place, pieces, language) == expected


@pytest.mark.parametrize(
    ("place", "pieces", "language"),
    [
        (BODY, [("return", SURE), (" sum", SURE), ("(", NO), ("x)", SURE)], "python"),
        (BODY, [("return", SURE), (" x", NO)], "python"),
        (BODY, [("assert", SURE), (" merge([", SURE), ("x", NO), ("])", SURE)], "python"),
        (BODY, [("product", SURE), (" = Product", SURE), ("(", NO), (")", SURE)], "python"),
        (BODY, [("busiest_day =", SURE), (" max", NO), ("(x)", SURE)], "python"),
        (BODY, [("result", SURE), (" =", NO), (" 1", SURE)], "python"),
        ("function f() {\n  |\n}\n", [("const", SURE), (" job", NO), (" = 1;", SURE)], "typescript"),
        ("var c = Cache{\n  |\n}\n", [("capacity:", SURE), (" size", NO), (",", SURE)], "go"),
        ("fn f() {\n    |\n}\n", [("write!(", SURE), ('f, "unexpected', SURE), (" x", NO), ('")', SURE)], "rust"),
        ("void f() {\n  |\n}\n", [("throw", SURE), (" std::invalid_argument", SURE), ("(", NO), (");", SURE)], "cpp"),
        ("  throw |\n", [("std::invalid_argument", SURE), ("(", NO), (");", SURE)], "cpp"),
        ("steps:\n  |\n", [("python-version:", SURE), (' "', SURE), ("3.11", NO), ('"', SURE)], "yaml"),
    ],
)
def test_nothing_is_shown_rather_than_a_stub(place: str, pieces: list[tuple[str, float]], language: str) -> None:
    assert not shown(place, pieces, language)


@pytest.mark.parametrize(
    ("pieces", "num_typed", "expected"),
    [
        ([("foo", NO), ("(", SURE), ("bar", SURE)], 3, "(bar"),
        ([("foo", NO), ("(", SURE), ("bar", SURE)], 1, "oo(bar"),
        ([("fooo", SURE), ("(", SURE), ("bar", NO)], 1, "ooo"),
    ],
)
def test_what_is_typed_is_certain(pieces: list[tuple[str, float]], num_typed: int, expected: str) -> None:
    assert shown(f"{''.join(text for text, _ in pieces)[:num_typed]}|", pieces, num_typed=num_typed) == expected


def test_nothing_told_and_no_bound_show_all() -> None:
    likely, place = [ScoredSpan(3, NO)], place_at("|")
    assert cut_unlikely("foo", [], 0, BOUNDS, place, "python") == "foo"
    assert cut_unlikely("foo", likely, 0, SHOWS_ALL, place, "python") == "foo"
    assert bounds_of(0, "any") == SHOWS_ALL


PIECES = st.lists(st.tuples(st.text(alphabet="ab_ (.\n", min_size=1, max_size=4), st.floats(-2, 0)), max_size=8)


@given(PIECES)
def test_what_is_shown_only_grows_from_there_as_it_is_typed(pieces: list[tuple[str, float]]) -> None:
    """Whoever types along never sees the end of the text come nearer, but for what was of use where it began."""
    whole = "".join(text for text, _ in pieces)
    reach = 0
    for num_typed in range(len(whole)):
        now = shown(f"{whole[:num_typed]}|", pieces, "markdown", num_typed)
        assert whole[num_typed:].startswith(now)
        if "\n" in now:
            assert num_typed + len(now) >= reach
            reach = num_typed + len(now)


@given(st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_higher_confidence_never_means_a_lower_bound(low: float, high: float) -> None:
    low, high = sorted((low, high))
    assert bounds_of(low, "any") <= bounds_of(high, "any")


@pytest.mark.parametrize(("text", "expected"), [("foo", True), ("a b", False), ("):\n  x", True), ("", False)])
def test_is_worth_showing(text: str, expected: bool) -> None:
    assert is_worth_showing(text) is expected
