"""What names near the cursor are defined as in other files, in any language."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lsp_server.context import definitions
from lsp_server.context.definitions import defined_names
from lsp_server.context.files import Workspace
from lsp_server.context.similar import SimilarIndex, family_of
from lsp_server.context.snippets import EditorState, OpenDocument, Snippet
from lsp_server.context.worker import ContextWorker
from lsp_server.documents.store import split_lines
from lsp_server.languages.file_names import language_of
from tests.lsp.test_context_ignore import tree

LINES = [
    ("func Render(w io.Writer, code int) error {", "Render"),
    ("func (c *Context) Bind(obj any) error {", "Bind"),
    ("type Engine struct {", "Engine"),
    ("pub(crate) async fn load<'a>(path: &'a Path) -> Result<()> {", "load"),
    ("pub struct Shape {", "Shape"),
    ("macro_rules! check {", "check"),
    ("    public static Map<String, List<Integer>> groupBy(Function<A, B> key) {", "groupBy"),
    ("public final class JsonReader implements Closeable {", "JsonReader"),
    ("    internal override async Task<int> RunAsync(CancellationToken token)", "RunAsync"),
    ("static struct node *add_node(struct node *head, const char *text) {", "add_node"),
    ("typedef struct point {", "point"),
    ("#define MAX_SIZE 100", "MAX_SIZE"),
    ("class LEVELDB_EXPORT Iterator {", "Iterator"),
    ("Status DBImpl::Recover(VersionEdit* edit, bool* save) {", "Recover"),
    ("enum class Colour : int {", "Colour"),
    ("  def self.build(name, price:)", "build"),
    ("module Reports", "Reports"),
    ("    public function find(string $path): ?callable", "find"),
    ("data class Point(val x: Int)", "Point"),
    ("    suspend fun fetch(url: String): Page {", "fetch"),
    ("protocol Drawable {", "Drawable"),
    ("copy_one() {", "copy_one"),
    ("local function trim(text)", "trim"),
    ("  defp parse(rest) do", "parse"),
    ("CREATE TABLE IF NOT EXISTS orders (", "orders"),
    ("message SearchRequest {", "SearchRequest"),
    # Calls and statements define nothing.
    ("struct node *head;", ""),
    ("    return render(code, obj)", ""),
    ("    render(code, obj);", ""),
    ("    if (isValid(code)) {", ""),
    ("    else if (isValid(code)) {", ""),
    ("    x = render(code)", ""),
    ("    throw new IllegalStateException(name)", ""),
    ("// func Render(", ""),
]


@pytest.mark.parametrize(("line", "name"), LINES)
def test_names_that_a_line_defines(line: str, name: str) -> None:
    assert [one.name for one in defined_names([line])] == ([name] if name else [])


@pytest.mark.parametrize("line", ["a " * 149, "a(" * 140, "<" * 299, "x" * 10_000, "func " * 60])
def test_odd_lines_take_no_time(line: str) -> None:
    began_s = time.process_time()
    for _ in range(50):
        list(defined_names([line]))
    assert time.process_time() - began_s < 5


RENDER = """package render

// Render writes a page.
// It fails if nothing can be written.
func Render(w io.Writer, code int) error {
\treturn nil
}

type Page struct {
\tTitle string
\tCode  int
}
"""
MAIN = "package main\n\nfunc main() {\n\tp := Page{}\n\tRender(\n}\n"


def document(root: Path, path: str, text: str, line: int = 4) -> OpenDocument:
    file = root / path
    return OpenDocument(
        uri=file.as_uri(),
        path=path,
        file=file,
        language=language_of(file),
        revision=0,
        lines=tuple(split_lines(text)),
        line=line,
    )


class Editor:
    """A workspace with an index, and a document with a cursor."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.workspace = Workspace([self.root])
        self.index = SimilarIndex(self.workspace)

    def build(self, ending: str = ".go") -> None:
        for _ in self.index.build(family_of(Path(f"a{ending}")), None):
            pass

    def found(self, text: str = MAIN, path: str = "main.go", *others: OpenDocument) -> list[Snippet]:
        view = EditorState(current=document(self.root, path, text), others=others)
        known = self.index.definitions
        return [
            snippet
            for snippet in known.snippets(
                view,
                (view.current, *others),
                self.workspace.read,
                lambda file: file.relative_to(self.root).as_posix(),
                family_of(self.root / path),
            )
            if snippet
        ]


