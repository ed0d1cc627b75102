"""What each client makes of an item: what it shows, and what the line is when the item is accepted.

The rules of clients are told in a few lines each, after their sources; Neovim, VS Code, Emacs and Helix themselves are
driven in `tests/editors`, coc.nvim and LSP4IJ can't be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from lsp_server.completion.items import before_replaced, make_item
from lsp_server.documents.store import Cursor, DocumentStore, Place
from lsp_server.filters import Surroundings, filter_text
from lsp_server.filters.closers import num_replaced
from lsp_server.rpc.client_quirks import replaces_behind_cursor
from tests.lsp.conftest import FakeRuntime, Servers
from tests.lsp.raw_client import RawClient, did_change, did_open, inline

JETBRAINS = {"name": "PyCharm 2025.1", "version": "2025.1 (build PY-251.23774.444)"}


@dataclass(frozen=True)
class Item:
    """An item for a cursor in a line; `start` and `end` are its range there."""

    line: str
    cursor: int
    start: int
    end: int
    text: str

    @property
    def replaced(self) -> str:
        return self.line[: self.start] + self.text + self.line[self.end :]

    @property
    def typed(self) -> str:
        return self.line[self.start : self.cursor]


def neovim(item: Item) -> tuple[str, str]:
    """Ghost text less what it has in common with the range's text; accepting sets the range's text."""
    old = item.line[item.start : item.end]
    num_common = next((i for i, (a, b) in enumerate(zip(old, item.text, strict=False)) if a != b), len(old))
    return item.text[num_common:], item.replaced


def vs_code(item: Item) -> tuple[str, str]:
    """An item whose text does not begin with what was typed in its range isn't shown."""
    assert item.text.startswith(item.typed)
    return item.text[len(item.typed) :], item.replaced


def coc(item: Item) -> tuple[str, str]:
    """The range must hold the cursor; what ends the text and stands behind the cursor is not shown twice."""
    assert item.start <= item.cursor <= item.end
    shown, after = item.text[len(item.typed) :], item.line[item.cursor : item.end]
    return shown.removesuffix(after), item.replaced


def lsp4ij(item: Item) -> tuple[str, str]:
    """The typed part is left out by its length; text behind the cursor is passed over, and stays."""
    shown = item.text[len(item.typed) :]
    return shown, item.line[: item.end] + shown + item.line[item.end :]


CLIENTS: list[Callable[[Item], tuple[str, str]]] = [neovim, vs_code, coc, lsp4ij]
CODE = st.text(alphabet="ab()[]\"' .,:=é𝄞\t\n", max_size=10)


def item_for(head: str, tail: str, text: str) -> Item:
    store = DocumentStore("utf-32")
    store.open(types.TextDocumentItem(uri="file:///a.py", language_id="python", version=1, text=f"{head}{tail}\n"))
    snapshot = store.snapshot("file:///a.py")
    assert snapshot is not None
    item = make_item(text, snapshot, Cursor(0, len(head)))
    assert item.range is not None
    assert isinstance(item.insert_text, str)
    return Item(head + tail, len(head), item.range.start.character, item.range.end.character, item.insert_text)


@pytest.mark.parametrize("client", CLIENTS)
@given(CODE, CODE, CODE)
def test_nothing_is_shown_twice_and_accepting_gives_the_text(
    client: Callable[[Item], tuple[str, str]], head: str, tail: str, written: str
) -> None:
    head, tail = head.replace("\n", ""), tail.replace("\n", "")
    place = Place(head=head, tail=tail)
    text = filter_text(written, Surroundings(place=place, mode="block")).text
    if client is lsp4ij:
        text = before_replaced(text, place)
    if text:
        shown, line = client(item_for(head, tail, text))
        assert line == head + text + tail[num_replaced(text, place) :]
        assert text.endswith(shown) if client is neovim else text.startswith(shown)


@pytest.mark.parametrize(
    ("version", "expected"),
    [(JETBRAINS["version"], False), ("2024.3.1 (build IU-243.22562.145)", False), ("1.99.0", True), (None, True)],
)
def test_ides_of_jetbrains_are_known(version: str | None, expected: bool) -> None:
    assert replaces_behind_cursor(types.ClientInfo(name="an editor", version=version)) == expected
    assert replaces_behind_cursor(None)


@pytest.mark.parametrize(
    ("client_info", "written", "expected"),
    [
        (None, "beta) + 1\n", ("beta) + 1", 3)),
        (JETBRAINS, "beta) + 1\n", ("beta", 2)),
        (JETBRAINS, "beta)\n", ("beta", 2)),
        (JETBRAINS, ") + 1\n", None),
    ],
)
async def test_closers_stay_where_the_editor_does_not_replace_them(
    servers: Servers, runtime: FakeRuntime, client_info: Any, written: str, expected: tuple[str, int] | None
) -> None:
    runtime.script(written)
    client = await servers.start()
    await client.initialize(clientInfo=client_info)
    await client.until_engine("ready")
    client.send(did_open("f()\n"), inline(1, 0, 2))
    items = [(item["insertText"], item["range"]["end"]["character"]) for item in await client.items(1)]
    assert items == ([expected] if expected else [])
    if not expected:
        assert "can't replace" in (await client.why())["detail"]
    await client.close()


async def test_coc_runs_the_items_command_for_a_word_of_it_too(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("alpha + beta\n")
    client.send(did_open("x = \n"), inline(1, 0, 4))
    command = (await client.items(1))[0]["command"]
    run = {"command": command["command"], "arguments": command["arguments"]}
    counted = []
    for change in (did_change(2, "alpha", (0, 4), (0, 4)), did_change(3, " + beta", (0, 9), (0, 9))):
        client.send(change)
        await client.ask("workspace/executeCommand", run)
        stats = (await client.ask("workspace/executeCommand", {"command": "tabcast.server.stats"}))["result"]
        counted.append((stats["partlyAccepted"], stats["accepted"], stats["acceptedChars"]))
    assert counted == [(1, 0, 5), (0, 1, 12)]
