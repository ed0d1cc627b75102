"""Next edits without the wire: an edit that moves along gives the promised text, and what is known of the past."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsprotocol import types

from lsp_server.completion.edit_here import ghost_text
from lsp_server.documents.store import Cursor, DocumentStore, Snapshot, split_lines
from lsp_server.edits import next_edits
from lsp_server.edits.code import masked
from lsp_server.edits.find import find_edits
from lsp_server.edits.next_edits import NextEdits
from lsp_server.edits.proposal import Edit, applied, fits, rebased, text_between

URI = "file:///a.py"
TEXT = st.text(alphabet="ab 𝄞(\n", max_size=6)
LINE_ENDS = st.sampled_from(["\n", "\r\n"])


class Editor:
    """A document that is typed in, with the next edits of it; the clock stands still unless it is moved."""

    def __init__(self, text: str, language: str = "python", encoding: str = "utf-16") -> None:
        self.documents = DocumentStore(encoding)
        self.now_s = 100.0
        self.edits = NextEdits("w", lambda: self.now_s)
        self.version = 1
        self.documents.open(types.TextDocumentItem(uri=URI, language_id=language, version=1, text=text))

    @property
    def snapshot(self) -> Snapshot:
        found = self.documents.snapshot(URI)
        assert found is not None
        return found

    def replace(self, start: Cursor, end: Cursor, text: str) -> None:
        """Type: replace the text between two places."""
        before = self.snapshot
        self.version += 1
        span = types.Range(start=before.position(start), end=before.position(end))
        change = types.TextDocumentContentChangePartial(range=span, text=text)
        document = types.VersionedTextDocumentIdentifier(uri=URI, version=self.version)
        params = types.DidChangeTextDocumentParams(text_document=document, content_changes=[change])
        self.documents.change(params)
        self.edits.changed(params, before.lines, self.snapshot.lines, self.snapshot.revision)

    def change(self, old: str, new: str, number: int = 0) -> None:
        """Replace one of the places that have a text."""
        text = self.snapshot.text
        at = -1
        for _ in range(number + 1):
            at = text.index(old, at + 1)
        above = text[:at].split("\n")
        start = Cursor(len(above) - 1, len(above[-1]))
        self.replace(start, Cursor(start.line, start.column + len(old)), new)

    def accept(self, edit: Edit) -> None:
        self.replace(edit.start, edit.end, edit.new)

    def due(self, line: int = 0) -> Edit | None:
        """Return what is offered with the cursor at the beginning of a line."""
        snapshot = self.snapshot
        if self.edits.why_silent(URI):
            return None
        edit = self.edits.choose(snapshot, find_edits(self.edits.question(snapshot, Cursor(line, 0))))
        if edit is not None:
            assert fits(edit, snapshot.lines)
        return edit

    def follow(self) -> str:
        """Accept whatever is offered until nothing is, and return the text."""
        for _ in range(50):
            if (edit := self.due()) is None:
                return self.snapshot.text
            self.edits.offer(self.snapshot, edit)
            self.accept(edit)
        raise AssertionError("it never ends")


def places(lines: Sequence[str]) -> st.SearchStrategy[Cursor]:
    def on(line: int) -> st.SearchStrategy[Cursor]:
        return st.integers(0, len(lines[line].rstrip("\r\n"))).map(lambda column: Cursor(line, column))

    return st.integers(0, len(lines) - 1).flatmap(on)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_an_edit_that_moves_along_gives_the_promised_text(data: st.DataObject) -> None:
    text = data.draw(st.lists(TEXT, max_size=6).map("\n".join)).replace("\n", data.draw(LINE_ENDS))
    editor = Editor(text, encoding=data.draw(st.sampled_from(["utf-8", "utf-16", "utf-32"])))
    before = editor.snapshot
    start, end = sorted(data.draw(st.tuples(places(before.lines), places(before.lines))))
    old = text_between(before.lines, start, end)
    edit = Edit(start=start, end=end, old=old, new=data.draw(TEXT), why="")
    assert "".join(applied(edit, before.lines)) == _replaced(before.lines, start, end, edit.new)
    assert applied(edit, before.lines) == split_lines(_replaced(before.lines, start, end, edit.new))
    revision = before.revision
    for _ in range(data.draw(st.integers(0, 4))):
        first, last = sorted(data.draw(st.tuples(places(editor.snapshot.lines), places(editor.snapshot.lines))))
        editor.replace(first, last, data.draw(TEXT))
    changes = editor.edits.history.changes_since(URI, revision)
    if editor.version == 1:
        assert changes in (None, [])
        return
    assert changes is not None
    after = editor.snapshot
    moved = rebased(edit, changes, after.lines)
    if moved is not None:
        assert (moved.old, moved.new) == (edit.old, edit.new)
        assert text_between(after.lines, moved.start, moved.end) == edit.old
        editor.accept(moved)
        assert editor.snapshot.text == _replaced(after.lines, moved.start, moved.end, edit.new)


def _replaced(lines: Sequence[str], start: Cursor, end: Cursor, new: str) -> str:
    starts = [sum(map(len, lines[:number])) for number in range(len(lines))]
    text = "".join(lines)
    return text[: starts[start.line] + start.column] + new + text[starts[end.line] + end.column :]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_random_typing_is_followed_and_never_breaks_a_document(data: st.DataObject) -> None:
    language = data.draw(st.sampled_from(["python", "typescript", "go", "plaintext"]))
    pieces = st.sampled_from(
        ["foo", "bar", "(", ")", "{", "}", " = ", "def ", "const ", ":=", "\n", "'", '"', ".", ","]
    )
    editor = Editor("".join(data.draw(st.lists(pieces, max_size=30))), language)
    for _ in range(data.draw(st.integers(1, 6))):
        lines = editor.snapshot.lines
        first, last = sorted(data.draw(st.tuples(places(lines), places(lines))))
        editor.replace(first, last, data.draw(st.one_of(pieces, TEXT)))
        for hunk in editor.edits.history.past(URI).hunks:
            assert editor.snapshot.lines[hunk.first : hunk.end] == hunk.lines
        if (edit := editor.due()) is not None and data.draw(st.booleans()):
            promised = "".join(applied(edit, editor.snapshot.lines))
            editor.accept(edit)
            assert editor.snapshot.text == promised


def test_a_change_between_equal_lines_is_followed() -> None:
    editor = Editor("")
    for text in ("foo", "\n", "\n", "\n"):
        editor.replace(Cursor(0, 0), Cursor(0, 0), text)
        for hunk in editor.edits.history.past(URI).hunks:
            assert editor.snapshot.lines[hunk.first : hunk.end] == hunk.lines


@given(
    st.text(alphabet="ab'\"`#/*{}$f\\\r\n ", max_size=60), st.sampled_from(["python", "typescript", "go", "rust", "x"])
)
def test_blanking_keeps_all_places(text: str, language: str) -> None:
    blanked = masked(text, language)
    assert len(blanked) == len(text)
    assert [(i, c) for i, c in enumerate(blanked) if c in "\r\n"] == [(i, c) for i, c in enumerate(text) if c in "\r\n"]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("python", "x = f'a {foo!r} {{b}}'  # foo", "x = f" + '"' * 4 + "foo" + '"' * 10 + " " * 7),
        (
            "typescript",
            "f`b ${foo + `c ${d}`} e`; // foo",
            "f" + '"' * 5 + "foo + " + '"' * 5 + "d" + '"' * 6 + ";       ",
        ),
        ("go", "x := `a\nfoo` + 'b'", 'x := ""\n     + """'),
    ],
)
def test_code_within_strings_is_code(language: str, text: str, expected: str) -> None:
    assert masked(text, language) == expected


