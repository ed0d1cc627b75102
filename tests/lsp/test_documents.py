"""Documents: positions in three encodings, incremental changes against a plain string, snapshots."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from lsp_server.documents.store import (
    MAX_LINE_CHARS,
    Cursor,
    DocumentStore,
    Snapshot,
    num_units,
    split_lines,
    without_end,
)

ENCODINGS = ("utf-8", "utf-16", "utf-32")
# Line ends of all kinds, characters of one to four bytes, a form feed (no line end in LSP), a combining accent.
TEXTS = st.text(alphabet="ab \t\r\n\x0c\u2028éß€𝄞👩\u0301", max_size=40)
URI = "file:///a.py"


def opened(text: str, encoding: str = "utf-16") -> DocumentStore:
    store = DocumentStore(encoding)
    store.open(types.TextDocumentItem(uri=URI, language_id="python", version=1, text=text))
    return store


def snapshot_of(text: str, encoding: str = "utf-16") -> Snapshot:
    snapshot = opened(text, encoding).snapshot(URI)
    assert snapshot is not None
    return snapshot


def change(store: DocumentStore, *changes: Any, version: int = 2) -> None:
    identifier = types.VersionedTextDocumentIdentifier(uri=URI, version=version)
    store.change(types.DidChangeTextDocumentParams(text_document=identifier, content_changes=changes))


@given(TEXTS)
def test_lines_are_those_of_lsp(text: str) -> None:
    lines = split_lines(text)
    assert "".join(lines) == text
    assert [without_end(line) for line in lines] == re.split(r"\r\n|\r|\n", text)


@given(TEXTS, st.sampled_from(ENCODINGS), st.data())
def test_cursor_and_position_are_inverse(text: str, encoding: str, data: st.DataObject) -> None:
    snapshot = snapshot_of(text, encoding)
    line = data.draw(st.integers(0, len(snapshot.lines) - 1))
    column = data.draw(st.integers(0, len(without_end(snapshot.lines[line]))))
    position = snapshot.position(Cursor(line, column))
    assert snapshot.cursor(position) == Cursor(line, column)


@given(TEXTS, st.sampled_from(ENCODINGS), st.integers(0, 60), st.integers(0, 60))
def test_any_position_is_clamped_to_a_cursor(text: str, encoding: str, line: int, character: int) -> None:
    snapshot = snapshot_of(text, encoding)
    cursor = snapshot.cursor(types.Position(line, character))
    content = without_end(snapshot.lines[cursor.line])
    assert 0 <= cursor.column <= len(content)
    if line < len(snapshot.lines):
        assert cursor.line == line
        assert num_units(content[: cursor.column], encoding) <= character
        assert cursor.column == len(content) or num_units(content[: cursor.column + 1], encoding) > character


@given(TEXTS, st.sampled_from(ENCODINGS), st.lists(st.tuples(TEXTS, st.integers(0), st.integers(0)), max_size=5))
def test_changes_equal_those_of_a_plain_string(text: str, encoding: str, edits: list[tuple[str, int, int]]) -> None:
    store = opened(text, encoding)
    model = text
    for new_text, first, second in edits:
        places = [offset for offset in range(len(model) + 1) if model[offset - 1 : offset + 1] != "\r\n"]
        start, end = sorted((places[first % len(places)], places[second % len(places)]))
        span = types.Range(start=position_of(model, start, encoding), end=position_of(model, end, encoding))
        change(store, types.TextDocumentContentChangePartial(range=span, text=new_text))
        model = model[:start] + new_text + model[end:]
        snapshot = store.snapshot(URI)
        assert snapshot is not None
        assert snapshot.text == model
        assert list(snapshot.lines) == split_lines(model)


def position_of(text: str, offset: int, encoding: str) -> types.Position:
    lines = re.split(r"\r\n|\r|\n", text[:offset])
    return types.Position(len(lines) - 1, num_units(lines[-1], encoding))


@pytest.mark.parametrize(
    ("encoding", "character", "column"),
    [("utf-8", 4, 1), ("utf-8", 5, 2), ("utf-16", 2, 1), ("utf-16", 3, 2), ("utf-32", 2, 2), ("utf-16", 99, 3)],
)
def test_a_position_inside_a_character_is_its_start(encoding: str, character: int, column: int) -> None:
    assert snapshot_of("a𝄞b\r\n", encoding).cursor(types.Position(0, character)) == Cursor(0, column)


def test_a_whole_change_and_several_changes_at_once() -> None:
    store = opened("one\n")
    point = types.Position(0, 0)
    change(
        store,
        types.TextDocumentContentChangeWholeDocument(text="two\r\n"),
        types.TextDocumentContentChangePartial(range=types.Range(point, point), text="x"),
        version=7,
    )
    snapshot = store.snapshot(URI)
    assert snapshot is not None
    assert (snapshot.text, snapshot.version, snapshot.revision) == ("xtwo\r\n", 7, 2)


def test_a_snapshot_stays_as_it_was() -> None:
    store = opened("one\n")
    before = store.snapshot(URI)
    change(store, types.TextDocumentContentChangeWholeDocument(text="two"))
    assert before is not None
    assert before.text == "one\n"


def test_a_document_that_was_not_opened_does_not_exist() -> None:
    store = DocumentStore("utf-8")
    change(store, types.TextDocumentContentChangeWholeDocument(text="two"))
    assert store.snapshot(URI) is None
    store = opened("x")
    store.close(URI)
    assert store.snapshot(URI) is None
    assert store.revision(URI) is None


def test_half_surrogate_pairs_are_shown_as_replacement_characters() -> None:
    assert snapshot_of("a\ud800b").text == "a\ufffdb"
    store = opened("a")
    point = types.Position(0, 0)
    change(store, types.TextDocumentContentChangePartial(range=types.Range(point, point), text="\udc00"))
    snapshot = store.snapshot(URI)
    assert snapshot is not None
    assert snapshot.text == "\ufffda"
    assert list(store.lines(URI) or ()) == ["\ufffda"]


def test_halves_that_come_one_after_the_other_are_one_character() -> None:
    high, low = "\ud83d", "\ude00"
    store = opened("x = ''\n")
    for half, column in ((high, 5), (low, 6)):
        point = types.Position(0, column)
        change(store, types.TextDocumentContentChangePartial(range=types.Range(point, point), text=half))
    snapshot = store.snapshot(URI)
    assert snapshot is not None
    assert snapshot.text == "x = '😀'\n"


@given(st.text(alphabet="aß😀𝄞\n", max_size=8), st.lists(st.tuples(TEXTS, st.integers(0), st.integers(0)), max_size=4))
def test_changes_in_code_units_equal_those_of_a_plain_string(text: str, edits: list[tuple[str, int, int]]) -> None:
    """Whatever is replaced, be it one half of a character, our copy has the editor's units."""
    store, units = opened(text), text.encode("utf-16-le")
    for new_text, first, second in edits:
        new = re.sub("[\r\n]", "", new_text)
        lines = units.decode("utf-16-le", "surrogatepass").split("\n")
        number = first % len(lines)
        line = lines[number].encode("utf-16-le", "surrogatepass")
        start, end = sorted((first % (len(line) // 2 + 1), second % (len(line) // 2 + 1)))
        span = types.Range(types.Position(number, start), types.Position(number, end))
        change(store, types.TextDocumentContentChangePartial(range=span, text=new))
        line = line[: 2 * start] + new.encode("utf-16-le") + line[2 * end :]
        lines[number] = line.decode("utf-16-le", "surrogatepass")
        units = "\n".join(lines).encode("utf-16-le", "surrogatepass")
        snapshot = store.snapshot(URI)
        assert snapshot is not None
        assert snapshot.text == re.sub("[\ud800-\udfff]", "\ufffd", units.decode("utf-16-le", "surrogatepass"))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_byte_order_mark_is_no_text_and_counts_in_positions(encoding: str) -> None:
    store = opened("\ufeffimport os\n", encoding)
    width = num_units("\ufeff", encoding)
    point = types.Position(0, width + 9)
    change(store, types.TextDocumentContentChangePartial(range=types.Range(point, point), text=", re"))
    snapshot = store.snapshot(URI)
    assert snapshot is not None
    assert snapshot.text == "import os, re\n"
    assert snapshot.cursor(types.Position(0, width + 9)) == Cursor(0, 9)
    assert snapshot.position(Cursor(0, 9)) == types.Position(0, width + 9)
    assert snapshot.cursor(types.Position(1, 3)) == Cursor(1, 0)
    whole = types.Range(types.Position(0, 0), types.Position(0, width))
    change(store, types.TextDocumentContentChangePartial(range=whole, text=""))
    after = store.snapshot(URI)
    assert after is not None
    assert (after.text, after.position(Cursor(0, 9))) == ("import os, re\n", types.Position(0, 9))


def test_a_version_below_zero_is_none() -> None:
    store = opened("a")
    change(store, types.TextDocumentContentChangeWholeDocument(text="b"), version=-1)
    snapshot = store.snapshot(URI)
    assert snapshot is not None
    assert snapshot.version is None


def test_the_place_of_a_cursor() -> None:
    place = snapshot_of("a\r\nbcd\r\ne\r\n").place(Cursor(1, 1))
    assert (place.above, place.head, place.tail, place.below) == (("a",), "b", "cd", ("e", ""))


def test_long_lines_around_the_cursor_are_cut_and_its_own_is_not() -> None:
    text = "a" * 50_000 + "b\r\n" + "h" * 50_000 + "|" + "t" * 50_000 + "\r\nc" + "d" * 50_000
    place = snapshot_of(text).place(Cursor(1, 50_000))
    assert (place.above[0][-1], len(place.above[0])) == ("b", MAX_LINE_CHARS - 2)
    assert (len(place.head), len(place.tail)) == (50_000, 50_001)
    assert (place.below[0][0], len(place.below[0])) == ("c", MAX_LINE_CHARS)


def test_a_document_that_is_too_large_is_not_served_until_it_comes_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsp_server.documents.store.MAX_DOCUMENT_CHARS", 10)
    store = opened("0123456789")
    assert store.snapshot(URI) is not None
    point = types.Position(0, 10)
    change(store, types.TextDocumentContentChangePartial(range=types.Range(point, point), text="x"))
    assert store.snapshot(URI) is None
    assert store.lines(URI) is None
    assert "million characters" in store.why_not_served(URI)
    change(store, types.TextDocumentContentChangePartial(range=types.Range(types.Position(0, 0), point), text=""))
    assert store.snapshot(URI) is None  # we don't have what this change is for
    change(store, types.TextDocumentContentChangeWholeDocument(text="small"))
    snapshot = store.snapshot(URI)
    assert snapshot is not None
    assert (snapshot.text, store.why_not_served(URI)) == ("small", "")
    assert opened("0123456789x").snapshot(URI) is None


def test_a_change_that_can_not_be_meant_for_our_text_ends_the_trust_in_it() -> None:
    store = opened("one\ntwo\n")
    behind = types.Position(3, 0)  # editors delete the last line up to the line behind it
    change(store, types.TextDocumentContentChangePartial(range=types.Range(types.Position(1, 0), behind), text="x"))
    snapshot = store.snapshot(URI)
    assert snapshot is not None
    assert snapshot.text == "one\nx"
    far = types.Position(9, 0)
    change(store, types.TextDocumentContentChangePartial(range=types.Range(far, far), text="x"))
    assert store.snapshot(URI) is None
    assert "lines that it does not have" in store.why_not_served(URI)


def test_distrust_makes_older_snapshots_stale_and_ends_with_the_whole_text() -> None:
    store = opened("one\n")
    revision = store.revision(URI)
    store.invalidate(URI)
    assert store.snapshot(URI) is None
    assert store.revision(URI) != revision
    change(store, types.TextDocumentContentChangeWholeDocument(text="two"))
    assert store.snapshot(URI) is not None
    store.invalidate("file:///never-opened.py")
    assert "did not open" in store.why_not_served("file:///never-opened.py")


def test_a_document_that_is_opened_again_has_other_revisions() -> None:
    store = opened("one")
    change(store, types.TextDocumentContentChangeWholeDocument(text="two"))
    seen = {store.revision(URI)}
    for _ in range(2):
        store.open(types.TextDocumentItem(uri=URI, language_id="python", version=1, text="three"))
        assert store.revision(URI) not in seen
        seen.add(store.revision(URI))
        store.close(URI)
