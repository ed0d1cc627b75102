"""Each metric against cases worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoding.bench.metrics import accuracy


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("ab", "ba", 2), ("same", "same", 0)],
)
def test_levenshtein(first: str, second: str, distance: int) -> None:
    assert accuracy.levenshtein(first, second) == accuracy.levenshtein(second, first) == distance


@given(a=st.text("ab", max_size=9), b=st.text("ab", max_size=9))
def test_levenshtein_against_its_definition(a: str, b: str) -> None:
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    if len(a) * len(b) <= 36:
        assert accuracy.levenshtein(a, b) == distance(len(a), len(b))


def test_edit_similarity() -> None:
    assert accuracy.edit_similarity("", "") == 100
    assert accuracy.edit_similarity("abcd", "abce") == 75
    assert accuracy.edit_similarity("abcd", "") == 0


@pytest.mark.parametrize(
    ("text", "gold", "same"),
    [("return x", "return x\n", True), ("a  \nb", "a\nb", True), ("a\n\nb", "a\nb", False), (" x", "x", True)],
)
def test_exact_match(text: str, gold: str, same: bool) -> None:
    assert accuracy.is_same(text, gold) == same


def test_first_line() -> None:
    assert accuracy.first_line("a\nb") == "a"
    assert accuracy.first_line("\n    a\nb") == "    a"
    assert accuracy.first_line("") == ""


@pytest.mark.parametrize(
    ("text", "gold", "kept"),
    [
        ("foo(bar)", "foo(bar)", 8),
        ("foo(bar)", "foo(baz)", 4),  # `ba` is no whole word
        ("foo", "foobar", 0),  # the word goes on
        ("foo bar", "foo  bar", 4),  # the blank is right, too
        ("", "x", 0),
        ("x = 1\ny", "x = 1\nz", 6),
    ],
)
def test_accepted_prefix(text: str, gold: str, kept: int) -> None:
    assert accuracy.accepted_prefix(text, gold) == kept


@pytest.mark.parametrize(
    ("text", "suffix", "repeated"),
    [
        ("x = 1\n    return x", "\n    return x\n", True),
        ("x = 1", "\nreturn x", False),
        ("return x", "\nreturn x", False),  # one line of its own is a filter's business, not a repetition
        ("a\nb", "", False),
    ],
)
def test_repeats_suffix(text: str, suffix: str, repeated: bool) -> None:
    assert accuracy.repeats_suffix(text, suffix) == repeated


def test_kept_rate() -> None:
    assert accuracy.kept_rate("return x", "return x") == 1
    assert accuracy.kept_rate("return x", "return y") == pytest.approx(7 / 8)
    assert accuracy.kept_rate("aaa bbb", "bbb") == pytest.approx(3 / 7)
    assert accuracy.kept_rate("", "x") == 0


def test_percentiles_are_nearest_ranks() -> None:
    values = [float(i) for i in range(1, 101)]
    assert [accuracy.percentile(values, share) for share in (0.5, 0.9, 0.95, 0.99, 1.0)] == [50, 90, 95, 99, 100]
    assert accuracy.percentile([7.0], 0.5) == 7
    assert math.isnan(accuracy.percentile([], 0.5))


def test_the_interval_holds_the_mean_and_widens_with_clusters() -> None:
    values = [0.0, 1.0] * 50
    alone = accuracy.mean_interval(values, [str(i) for i in range(100)])
    by_value = accuracy.mean_interval(values, ["a", "b"] * 50)
    assert alone.low < alone.mean == 0.5 < alone.high
    assert by_value.high - by_value.low > alone.high - alone.low
    assert accuracy.mean_interval(values, ["a"] * 100).low == 0.5
