"""What is completed where it is not quite what the editor has open: cells of notebooks, selected entries of pop-ups."""

from __future__ import annotations

from typing import Any

import pytest
from lsprotocol import types

from lsp_server.completion.items import make_item
from lsp_server.documents.notebooks import Notebooks
from lsp_server.documents.store import DocumentStore, Snapshot
from lsp_server.documents.views import view_of
from tests.lsp.conftest import FakeRuntime, Servers
from tests.lsp.raw_client import RawClient, did_change, did_open, inline, notification

NOTEBOOK = "file:///work/project/a.ipynb"


def snapshot_of(text: str) -> Snapshot:
    store = DocumentStore("utf-16")
    store.open(types.TextDocumentItem(uri="file:///a.py", language_id="python", version=1, text=text))
    snapshot = store.snapshot("file:///a.py")
    assert snapshot is not None
    return snapshot


def selected(text: str, start: tuple[int, int], end: tuple[int, int]) -> types.SelectedCompletionInfo:
    return types.SelectedCompletionInfo(range=types.Range(types.Position(*start), types.Position(*end)), text=text)


@pytest.mark.parametrize(
    ("line", "cursor", "entry", "seen", "written", "inserted", "columns"),
    [
        ("x = ap", 6, ("append", 4), "x = append", "(1)", "append(1)", (4, 6)),
        ("𝄞 = ap", 7, ("append", 5), "𝄞 = append", "(1)", "append(1)", (5, 7)),
        ("f(ap)", 4, ("append", 2), "f(append)", "(1))", "append(1))", (2, 5)),
        ("x = ", 4, ("y", 4), "x = y", " + 1", "y + 1", (4, 4)),
    ],
)
def test_an_item_begins_with_the_entry_and_replaces_its_range(
    line: str, cursor: int, entry: tuple[str, int], seen: str, written: str, inserted: str, columns: tuple[int, int]
) -> None:
    text, start = entry
    snapshot = snapshot_of(f"above\n{line}\nbelow\n")
    view = view_of(snapshot, types.Position(1, cursor), selected(text, (1, start), (1, cursor)))
    assert view.snapshot.lines == ("above\n", f"{seen}\n", "below\n", "")
    item = view.in_original(make_item(written, view.snapshot, view.snapshot.cursor(view.position)))
    assert item.insert_text == inserted
    assert item.range == types.Range(types.Position(1, columns[0]), types.Position(1, columns[1]))


@pytest.mark.parametrize(
    "entry",
    [
        selected("append", (0, 0), (0, 2)),  # another line
        selected("append", (1, 0), (1, 2)),  # the cursor is behind it
        selected("append", (0, 4), (1, 6)),
        selected("two\nlines", (1, 4), (1, 6)),
        selected("", (1, 4), (1, 6)),
    ],
)
def test_an_entry_that_is_not_around_the_cursor_changes_nothing(entry: types.SelectedCompletionInfo) -> None:
    snapshot = snapshot_of("above\nx = ap\n")
    view = view_of(snapshot, types.Position(1, 6), entry)
    assert view.snapshot is snapshot
    item = make_item("pend", snapshot, snapshot.cursor(view.position))
    assert view.in_original(item) is item


def test_lines_above_are_seen_and_left_out_of_the_answer() -> None:
    snapshot = snapshot_of("y = \n")
    view = view_of(snapshot, types.Position(0, 4), selected("a", (0, 4), (0, 4)), ["x = 1\n", "\n"])
    assert view.snapshot.text == "x = 1\n\ny = a\n"
    item = view.in_original(make_item(" + x", view.snapshot, view.snapshot.cursor(view.position)))
    assert (item.insert_text, item.range) == ("a + x", types.Range(types.Position(0, 4), types.Position(0, 4)))


def cell(number: int, kind: int = 2) -> dict[str, Any]:
    return {"kind": kind, "document": f"vscode-notebook-cell:/a.ipynb#{number}"}


def cell_text(number: int, text: str, language: str = "python") -> dict[str, Any]:
    return {"uri": cell(number)["document"], "languageId": language, "version": 1, "text": text}


