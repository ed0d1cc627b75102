"""Context while somebody works: frozen in a burst of typing, gathered in the pauses, never waited for for long."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from lsprotocol import types

from lsp_server.context import gather
from lsp_server.context.gather import ContextGatherer
from lsp_server.context.snippets import SOURCES, EditorState
from lsp_server.context.worker import ContextWorker
from lsp_server.documents.store import DocumentStore
from tests.lsp.conftest import until
from tests.lsp.test_context_ignore import tree

WINDOW = 8192


class Editor:
    """What an editor tells, with a clock that the test moves."""

    def __init__(self, root: Path) -> None:
        self.now_s = 0.0
        self.root = root
        self.documents = DocumentStore("utf-16")
        self.context = ContextGatherer(self.documents, lambda: [root.as_uri()], lambda: self.now_s)
        self.version = 1

    def uri(self, name: str) -> str:
        return (self.root / name).as_uri()

    def open(self, name: str, text: str | None = None) -> None:
        text = (self.root / name).read_text(encoding="utf-8") if text is None else text
        item = types.TextDocumentItem(uri=self.uri(name), language_id="python", version=1, text=text)
        self.documents.open(item)
        self.context.opened(item.uri)

    def close(self, name: str) -> None:
        self.context.closing(self.uri(name))
        self.documents.close(self.uri(name))

    def type(self, name: str, text: str, line: int, column: int = 0) -> None:
        self.version += 1
        place = types.Position(line=line, character=column)
        params = types.DidChangeTextDocumentParams(
            text_document=types.VersionedTextDocumentIdentifier(uri=self.uri(name), version=self.version),
            content_changes=[
                types.TextDocumentContentChangePartial(range=types.Range(start=place, end=place), text=text)
            ],
        )
        self.documents.change(params)
        self.context.changed(params)

    async def files(self, name: str, line: int, sources: tuple[str, ...] = SOURCES, tokens: int = WINDOW) -> list[str]:
        snapshot = self.documents.snapshot(self.uri(name))
        assert snapshot is not None
        await self.context.prepare(snapshot, line, sources, tokens)
        return [f"{file.path}: {file.text}" for file in self.context.files(self.uri(name))]


FILES = {
    "shop.py": "class Basket:\n    net: int\n\n    def total_price(self, discount):\n        return self.net\n",
    "app.py": "from shop import Basket\n\n\ndef run(basket: Basket):\n    \n",
    "open.py": "def visited():\n    return 'place'\n",
    ".env": "TOKEN=1\n",
    "build/gen.py": "def generated_price(basket, discount):\n    pass\n",
}


@pytest.fixture
async def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Editor]:
    monkeypatch.setattr(gather, "WAIT_S", 30.0)  # machines may be slow
    editor = Editor(tree(tmp_path, FILES).resolve())
    yield editor
    editor.context.close()


async def test_all_sources_come_together(editor: Editor) -> None:
    editor.open("open.py")
    editor.open("app.py")
    editor.type("open.py", "# changed\n", 0)
    found = await editor.files("app.py", 4)
    assert [text.partition(":")[0] for text in found] == ["shop.py", "open.py", "recent-edits.diff"]
    assert "class Basket" in found[0]
    assert "+# changed" in found[2]


async def test_typing_does_not_change_the_context(editor: Editor) -> None:
    editor.open("open.py")
    editor.open("app.py")
    before = await editor.files("app.py", 4)
    for number in range(20):
        editor.now_s += 0.5
        editor.type("app.py", "x", 4, 4 + number)
        editor.type("open.py", "y", 0)  # as a rename would
        assert await editor.files("app.py", 4) == before
    editor.now_s += 2.5  # a pause ends the burst
    editor.type("app.py", "x", 4, 4)
    assert "recent-edits" in "".join(await editor.files("app.py", 4))


async def test_a_jump_is_a_new_burst(editor: Editor) -> None:
    similar = "def net_price(basket, discount):\n    return total_price"
    editor.open("app.py", FILES["app.py"] + "\n" * 100 + similar)
    editor.open("shop.py")
    assert await editor.files("app.py", 50, ("similar",)) == []
    assert await editor.files("app.py", 70, ("similar",)) == []
    assert "total_price" in "".join(await editor.files("app.py", 106, ("similar",)))


async def test_a_pause_gathers_for_the_next_burst(editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "PAUSE_S", 0.02)
    editor.open("open.py")
    editor.open("app.py")
    await editor.files("app.py", 4)
    editor.type("open.py", "# changed\n", 0)
    editor.context._ready = None
    await editor.files("app.py", 4)
    await until(lambda: editor.context._ready is not None, "the gathering in the pause")
    editor.now_s += 5
    editor.type("app.py", "x", 4, 4)
    monkeypatch.setattr(editor.context._worker, "gather", None)  # nobody asks it again
    assert "+# changed" in "".join(await editor.files("app.py", 4))


async def test_a_slow_gathering_is_not_waited_for(editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "WAIT_S", 0.005)
    editor.open("app.py")
    busy = threading.Event()
    editor.context._worker._submit(busy.wait)
    assert await editor.files("app.py", 4) == []
    busy.set()
    await until(lambda: editor.context._ready is not None, "the gathering")
    found = await editor.files("app.py", 4)  # once it is there, the burst takes it
    assert "class Basket" in "".join(found)
    editor.type("app.py", "from open import visited\n", 1)
    editor.context._ready = None
    assert await editor.files("app.py", 5) == found


async def test_what_takes_too_long_anyway_is_not_waited_for(editor: Editor) -> None:
    editor.open("app.py")
    busy = threading.Event()
    editor.context._worker._submit(busy.wait)
    editor.context._takes_s = gather.WAIT_S + 1
    assert await asyncio.wait_for(editor.files("app.py", 4), gather.WAIT_S / 2) == []
    busy.set()
    await until(lambda: editor.context._ready is not None, "the gathering")
    assert 0 < editor.context._takes_s < gather.WAIT_S
    assert "class Basket" in "".join(await editor.files("app.py", 4))


async def test_a_judgement_does_not_wait_for_what_is_gathered(editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "WAIT_S", 0.0)
    editor.open("app.py")
    await editor.context.ignored_by(editor.uri("app.py"))
    begun, is_judged = threading.Event(), threading.Event()

    def steps(_: EditorState) -> Iterator[None]:
        begun.set()
        while not is_judged.wait(0.001):
            yield None

    monkeypatch.setattr(editor.context._worker, "_snippets", steps)
    await editor.files("app.py", 4)
    await until(begun.is_set, "the gathering")
    editor.open(".env", "TOKEN=1\n")
    assert await asyncio.wait_for(editor.context.ignored_by(editor.uri(".env")), 30) == ".env (built in)"
    is_judged.set()


def test_a_document_is_judged_by_the_folders_of_its_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        tree(tmp_path / name, {".gitignore": f"{name}.py\n", "one.py": "", "two.py": ""})
    worker, busy = ContextWorker(), threading.Event()
    worker._submit(busy.wait)
    judged = []
    for folder in ("one", "two", "one"):
        worker.start([(tmp_path / folder).resolve()])
        judged += [worker.judge((tmp_path / folder / f"{name}.py").resolve(), name) for name in ("one", "two")]
    judged.append(worker.judge((tmp_path / "two" / "two.py").resolve(), "outside"))
    busy.set()
    found = [judging.result(30) for judging in judged]
    assert found == ["one.py (.gitignore)", "", "", "two.py (.gitignore)", "one.py (.gitignore)", "", ""]
    worker.close()


async def test_nobody_waits_for_a_judgement_after_the_end(editor: Editor) -> None:
    busy = threading.Event()
    editor.context._worker._submit(busy.wait)
    editor.open("app.py")
    asking = asyncio.ensure_future(editor.context.ignored_by(editor.uri("app.py")))
    await asyncio.sleep(0)
    editor.context.close()
    busy.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asking, 30)


async def test_sources_and_models_that_want_none_get_none(editor: Editor) -> None:
    editor.open("open.py")
    editor.open("app.py")
    assert await editor.files("app.py", 4, ()) == []
    assert await editor.files("app.py", 4, SOURCES, 1024) == []
    assert await editor.files("app.py", 4, ("imports",)) == [basket_outline()]
    assert await editor.files("app.py", 4, ("edits",)) == []


def basket_outline() -> str:
    return "shop.py: class Basket:\n    net: int\n    def total_price(self, discount): ...\n"


async def test_ignored_documents_are_not_served_and_no_context_of_others(editor: Editor) -> None:
    for name in (".env", "build/gen.py", "app.py"):
        editor.open(name)
    assert await editor.context.ignored_by(editor.uri(".env")) == ".env (built in)"
    assert await editor.context.ignored_by(editor.uri("build/gen.py")) == "build/ (built in)"
    assert await editor.context.ignored_by(editor.uri("app.py")) == ""
    assert await editor.context.ignored_by("untitled:secrets.txt") == "secrets.* (built in)"
    editor.type("build/gen.py", "# typed\n", 0)
    assert {text.partition(":")[0] for text in await editor.files("app.py", 4)} == {"shop.py"}


async def test_new_rules_hold_when_they_are_saved(editor: Editor) -> None:
    editor.open("open.py")
    editor.open("app.py")
    assert "visited" in "".join(await editor.files("app.py", 4))
    tree(editor.root, {".tabcastignore": "open.py\n"})
    editor.context.changed_on_disk([editor.uri(".tabcastignore")])
    assert await editor.context.ignored_by(editor.uri("open.py")) == "open.py (.tabcastignore)"
    editor.now_s += 5
    editor.context._ready = None
    assert "visited" not in "".join(await editor.files("app.py", 4))


async def test_a_request_waits_for_new_rules_and_not_for_a_look_at_the_old_ones(editor: Editor) -> None:
    editor.open("app.py")
    assert await editor.context.ignored_by(editor.uri("app.py")) == ""
    is_free = threading.Event()
    editor.context._worker._submit(is_free.wait, 30)
    tree(editor.root, {".tabcastignore": "app.py\n"})
    editor.context.changed_on_disk([editor.uri("other.py")])  # whatever that has to do with it
    assert await asyncio.wait_for(editor.context.ignored_by(editor.uri("app.py")), 30) == ""
    editor.context.changed_on_disk([editor.uri(".tabcastignore")])
    waiting = asyncio.create_task(editor.context.ignored_by(editor.uri("app.py")))
    await asyncio.sleep(0)
    assert not waiting.done()
    is_free.set()
    assert await waiting == "app.py (.tabcastignore)"
    await asyncio.sleep(0)
    assert await editor.context.ignored_by(editor.uri("app.py")) == "app.py (.tabcastignore)"


async def test_a_large_document_is_no_context(editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "MAX_LINES", 100)
    editor.open("app.py")
    editor.open("open.py", "def visited():\n    return 'place'\n" * 60)
    editor.open("long.py", "def visited():\n    return 'place'\n" + "#" * 20_000)
    found = "".join(await editor.files("app.py", 4))
    assert "class Basket" in found
    assert "visited" not in found
    for name in ("open.py", "long.py"):
        editor.context.closing(editor.uri(name))


async def test_a_closed_document_was_visited_lately(editor: Editor) -> None:
    editor.open("open.py")
    editor.open("app.py")
    editor.type("open.py", "# changed\n", 0)
    editor.close("open.py")
    found = "".join(await editor.files("app.py", 4, ("open", "edits")))
    assert "return 'place'" in found
    assert "+# changed" in found


async def test_documents_of_other_schemes_are_no_context(editor: Editor) -> None:
    item = types.TextDocumentItem(uri="output:log", language_id="python", version=1, text="print('log')\n")
    editor.documents.open(item)
    editor.context.opened(item.uri)
    editor.open("app.py")
    assert await editor.files("app.py", 4, ("open", "similar", "edits")) == []


async def test_the_event_loop_goes_on_while_a_large_workspace_is_indexed(editor: Editor) -> None:
    """The work is done in another thread and in steps; how long a step takes is measured elsewhere."""
    tree(editor.root, {f"many/{n}.py": FILES["shop.py"] * 20 for n in range(100)})
    editor.open("app.py")
    await editor.files("app.py", 4, ("similar",))
    index = editor.context._worker._index
    turns = 0
    end = time.monotonic() + 30
    while index.num_files < 100 and time.monotonic() < end:
        await asyncio.sleep(0)
        turns += 1
    assert index.num_files >= 100
    assert turns > 100
