"""How much of a file goes with a request, and what the file is called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.context.budget import cut_around
from lsp_server.context.paths import locate
from lsp_server.documents.store import Cursor
from tests.lsp.test_documents import snapshot_of

LONG = "".join(f"line {number:04}\n" for number in range(1000))


def test_a_small_file_goes_whole_with_plain_line_ends() -> None:
    cut = cut_around(snapshot_of("a\r\nbc\r\nd\r\n"), Cursor(1, 1), prefix_chars=200, suffix_chars=200)
    assert cut == ("a\nb", "c\nd\n")


def test_the_cut_is_at_line_ends_and_within_the_budget() -> None:
    cut = cut_around(snapshot_of(LONG), Cursor(500, 4), prefix_chars=1000, suffix_chars=100)
    assert 700 <= len(cut.prefix) <= 1004
    assert cut.prefix.startswith("line 0")
    assert cut.prefix.endswith("line 0499\nline")
    assert cut.suffix.startswith(" 0500\nline 0501\n")
    assert len(cut.suffix) <= 100


def test_the_prefix_keeps_its_beginning_over_several_lines() -> None:
    """A cut that moved with each line would make the engine compute everything anew."""
    snapshot = snapshot_of(LONG)
    cuts = [cut_around(snapshot, Cursor(line, 0), prefix_chars=1000, suffix_chars=0) for line in range(500, 600)]
    assert len({cut.prefix[:9] for cut in cuts}) <= 8


@given(st.text(alphabet="ab\n", max_size=300), st.integers(0, 100), st.integers(0, 100), st.integers(1, 50))
def test_what_is_sent_stands_around_the_cursor(text: str, line: int, column: int, budget: int) -> None:
    snapshot = snapshot_of(text)
    line = min(line, len(snapshot.lines) - 1)
    column = min(column, len(snapshot.lines[line].rstrip("\n")))
    cut = cut_around(snapshot, Cursor(line, column), prefix_chars=budget, suffix_chars=budget)
    offset = sum(map(len, snapshot.lines[:line])) + column
    assert text[:offset].endswith(cut.prefix)
    assert text[offset:].startswith(cut.suffix)
    assert len(cut.suffix) <= budget


@pytest.mark.parametrize(
    ("uri", "folders", "expected"),
    [
        ("file:///work/project/src/app.py", ["file:///work/project"], ("project", "src/app.py")),
        ("file:///work/project/src/app.py", ["file:///work", "file:///work/project"], ("project", "src/app.py")),
        ("file:///work/project2/app.py", ["file:///work/project"], ("", "app.py")),
        ("file:///work/project/a%20b.py", ["file:///work/project"], ("project", "a b.py")),
        ("file:///home/app.py", [], ("", "app.py")),
        ("untitled:Untitled-1", ["file:///work/project"], ("", "Untitled-1")),
    ],
)
def test_locate(uri: str, folders: list[str], expected: tuple[str, str]) -> None:
    assert locate(uri, folders) == expected
