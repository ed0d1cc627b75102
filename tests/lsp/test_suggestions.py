"""Type-through: whatever beginning of a suggestion was typed, the answer is the rest of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.completion.cache import Suggestion, SuggestionCache, accepted, cursor_context, remainder_at
from lsp_server.documents.store import Cursor
from tests.lsp.test_documents import snapshot_of


def at(text: str, line_end: str = "\n") -> tuple[str, Cursor]:
    before, _, after = text.partition("|")
    lines = before.split("\n")
    return (before + after).replace("\n", line_end), Cursor(len(lines) - 1, len(lines[-1]))


def suggested(text: str, place: str) -> Suggestion:
    content, cursor = at(place)
    return Suggestion(spot=cursor_context(snapshot_of(content), cursor), mode="block", generated=text, text=text)


def rest_of(suggestion: Suggestion, now: str, line_end: str = "\n") -> str | None:
    content, cursor = at(now, line_end)
    rest = remainder_at(suggestion, cursor_context(snapshot_of(content), cursor), "line")
    return None if rest is None else rest.text


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
        ("x = |\ny", "x = foo(|)\ny", "1"),
        ("x = |\ny", "x = foo(|bar\ny", None),
        ("x = |\ny", "x = foo(1)|\ny", None),
        ("x = |\ny", "x = foo(1)2|\ny", None),
    ],
)
def test_rest_of(before: str, now: str, rest: str | None) -> None:
    assert rest_of(suggested("foo(1)", before), now) == rest


TEXT = "if a:\n        b\n    return c"


@given(st.integers(0, len(TEXT)), st.sampled_from(["\n", "\r\n"]))
def test_what_was_typed_and_the_rest_make_the_suggestion(length: int, line_end: str) -> None:
    place = "def f():\n    |\n\nx = 1\n"
    old, cursor = at(place, line_end)
    suggestion = Suggestion(
        spot=cursor_context(snapshot_of(old), cursor), mode="block", generated=TEXT + "\n", text=TEXT
    )
    assert rest_of(suggestion, place.replace("|", TEXT[:length] + "|"), line_end) == TEXT[length:]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("before", "text", "num_replaced", "after"),
    [
        ("x = |", "foo(1)", 0, "x = foo(1)|"),
        ("x = |\ny", "foo(1)", 0, "x = foo(1)|\ny"),
        ("f(|)\ny", "a, b):", 1, "f(a, b):|\ny"),
        ("f(|)\ny", "a", 0, "f(a|)\ny"),
        ("a:\n    |\ny", "b\n    c", 0, "a:\n    b\n    c|\ny"),
    ],
)
def test_accepted(before: str, text: str, num_replaced: int, after: str, line_end: str) -> None:
    content, cursor = at(before, line_end)
    snapshot, cursor = accepted(snapshot_of(content), cursor, text, num_replaced)
    expected, expected_cursor = at(after, line_end)
    assert (snapshot.text.replace("\r\n", "\n"), cursor) == (expected.replace("\r\n", "\n"), expected_cursor)
    assert all(line.endswith("\n") for line in snapshot.lines[:-1])


def found(memory: SuggestionCache, place: str) -> str | None:
    content, cursor = at(place)
    rest = memory.find(cursor_context(snapshot_of(content), cursor), "line")
    return None if rest is None else rest.text


def test_memory_forgets_what_was_unused_for_longest() -> None:
    memory = SuggestionCache(size=2)
    for name in ("a", "b"):
        memory.add(suggested("foo(1)", f"{name} = |"))
    assert found(memory, "a = |") == "foo(1)"
    memory.add(suggested("foo(1)", "c = |"))
    assert [found(memory, f"{name} = |") for name in "abc"] == ["foo(1)", None, "foo(1)"]
    assert len(memory) == 2
    memory.forget()
    assert found(memory, "a = |") is None


def test_memory_prefers_a_text_to_knowing_of_none() -> None:
    memory = SuggestionCache()
    memory.add(suggested("foo(1)", "a = |"))
    content, cursor = at("a = foo|")
    spot = cursor_context(snapshot_of(content), cursor)
    memory.add(Suggestion(spot=spot, mode="line", generated="\n", text="", dropped_by="end"))
    assert found(memory, "a = foo|") == "(1)"
    assert found(memory, "a = foo(1)|") is None


def test_behind_what_was_shown_the_text_that_was_written_goes_on() -> None:
    content, cursor = at("def f():\n    a = |")
    spot = cursor_context(snapshot_of(content), cursor)
    suggestion = Suggestion(spot=spot, mode="line", generated="1\n    b = 2\n    c = 3\n\nd", text="1")
    assert rest_of(suggestion, "def f():\n    a = 1|") == ""
    assert rest_of(suggestion, "def f():\n    a = 1\n    |") == "b = 2"
    assert rest_of(suggestion, "def f():\n    a = 1\n    b = |") == "2"
    assert rest_of(suggestion, "def f():\n    a = 1\n    b = 3|") is None
    assert rest_of(suggestion, "def f():\n    a = 1\n    b = 2\n    c = 3\n\nd|") is None