def test_nothing_is_offered_long_after_a_change_or_behind_an_undo() -> None:
    editor = Editor("def load():\n    pass\n\n\nload()\n")
    assert editor.due() is None
    editor.change("load", "fetch")
    assert editor.due() is not None
    editor.now_s += next_edits.RECENT_S + 1
    assert editor.due() is None
    editor.change("fetch", "load")
    assert editor.due() is None
    editor.change("load", "fetch")  # a redo
    assert editor.due() is None


def test_what_was_dismissed_stays_away_and_others_for_a_moment() -> None:
    editor = Editor("def load():\n    pass\n\n\nload()\n\ndef save():\n    pass\n\n\nsave()\n")
    editor.change("load", "fetch")
    edit = editor.due()
    assert edit is not None
    editor.edits.rejected(editor.edits.offer(editor.snapshot, edit).id)
    editor.change("save", "store")
    assert editor.due() is None
    editor.now_s += next_edits.QUIET_S + 1
    due = editor.due()
    assert due is not None
    assert due.new == "store"


def test_what_is_passed_over_again_and_again_is_not_offered_any_more() -> None:
    editor = Editor("def load():\n    pass\n\n\nload()\n# \n")
    editor.change("load", "fetch")
    for _ in range(next_edits.MAX_PASSED):
        edit = editor.due()
        assert edit is not None
        editor.edits.offer(editor.snapshot, edit)
        editor.edits.offer(editor.snapshot, edit)  # asked again at the same text, which counts once
        editor.change("# ", "# a")
    assert editor.due() is None