async def open_notebook(servers: Servers, runtime: FakeRuntime) -> RawClient:
    runtime.script("tail")
    client = await servers.start()
    capabilities = {"notebookDocument": {"synchronization": {}}}
    answer = await client.initialize(capabilities=capabilities)
    assert answer["capabilities"]["notebookDocumentSync"]["notebookSelector"] == [{"notebook": "*"}]
    await client.until_engine("ready")
    cells = [cell(1), cell(2, kind=1), cell(3), cell(4), cell(5)]
    texts = [
        cell_text(1, "import os"),
        cell_text(2, "# Title", "markdown"),
        cell_text(3, "select 1", "sql"),
        cell_text(4, "x = 1\n"),
        cell_text(5, "y = "),
    ]
    notebook = {"uri": NOTEBOOK, "notebookType": "jupyter-notebook", "version": 1, "cells": cells}
    client.send(
        notification("notebookDocument/didOpen", {"notebookDocument": notebook, "cellTextDocuments": texts}),
    )
    return client


def change_notebook(**cells: Any) -> dict[str, Any]:
    params = {"notebookDocument": {"uri": NOTEBOOK, "version": 2}, "change": {"cells": cells}}
    return notification("notebookDocument/didChange", params)


async def test_a_cell_is_completed_below_the_code_above_it(servers: Servers, runtime: FakeRuntime) -> None:
    client = await open_notebook(servers, runtime)
    uri = cell(5)["document"]
    client.send(inline(1, 0, 4, uri=uri))
    item = (await client.items(1))[0]
    assert item["insertText"] == "y = tail"
    assert item["range"]["end"] == {"line": 0, "character": 4}
    assert runtime.events("request")[0]["body"]["prompt"].endswith("import os\nx = 1\n\ny = ")
    change = did_change(2, "z", (0, 0), (0, 1), uri=cell(4)["document"])["params"]
    text = {"document": change["textDocument"], "changes": change["contentChanges"]}
    client.send(change_notebook(textContent=[text]), inline(2, 0, 4, uri=uri))
    await client.items(2)
    array = {"start": 0, "deleteCount": 4, "cells": [cell(6)]}
    closed = [{"uri": cell(number)["document"]} for number in (1, 2, 3, 4)]
    structure = {"array": array, "didOpen": [cell_text(6, "import re")], "didClose": closed}
    client.send(change_notebook(structure=structure), inline(3, 0, 4, uri=uri))
    await client.items(3)
    prompts = [event["body"]["prompt"] for event in runtime.events("request")]
    assert any(prompt.endswith("import os\nz = 1\n\ny = ") for prompt in prompts)
    assert any(prompt.endswith("import re\ny = ") and "os" not in prompt for prompt in prompts)
    params = {"notebookDocument": {"uri": NOTEBOOK}, "cellTextDocuments": [{"uri": uri}, {"uri": cell(6)["document"]}]}
    client.send(notification("notebookDocument/didClose", params), inline(4, 0, 4, uri=uri))
    assert await client.items(4) == []
    assert (await client.why())["reason"] == "not open"
    await client.close()


def test_a_document_that_is_no_cell_has_nothing_above_it() -> None:
    assert not Notebooks().above("file:///a.py", DocumentStore("utf-16"))


async def test_what_is_selected_in_the_pop_up_is_honoured(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("(item)")
    client.send(did_open("items.ap\n"))
    for number, form in enumerate((dict, list), 1):
        message = inline(number, 0, 8)
        points = [{"line": 0, "character": 6}, {"line": 0, "character": 8}]
        span = points if form is list else dict(zip(("start", "end"), points, strict=True))
        message["params"]["context"]["selectedCompletionInfo"] = {"text": "append", "range": span}
        client.send(message)
        item = (await client.items(number))[0]
        assert (item["insertText"], item["range"]) == ("append(item)", dict(zip(("start", "end"), points, strict=True)))
    assert runtime.events("request")[0]["body"]["prompt"] == "items.append"
