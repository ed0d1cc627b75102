"""What each source of context finds, and how pieces are chosen and ordered."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoding.protocol import ContextFile
from lsp_server.context.files import Workspace
from lsp_server.context.imports import find_imports, find_script_imports, imported_definitions, read_module
from lsp_server.context.open_files import visited_places
from lsp_server.context.outline import outline
from lsp_server.context.ranking import MAX_CHARS, MIN_CONTEXT_TOKENS, choose, room_for
from lsp_server.context.recent_edits import DIFF_PATH, RecentEdits, diff
from lsp_server.context.similar import MAX_BYTES, SimilarIndex
from lsp_server.context.snippets import EditorState, OpenDocument, Snippet
from lsp_server.documents.store import split_lines
from tests.lsp.test_context_ignore import tree

ROOT = Path("/project")
LANGUAGES = {".py": "python", ".ts": "typescript"}


def document(path: str, text: str, line: int = 0, root: Path = ROOT, revision: int = 0) -> OpenDocument:
    return OpenDocument(
        uri=(root / path).as_uri(),
        path=path,
        file=root / path,
        language=LANGUAGES[Path(path).suffix],
        revision=revision,
        lines=tuple(split_lines(text)),
        line=line,
    )


CLASS = '''@dataclass(frozen=True)
class A(B):
    """An A."""

    x: int = 1

    def __init__(self, x: int) -> None:
        self.x = x

    @property
    def go(self):
        """Goes."""

    def _hidden(self):
        pass


LIMIT: Final = 3
'''
CLASS_OUTLINE = '''@dataclass(frozen=True)
class A(B):
    """An A."""
    x: int = 1
    def __init__(self, x: int) -> None: ...
    @property
    def go(self):
        """Goes."""'''
OUTLINES = [
    ("def f(a, b=1) -> int:\n    return a\n", ["def f(a, b=1) -> int: ..."]),
    ('async def f():\n    """Does it.\n\n    More.\n    """\n', ['async def f():\n    """Does it."""']),
    ("def f(\n    a: int,\n    b: str,\n) -> None:\n    pass\n", ["def f(\n    a: int,\n    b: str,\n) -> None: ..."]),
    ("def f(a", ["def f(a ..."]),
    (CLASS, [CLASS_OUTLINE, "LIMIT: Final = 3"]),
    ("class Empty(Exception):\n    pass\n", ["class Empty(Exception): ..."]),
    ("class One: pass\ndef two(): return 2\n", ["class One: pass", "def two(): return 2"]),
    ("if x == 1:\n    def inner(): pass\n# def no(): pass\n", []),
]


@pytest.mark.parametrize(("text", "expected"), OUTLINES)
def test_the_outline_of_python(text: str, expected: list[str]) -> None:
    assert [definition.text for definition in outline(text.split("\n"), "python")] == expected


def test_the_outline_of_typescript() -> None:
    text = (
        "export interface Shop {\n  name: string;\n}\n"
        "export async function open(shop: Shop): Promise<void> {\n  return;\n}\n"
        "export class Till {\n  total = 0;\n  add(price: number): void {\n    this.total += price;\n  }\n}\n"
        "const limit = 3;\n"
    )
    assert [definition.text for definition in outline(text.split("\n"), "typescript")] == [
        "export interface Shop {\n  name: string;\n}",
        "export async function open(shop: Shop): Promise<void>",
        "export class Till {\n  add(price: number): void\n}",
        "const limit = 3;",
    ]


@given(st.text(alphabet="def cls(a):\n\t \"'#=1", max_size=300))
def test_no_text_is_too_broken_for_an_outline(text: str) -> None:
    for language in ("python", "typescript"):
        outline(text.split("\n"), language)
    find_imports(text.split("\n"))


def test_python_imports() -> None:
    text = "import os, a.b as c  # why\nfrom ..x import (\n    One,  # first\n    Two as T,\n)\nfrom . import y\n"
    assert [tuple(one) for one in find_imports(text.split("\n"))] == [
        ("os", "", "os"),
        ("a.b", "", "c"),
        ("..x", "One", "One"),
        ("..x", "Two", "T"),
        (".", "y", "y"),
    ]


def test_script_imports() -> None:
    text = "import { Shop, open as o } from './shop';\nimport x from 'react';\nconst { Till } = require('../till');\n"
    assert [tuple(one) for one in find_script_imports(text.split("\n"))] == [
        ("./shop", "Shop", "Shop"),
        ("./shop", "open", "o"),
        ("../till", "Till", "Till"),
    ]


FILES = {
    "shop/__init__.py": "from .models import Item\n",
    "shop/models.py": "class Item:\n    price: int\n\n\ndef unused():\n    pass\n",
    "shop/tools.py": "def clean(text: str) -> str:\n    return text\n",
    "src/lib.py": "def helper():\n    pass\n",
    "web/shop.ts": "export interface Shop {\n  name: string;\n}\n",
    "os.py": "def shadow():\n    pass\n",
}


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("shop/app.py", "from .models import Item\nItem", {"shop/models.py": 1.0}),
        ("app.py", "from shop.models import Item, unused\n" + "\n" * 60 + "Item", {"shop/models.py": 1.0}),
        ("app.py", "from shop import Item\nItem", {"shop/models.py": 1.0}),  # passed on by the package
        ("app.py", "from shop import tools\ntools.clean()", {"shop/tools.py": 0.4}),
        ("app.py", "import shop.tools as t\nt.clean()", {"shop/tools.py": 1.0}),
        ("app.py", "import lib\nlib.helper()", {"src/lib.py": 1.0}),
        ("app.py", "import os\nos.shadow()", {}),  # the standard library's
        ("app.py", "from .....x import y\nfrom shop.none import z\nfrom requests import get\n", {}),
        ("web/app.ts", "import { Shop } from './shop.js';\nlet shop: Shop;", {"web/shop.ts": 1.0}),
    ],
)
def test_definitions_of_imported_modules(tmp_path: Path, path: str, text: str, expected: dict[str, float]) -> None:
    workspace = Workspace([tree(tmp_path, FILES)])
    roots = workspace.roots

    def find(file: Path):  # type: ignore[no-untyped-def]
        read = workspace.read(file)
        return read and read_module(read.path, read.path.relative_to(roots[0]).as_posix(), read.text.split("\n"))

    view = EditorState(current=document(path, text, line=text.count("\n"), root=roots[0]))
    found: dict[str, float] = {}
    for snippet in imported_definitions(view, roots, find):
        found[snippet.path] = max(snippet.score, found.get(snippet.path, 0))
        assert "unused" not in snippet.text or snippet.score < 0.5
    assert found.keys() == expected.keys()


def test_open_documents_show_where_one_was_and_else_what_they_define() -> None:
    text = "".join(f"line {n}\n" for n in range(200))
    others = (document("a.py", text, line=100), document("b.py", "import x\n\n\ndef f(): pass\n", line=-1))
    view = EditorState(current=document("app.py", ""), others=others, max_chars=1200)
    first, second = visited_places(view, iter(()))
    assert "line 100" in first.text
    assert first.text.count("\n") < 12
    assert (second.text, second.score) == ("def f(): pass\n", 0.5)


def look(edits: RecentEdits, path: str, *texts: str) -> OpenDocument:
    seen = None
    for number, text in enumerate(texts):
        seen = document(path, text, revision=number)
        edits.look(seen)
    assert seen is not None
    return seen


def texts_of(edits: RecentEdits, current: str = "other.py", line: int = 0) -> list[str]:
    return [snippet.text for snippet in edits.snippets(EditorState(current=document(current, "", line=line)))]


def test_keystrokes_are_one_edit_and_what_was_taken_back_is_none() -> None:
    edits = RecentEdits()
    look(edits, "a.py", "x\ny\nz\n", "x\ny = 1\nz\n", "x\ny = 12\nz\n", "x\ny = 123\nz\n")
    assert texts_of(edits) == ["@@ a.py @@\n x\n-y\n+y = 123\n z"]
    look(edits, "b.py", "x\n", "xy\n", "x\n")
    assert len(texts_of(edits)) == 1


def test_the_newest_edit_comes_first_and_those_around_the_cursor_not_at_all() -> None:
    edits = RecentEdits()
    lines = [f"{n}\n" for n in range(300)]
    one, two = list(lines), list(lines)
    one[10] = two[10] = "first\n"
    two[200] = "second\n"
    look(edits, "a.py", *map("".join, (lines, one, two)))
    assert [text.split("+")[1].split("\n")[0] for text in texts_of(edits)] == ["second", "first"]
    assert ["second" in text for text in texts_of(edits, "a.py", line=12)] == [True]
    two[10] = "first again\n"
    look(edits, "a.py", "".join(two))
    assert "first again" in texts_of(edits)[0]


def test_many_edits_are_forgotten_from_the_oldest() -> None:
    edits = RecentEdits()
    lines = [f"{n}\n" for n in range(400)]
    look(edits, "a.py", "".join(lines))
    for n in range(20):
        lines[n * 15 : n * 15 + 1] = [f"new {n}\n", "more\n"]
        look(edits, "a.py", "".join(lines))
    found = texts_of(edits)
    assert ["new 19" in found[0], len(found)] == [True, 8]
    assert not any("new 3\n" in text for text in found)


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_hunks_turn_one_text_into_the_other(old: list[str], new: list[str]) -> None:
    made = list(old)
    for hunk in reversed(diff(old, new, 0)):
        assert made[hunk.old_line : hunk.old_line + len(hunk.old)] == list(hunk.old)
        made[hunk.old_line : hunk.old_line + len(hunk.old)] = hunk.new
    assert made == new


SHOP = "def total_price(basket, discount):\n    net = basket.net_amount\n    return net * discount\n"
QUERY = "def final_price(basket, discount):\n    net = basket.net_amount\n    "


def index_of(root: Path, near: Path | None = None) -> SimilarIndex:
    index = SimilarIndex(Workspace([root]))
    for _ in index.build(frozenset({".py"}), near):
        pass
    return index


def similar(index: SimilarIndex, root: Path, *others: OpenDocument) -> list[Snippet]:
    view = EditorState(current=document("app.py", QUERY, line=2, root=root), others=others)
    return [snippet for snippet in index.snippets(view, (view.current, *others)) if snippet]


def test_similar_code_in_files_and_open_documents(tmp_path: Path) -> None:
    tree(tmp_path, {"shop.py": SHOP, "far.py": "class Unrelated:\n    pass\n", "app.py": QUERY, "a.txt": SHOP})
    root = tmp_path.resolve()
    index = index_of(root)
    assert [(s.path, s.text.strip()) for s in similar(index, root)] == [("shop.py", SHOP.strip())]
    opened = document("shop.py", SHOP.replace("total_price", "open_price"), root=root)
    assert ["open_price" in snippet.text for snippet in similar(index, root, opened)] == [True]


def test_the_index_follows_files(tmp_path: Path) -> None:
    root = tree(tmp_path, {"shop.py": "x = 1\n"}).resolve()
    index = index_of(root)
    tree(root, {"shop.py": SHOP, "new.py": SHOP.replace("total", "other")})
    assert similar(index, root) == []
    index.refresh(root / "shop.py")
    index.refresh(root / "new.py")
    assert {snippet.path for snippet in similar(index, root)} == {"shop.py", "new.py"}
    tree(root, {"shop.py": SHOP + "# now another\n"})
    assert {snippet.path for snippet in similar(index, root)} == {"new.py"}  # a stale window is not used
    (root / "new.py").unlink()
    index.refresh(root / "new.py")
    assert similar(index, root) == []
    assert index.num_files == 1


def counts(index: SimilarIndex) -> tuple[int, int, int, dict[int, int]]:
    return index.num_files, index.num_bytes, index._num_windows, dict(index._frequency)


@pytest.mark.parametrize("added", ["", SHOP])
def test_a_file_that_is_refreshed_while_the_index_is_built_counts_once(tmp_path: Path, added: str) -> None:
    """Whichever steps it comes between, and whether it changed meanwhile."""
    long = "".join(f"first_{n} = second_{n} + third_{n} + fourth_{n}\n" for n in range(250))
    root = tree(tmp_path, {"shop.py": added + long}).resolve()
    wanted, num_steps, is_over = counts(index_of(root)), 0, False
    while not is_over:
        tree(root, {"shop.py": long})
        index = SimilarIndex(Workspace([root]))
        build = index.build(frozenset({".py"}), None)
        is_over = len([*islice(build, num_steps)]) < num_steps
        tree(root, {"shop.py": added + long})
        index.refresh(root / "shop.py")
        for _ in build:
            pass
        assert counts(index) == wanted, f"between step {num_steps} and the next"
        num_steps += 1
    assert num_steps > 4


def test_the_index_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, {f"{folder}/{n}.py": SHOP for folder in ("near", "far") for n in range(4)})
    monkeypatch.setattr("lsp_server.context.similar.MAX_FILES", 5)
    root = tmp_path.resolve()
    index = index_of(root, near=root / "near")
    assert index.num_files == 5
    assert index.num_bytes == 5 * len(SHOP) < MAX_BYTES
    for _ in index.build(frozenset({".py"}), root / "near"):
        pass
    assert (index.num_files, index.num_bytes) == (5, 5 * len(SHOP))


def piece(source: str, path: str, size: int = 100, score: float = 1.0, line: int = 0) -> Snippet:
    text = (path[0] * 9 + "\n") * (size // 10)
    return Snippet(source=source, path=path, text=text[:-1], score=score, first_line=line)  # type: ignore[arg-type]


def test_the_best_pieces_are_chosen_and_the_stablest_source_comes_first() -> None:
    pieces = [piece("edits", DIFF_PATH), piece("open", "o.py"), piece("imports", "i.py"), piece("similar", "s.py")]
    assert [file.path for file in choose(pieces, 10_000)] == ["i.py", "o.py", "s.py", DIFF_PATH]
    assert [file.path for file in choose(pieces, 400)] == ["i.py", "s.py", DIFF_PATH]
    assert choose(pieces, 50) == ()


def test_one_source_takes_half_of_the_room_unless_it_is_alone() -> None:
    many = [piece("similar", f"{n}.py") for n in range(10)]
    assert len(choose(many, 580)) == 5
    assert len(choose([*many, piece("open", "o.py")], 580)) == 3


def test_what_was_sent_before_keeps_its_place() -> None:
    pieces = [piece("similar", "a.py", score=0.5), piece("similar", "b.py", score=0.9)]
    assert [file.path for file in choose(pieces, 1000)] == ["b.py", "a.py"]
    before = (ContextFile(path="a.py", text=""), ContextFile(path="b.py", text=""))
    assert [file.path for file in choose(pieces, 1000, before)] == ["a.py", "b.py"]


def test_lines_are_sent_once_and_secrets_not_at_all() -> None:
    same = [piece("open", "a.py", line=10), replace(piece("similar", "a.py", line=15), text="elsewhere")]
    assert len(choose(same, 1000)) == 1
    assert "hunter2" not in choose([replace(same[0], text="password = 'hunter2'")], 1000)[0].text


def test_the_room_follows_the_models_window() -> None:
    assert room_for(MIN_CONTEXT_TOKENS - 1) == 0
    assert 0 < room_for(MIN_CONTEXT_TOKENS) < room_for(0) < room_for(32_768) == MAX_CHARS
