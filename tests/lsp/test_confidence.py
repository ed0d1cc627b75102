"""How much of a text is shown: by the product of its tokens' probabilities, between words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.filters.confidence import ScoredSpan, cut_unlikely, is_worth_showing

SURE, UNSURE, NO = -0.01, -0.6, -5.0


def likely(*pairs: tuple[str, float]) -> list[ScoredSpan]:
    return [ScoredSpan(len(text), log_prob) for text, log_prob in pairs]


@pytest.mark.parametrize(
    ("pieces", "num_typed", "expected"),
    [
        ([("foo", SURE), ("(", SURE), ("bar", SURE)], 0, "foo(bar"),
        ([("foo", SURE), ("(", SURE), ("bar", NO)], 0, "foo("),
        ([("foo", SURE), ("_bar", NO), ("(", SURE)], 0, ""),
        ([("a.foo", SURE), ("_bar", NO), ("(", SURE)], 0, "a."),
        ([("foo", UNSURE), ("(", UNSURE), ("bar", UNSURE)], 0, "foo("),
        ([("foo", NO), ("(", SURE), ("bar", SURE)], 0, ""),
        ([("foo", NO), ("(", SURE), ("bar", SURE)], 3, "(bar"),
        ([("foo", NO), ("(", SURE), ("bar", SURE)], 1, "oo(bar"),
        ([("a = ", SURE), ("1", NO)], 0, "a ="),
        ([("a\n", SURE), ("b", NO)], 0, "a"),
        ([], 0, ""),
    ],
)
def test_cut_unlikely(pieces: list[tuple[str, float]], num_typed: int, expected: str) -> None:
    text = "".join(text for text, _ in pieces)[num_typed:]
    assert cut_unlikely(text, likely(*pieces), num_typed, 0.3) == expected


@pytest.mark.parametrize(
    ("pieces", "whole", "expected"),
    [
        ([("x = foo", SURE), ("(", SURE), ("bar", SURE)], ["x = foo"], "x = foo"),
        ([("x = foo", SURE), ("(", SURE), ("bar)", SURE)], ["x = foo", "x = foo(bar)"], "x = foo(bar)"),
        ([("x = foo", SURE), ("(", UNSURE), ("bar", UNSURE), (")", SURE)], ["x = foo", "x = foo(bar)"], "x = foo"),
        ([("if ", SURE), ("x:", SURE)], [], "if x:"),
        ([("if ", SURE), ("x:", UNSURE)], [], ""),
        ([("assert ", SURE), ("x(", UNSURE), ("y)", SURE)], ["assert x(y)"], "assert x(y)"),
        ([("a", SURE), (" = (", SURE)], ["a"], "a = ("),
        ([("foo_", SURE), ("bar", SURE), ("(", SURE)], ["foo_", "foo_bar"], "foo_bar"),
    ],
)
def test_an_end_within_a_statement_must_be_surer(
    pieces: list[tuple[str, float]], whole: list[str], expected: str
) -> None:
    text = "".join(text for text, _ in pieces)
    shown = cut_unlikely(text, likely(*pieces), 0, 0.3, whole.__contains__)
    assert (shown if is_worth_showing(shown) else "") == expected


def test_nothing_told_and_no_bound_show_all() -> None:
    assert cut_unlikely("foo", [], 0, 0.3) == "foo"
    assert cut_unlikely("foo", likely(("foo", NO)), 0, 0.0) == "foo"


PIECES = st.lists(st.tuples(st.text(alphabet="ab_ (.\n", min_size=1, max_size=4), st.floats(-2, 0)), max_size=8)


@given(PIECES, st.floats(0.01, 1))
def test_what_is_shown_only_grows_from_there_as_it_is_typed(pieces: list[tuple[str, float]], bound: float) -> None:
    """Whoever types along never sees the end of the text come nearer."""
    whole = "".join(text for text, _ in pieces)
    reach = 0
    for num_typed in range(len(whole)):
        shown = cut_unlikely(whole[num_typed:], likely(*pieces), num_typed, bound)
        assert whole[num_typed:].startswith(shown)
        if shown:
            assert num_typed + len(shown) >= reach
            reach = num_typed + len(shown)


@pytest.mark.parametrize(("text", "expected"), [("foo", True), ("a b", False), ("):\n  x", True), ("", False)])
def test_is_worth_showing(text: str, expected: bool) -> None:
    assert is_worth_showing(text) is expected
