"""Type-through: whatever beginning of a suggestion was typed, the answer is the rest of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.documents import Cursor
from lsp_server.suggestions import Suggestion, rest_of
from tests.lsp.test_documents import snapshot_of


def at(text: str, line_end: str = "\n") -> tuple[str, Cursor]:
    before, _, after = text.partition("|")
    lines = before.split("\n")
    return (before + after).replace("\n", line_end), Cursor(len(lines) - 1, len(lines[-1]))


def suggested(text: str, place: str) -> Suggestion:
    content, cursor = at(place)
    return Suggestion(snapshot=snapshot_of(content), cursor=cursor, text=text, mode="block")


@pytest.mark.parametrize(
    ("before", "now", "rest"),
    [
        ("x = |\ny", "x = |\ny", "foo(1)"),
        ("x = |\ny", "x = fo|\ny", "o(1)"),
        ("x = |\ny", "x = fa|\ny", None),
        ("x = |\ny", "x =|\ny", None),
        ("x = |\ny", "z = fo|\ny", None),
        ("x = |\ny", "x = fo|\nz", None),
        ("x = |\ny", "w\nx = fo|\ny", None),
        ("x = |\ny", "x = foo(|)\ny", "1)"),
        ("x = |\ny", "x = foo(|bar\ny", None),
        ("x = |\ny", "x = foo(1)|\ny", ""),
        ("x = |\ny", "x = foo(1)2|\ny", None),
    ],
)
def test_rest_of(before: str, now: str, rest: str | None) -> None:
    content, cursor = at(now)
    assert rest_of(suggested("foo(1)", before), snapshot_of(content), cursor) == rest


TEXT = "if a:\n        b\n    return c"


@given(st.integers(0, len(TEXT)), st.sampled_from(["\n", "\r\n"]))
def test_what_was_typed_and_the_rest_make_the_suggestion(length: int, line_end: str) -> None:
    place = "def f():\n    |\n\nx = 1\n"
    old, cursor = at(place, line_end)
    suggestion = Suggestion(snapshot=snapshot_of(old), cursor=cursor, text=TEXT, mode="block")
    new, cursor = at(place.replace("|", TEXT[:length] + "|"), line_end)
    assert rest_of(suggestion, snapshot_of(new), cursor) == TEXT[length:]