def test_definitions_of_the_names_near_the_cursor(tmp_path: Path) -> None:
    editor = Editor(tree(tmp_path, {"render/render.go": RENDER, "main.go": MAIN}))
    editor.build()
    near, far = editor.found()
    assert (near.path, near.source) == ("render/render.go", "definitions")
    head = (
        "// Render writes a page.\n// It fails if nothing can be written.\nfunc Render(w io.Writer, code int) error {"
    )
    assert near.text == head
    assert far.text == "type Page struct {\n\tTitle string\n\tCode  int\n}"
    assert near.score > far.score


def test_what_the_document_defines_itself_and_what_many_define_is_left_out(tmp_path: Path) -> None:
    many = {f"{n}/a.go": "package a\n\nfunc New() int {\n}\n" for n in range(definitions.MAX_PLACES + 1)}
    editor = Editor(tree(tmp_path, {"render.go": RENDER, **many}))
    editor.build()
    assert [s.text for s in editor.found("package main\n\nfunc Render() {\n\tNew()\n\tRender(\n}\n")] == []


def test_the_index_follows_files_and_unsaved_text(tmp_path: Path) -> None:
    editor = Editor(tree(tmp_path, {"render.go": RENDER}))
    editor.build()
    tree(editor.root, {"render.go": "package render\n\n\n" + RENDER.replace("code int", "status int")})
    assert "status int" in editor.found()[0].text  # it is looked for anew in a file that changed
    unsaved = document(editor.root, "render.go", RENDER.replace("code int", "unsaved int"))
    assert "unsaved int" in editor.found(MAIN, "main.go", unsaved)[0].text
    (editor.root / "render.go").unlink()
    assert editor.found() == []
    editor.index.refresh(editor.root / "render.go")
    assert editor.index.definitions.num_names == 0


def test_the_names_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definitions, "MAX_NAMES", 5)
    monkeypatch.setattr(definitions, "MAX_NAMES_OF_FILE", 3)
    files = {f"{n}.go": "".join(f"func Name{n}x{m}() {{\n}}\n" for m in range(10)) for n in range(4)}
    editor = Editor(tree(tmp_path, files))
    editor.build()
    assert editor.index.definitions.num_names == 5
    for n in range(4):
        (editor.root / f"{n}.go").unlink()
        editor.index.refresh(editor.root / f"{n}.go")
    assert editor.index.definitions.num_names == 0


def test_a_file_that_is_read_again_between_two_steps_counts_once(tmp_path: Path) -> None:
    long = "".join(f"func Name{n}() {{\n}}\n" for n in range(300))
    root = tree(tmp_path, {"a.go": long}).resolve()
    for num_steps in range(20):
        index = SimilarIndex(Workspace([root]))
        tree(root, {"a.go": long})
        build = index.build(frozenset({".go"}), None)
        for _ in zip(range(num_steps), build, strict=False):
            pass
        tree(root, {"a.go": "package a\n\nfunc Other() {\n\tif first && second && third {\n\t}\n}\n"})
        index.refresh(root / "a.go")
        for _ in build:
            pass
        assert index.definitions.num_names == 1


def test_ignored_files_give_none_and_secrets_are_masked(tmp_path: Path) -> None:
    secret = 'type Keys struct {\n\ttoken string = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"\n}\n'
    files = {".gitignore": "private/\n", "private/render.go": RENDER, "keys.go": secret, "main.go": MAIN}
    root = tree(tmp_path, files).resolve()
    text = MAIN.replace("Page{}", "Keys{}")
    view = EditorState(current=document(root, "main.go", text), sources=("definitions",), max_chars=4_000)
    worker = ContextWorker()
    try:
        worker.start([root])
        end_s = time.monotonic() + 60
        while not (found := worker.gather(view, ()).result()) and time.monotonic() < end_s:
            time.sleep(0.01)  # the index is built in the background
    finally:
        worker.close()
    assert [file.path for file in found] == ["keys.go"]
    assert "ghp_" not in found[0].text


def test_languages_whose_imports_are_followed_need_none(tmp_path: Path) -> None:
    editor = Editor(tree(tmp_path, {"shop.py": "def total(items):\n    return 1\n"}))
    editor.build(".py")
    assert editor.found("x = 1\n\n\n\ntotal(\n", "app.py") == []