def test_an_edit_never_leads_back_to_a_text_of_before() -> None:
    editor = Editor("def load():\n    pass\n\n\nload()\n")
    editor.change("load", "fetch")
    edit = editor.due()
    assert edit is not None
    editor.edits.offer(editor.snapshot, edit)
    editor.accept(edit)
    editor.change("fetch", "load", 1)  # taken back: that is an undo
    assert editor.due() is None
    editor.change("pass", "return 1")
    editor.now_s += next_edits.QUIET_S + 1
    editor.change("return 1", "return 2")
    assert editor.due() is None  # what was taken back is not offered again


def test_a_word_that_is_being_typed_is_waited_for() -> None:
    editor = Editor("def load():\n    pass\n\n\nload()\n")
    editor.change("load", "fet")
    assert editor.edits.wait_s(editor.snapshot, Cursor(0, 7)) == pytest.approx(next_edits.SETTLED_S)
    assert editor.edits.wait_s(editor.snapshot, Cursor(0, 6)) == 0
    assert editor.edits.wait_s(editor.snapshot, Cursor(4, 4)) == 0
    editor.now_s += 0.5
    assert editor.edits.wait_s(editor.snapshot, Cursor(0, 7)) == pytest.approx(next_edits.SETTLED_S - 0.5)


@pytest.mark.parametrize(
    ("line", "old", "new", "expected"),
    [
        ("x = load|(1)", "load", "load_all", "_all"),
        ("x = |load(1)", "load", "load_all", "load_all"),
        ("|x = load(1)", "load", "load_all", "x = load_all"),
        ("x = lo|ad(1)", "load", "load_all", "ad_all"),
        ("x = load(|1)", "load", "load_all", None),  # it is behind the cursor
        ("x = |load(1)", "load", "fetch", None),
        ("x = load|(1)", "load", "lo", None),
        ("x = load|(1)", "load", "loa", None),
        ("x = |load(1)", "load", "l\noad", None),
        ("|x = 𝄞load(1)", "load", "load_all", "x = 𝄞load_all"),
    ],
)
def test_ghost_text_leads_to_the_text_of_the_edit(line: str, old: str, new: str, expected: str | None) -> None:
    column, line = line.index("|"), line.replace("|", "")
    at = line.index(old)
    edit = Edit(start=Cursor(0, at), end=Cursor(0, at + len(old)), old=old, new=new, why="")
    text = ghost_text(edit, line, Cursor(0, column))
    assert text == expected
    if text is not None:
        assert line[:column] + text + line[at + len(old) :] == "".join(applied(edit, [line]))
