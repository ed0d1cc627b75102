"""What a change was: typing, or a deletion; and when that is still of interest."""

from __future__ import annotations

import pytest
from lsprotocol import types

from lsp_server.documents.keystrokes import Keystrokes, may_delete
from lsp_server.documents.read_only import is_read_only
from lsp_server.documents.store import Cursor
from tests.lsp.test_documents import snapshot_of

TEXT = "def f():\n    return one + two\n    \n"
URI = snapshot_of(TEXT).uri


def change(start: tuple[int, int], end: tuple[int, int], text: str = "") -> types.DidChangeTextDocumentParams:
    span = types.Range(types.Position(*start), types.Position(*end))
    return params(types.TextDocumentContentChangePartial(range=span, text=text))


def params(event: types.TextDocumentContentChangeEvent) -> types.DidChangeTextDocumentParams:
    document = types.VersionedTextDocumentIdentifier(version=2, uri=URI)
    return types.DidChangeTextDocumentParams(text_document=document, content_changes=[event])


def whole(text: str) -> types.DidChangeTextDocumentParams:
    return params(types.TextDocumentContentChangeWholeDocument(text=text))


@pytest.mark.parametrize(
    ("changed", "cursor", "deleted", "is_by_key"),
    [
        (change((1, 18), (1, 19)), Cursor(1, 18), "w", True),
        (change((1, 11), (1, 14)), Cursor(1, 11), "one", True),
        (change((1, 11), (1, 20)), Cursor(1, 11), "one + two", False),
        (change((0, 8), (1, 20)), Cursor(0, 8), "\n    return one + two", False),
        (change((1, 11), (1, 14), "x"), Cursor(1, 12), None, None),
        (change((1, 11), (1, 11), "x"), Cursor(1, 12), None, None),
        (change((2, 0), (2, 4)), Cursor(2, 0), None, None),  # indentation of an empty line
        (whole(TEXT.replace("one + ", "")), Cursor(1, 11), "one + ", False),
        (whole(TEXT.replace("two", "three")), Cursor(1, 11), None, None),
        (whole(TEXT + "x"), Cursor(3, 1), None, None),
    ],
)
def test_deletions(
    changed: types.DidChangeTextDocumentParams, cursor: Cursor, deleted: str | None, is_by_key: bool | None
) -> None:
    keystrokes = Keystrokes()
    keystrokes.note(snapshot_of(TEXT) if may_delete(changed) else None, changed, 10.0)
    found = keystrokes.deletion_just_now(URI, cursor, 10.2)
    assert (None if found is None else found.text) == deleted
    assert (None if found is None else found.is_by_key) == is_by_key


def test_a_deletion_is_past_after_a_moment_elsewhere_and_behind_typing() -> None:
    keystrokes = Keystrokes()
    keystrokes.note(snapshot_of(TEXT), change((1, 11), (1, 14)), 10.0)
    assert keystrokes.deletion_just_now(URI, Cursor(1, 11), 12.0) is None
    assert keystrokes.deletion_just_now(URI, Cursor(2, 0), 10.1) is None
    assert keystrokes.deleted_at(URI, Cursor(1, 20), 12.0) == ("one",)
    assert keystrokes.deleted_at(URI, Cursor(0, 0), 12.0) == ()
    assert keystrokes.deleted_at(URI, Cursor(1, 11), 60.0) == ()
    keystrokes.note(None, change((1, 11), (1, 11), "x"), 10.1)
    assert keystrokes.deletion_just_now(URI, Cursor(1, 11), 10.2) is None
    keystrokes.note(snapshot_of(TEXT), change((1, 11), (1, 12)), 10.3)
    assert "one" in keystrokes.deleted_at(URI, Cursor(1, 11), 10.4)  # what another key deleted is not in its place
    keystrokes.forget(URI)
    assert keystrokes.deleted_at(URI, Cursor(1, 11), 10.2) == ()


def deleted_by_keys(places: list[int]) -> str:
    """Delete one character of "one + two" at each of these columns, one key after the other."""
    keystrokes, text = Keystrokes(), "\n    return one + two\n"
    for number, column in enumerate(places):
        keystrokes.note(snapshot_of(text), change((1, column), (1, column + 1)), 10.0 + number / 10)
        text = text[: column + 1] + text[column + 2 :]
    return keystrokes.deleted_at(URI, Cursor(1, places[-1]), 12.0)[-1]


def test_a_text_that_several_keys_deleted_is_one() -> None:
    assert deleted_by_keys([19, 18, 17, 16]) == " two"
    assert deleted_by_keys([11, 11, 11]) == "one"
    assert deleted_by_keys([19, 11]) == "o"


def test_a_deletion_over_lines_joins_those_before_it() -> None:
    keystrokes = Keystrokes()
    keystrokes.note(snapshot_of("a\nbc\n"), change((1, 0), (1, 1)), 10.0)
    keystrokes.note(snapshot_of("a\nc\n"), change((0, 1), (1, 0)), 10.1)
    assert keystrokes.deleted_at(URI, Cursor(0, 1), 10.2) == ("\nb",)


def test_the_rhythm_follows_the_keys_and_not_the_pauses() -> None:
    keystrokes, now = Keystrokes(), 0.0
    for _ in range(20):
        now += 0.1
        keystrokes.note(None, change((0, 0), (0, 0), "x"), now)
    assert keystrokes.gap_s(URI) == pytest.approx(0.1, abs=0.01)
    keystrokes.note(None, change((0, 0), (0, 0), "x"), now + 60)
    assert keystrokes.gap_s(URI) == pytest.approx(0.1, abs=0.01)
    assert keystrokes.since_change_s(URI, now + 61) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("git:/a.py", True),
        ("output:tasks", True),
        ("fugitive:///a/.git//0/a.py", True),
        ("walkThrough:/a", True),
        ("zipfile:///a.zip::a.py", True),
        ("vscode-scm:git/scm0/input", False),
        ("untitled:Untitled-1", False),
        ("file:///nowhere/new.py", False),
        ("vscode-notebook-cell:/a.ipynb#x", False),
    ],
)
def test_views_are_read_only_and_new_files_are_not(uri: str, expected: bool) -> None:
    assert is_read_only(uri) is expected
