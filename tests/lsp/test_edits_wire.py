"""The next edit over the wire: the form that clients of Copilot's language server expect, and when there is none."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lsp.conftest import Servers
from tests.lsp.raw_client import URI, RawClient, did_change, did_open, inline, notification, request

TEXT = "def load(path):\n    return open(path)\n\n\ndata = load(3)\nmore = load(4)\n"
METHOD = "textDocument/copilotInlineEdit"


def ask_edit(request_id: int, line: int, character: int, version: int = 2, uri: str = URI) -> dict[str, Any]:
    params = {
        "textDocument": {"uri": uri, "version": version},
        "position": {"line": line, "character": character},
        "context": {"triggerKind": 2},
    }
    return request(request_id, METHOD, params)


async def edits(client: RawClient, request_id: int) -> list[dict[str, Any]]:
    answer = await client.answer(request_id)
    assert set(answer["result"]) == {"edits"}
    found: list[dict[str, Any]] = answer["result"]["edits"]
    return found


def renamed() -> list[dict[str, Any]]:
    return [did_open(TEXT), did_change(2, "fetch", (0, 4), (0, 8))]


async def test_a_rename_is_offered_place_by_place_until_all_is_done(client: RawClient) -> None:
    client.send(*renamed(), ask_edit(1, 0, 8))
    (edit,) = await edits(client, 1)
    assert edit["text"] == "fetch"
    assert edit["range"] == {"start": {"line": 4, "character": 7}, "end": {"line": 4, "character": 11}}
    assert edit["textDocument"] == {"uri": URI, "version": 2}
    client.send(notification("textDocument/didShowInlineEdit", {"item": {"command": edit["command"]}}))
    client.send(did_change(3, "fetch", (4, 7), (4, 11)))
    await client.ask("workspace/executeCommand", edit["command"] | {"title": ""})
    client.send(ask_edit(2, 4, 11, 3))
    (edit,) = await edits(client, 2)
    assert edit["range"]["start"] == {"line": 5, "character": 7}
    client.send(did_change(4, "fetch", (5, 7), (5, 11)), ask_edit(3, 5, 11, 4))
    assert await edits(client, 3) == []
    assert (await client.why())["reason"] == "nothing due"
    stats = (await client.ask("workspace/executeCommand", {"command": "tabcast.server.stats"}))["result"]
    assert stats["nextEdits"] == {"offered": 2, "accepted": 1, "dismissed": 0, "displayed": 1}


async def test_an_undo_a_redo_and_an_opened_document_ask_for_nothing(client: RawClient) -> None:
    client.send(did_open(TEXT), ask_edit(1, 0, 8, 1))
    assert await edits(client, 1) == []
    client.send(did_change(2, "fetch", (0, 4), (0, 8)), did_change(3, "load", (0, 4), (0, 9)), ask_edit(2, 0, 0, 3))
    assert await edits(client, 2) == []
    client.send(did_change(4, "fetch", (0, 4), (0, 8)), ask_edit(3, 0, 0, 4))
    assert await edits(client, 3) == []
    why = await client.why()
    assert (why["reason"], why["detail"]) == ("not asked", "the last change was an undo or a redo")


async def test_a_dismissed_edit_stays_away(client: RawClient) -> None:
    client.send(*renamed(), ask_edit(1, 0, 8))
    (edit,) = await edits(client, 1)
    dismissal = {"command": "tabcast.server.editRejected", "arguments": edit["command"]["arguments"]}
    await client.ask("workspace/executeCommand", dismissal)
    client.send(ask_edit(2, 0, 8))
    assert await edits(client, 2) == []
    assert (await client.why())["detail"] == "an edit was dismissed a moment ago"


async def test_a_newer_request_ends_an_older_one_and_each_has_one_answer(client: RawClient) -> None:
    client.send(*renamed(), ask_edit(1, 0, 9), ask_edit(2, 0, 8))
    assert await edits(client, 1) == []
    assert len(await edits(client, 2)) == 1
    client.send(ask_edit(3, 0, 9), notification("$/cancelRequest", {"id": 3}))
    answer = await client.answer(3)
    assert "error" not in answer or answer["error"]["code"] == -32800
    assert all(len(client.answers_to(number)) == 1 for number in (1, 2, 3))


async def test_a_change_right_behind_the_request_leaves_no_edit_for_another_text(client: RawClient) -> None:
    client.send(*renamed(), ask_edit(1, 0, 8), did_change(3, "import os\n", (0, 0), (0, 0)))
    for edit in await edits(client, 1):  # it has moved along
        assert edit["textDocument"]["version"] == 3
        assert edit["range"]["start"] == {"line": 5, "character": 7}


async def test_malformed_parameters_are_refused(client: RawClient) -> None:
    place = {"line": 0, "character": 0}
    malformed: list[Any] = [
        None,
        {},
        {"textDocument": {"uri": 7}, "position": place},
        {"textDocument": {"uri": URI}, "position": {"line": -1, "character": 0}},
        {"textDocument": {"uri": URI}, "position": {"line": True, "character": 0}},
        {"textDocument": {"uri": URI}, "position": [0, 0]},
    ]
    client.send(did_open(TEXT))
    for number, params in enumerate(malformed, 1):
        client.send(request(number, METHOD, params))
        assert (await client.answer(number))["error"]["code"] == -32602
        client.send(notification("textDocument/didShowInlineEdit", params))
    client.send(ask_edit(9, 0, 0, 1, uri="file:///other.py"))
    assert await edits(client, 9) == []
    assert (await client.why())["reason"] == "not open"


@pytest.mark.parametrize(("encoding", "width"), [("utf-8", 4), ("utf-16", 2), ("utf-32", 1)])
async def test_positions_count_as_was_agreed_and_line_ends_stay(servers: Servers, encoding: str, width: int) -> None:
    servers.runtime.script("")
    client = await servers.start()
    told = await client.initialize(encoding)
    await client.until_engine("ready")
    assert told["capabilities"]["experimental"] == {"inlineEditProvider": {"method": METHOD}}
    text = "def load(path):\r\n    return path\r\n\r\nx = '𠮷', load(1)\r\n"
    client.send(did_open(text), did_change(2, "fetch", (0, 4), (0, 8)), ask_edit(1, 0, 8))
    (edit,) = await edits(client, 1)
    start = 8 + width
    span = {"start": {"line": 3, "character": start}, "end": {"line": 3, "character": start + 4}}
    assert (edit["range"], edit["text"]) == (span, "fetch")
    await client.close()


async def test_they_can_be_turned_off_and_snoozed(client: RawClient) -> None:
    await client.ask("workspace/executeCommand", {"command": "tabcast.server.snooze", "arguments": [5]})
    client.send(*renamed(), ask_edit(1, 0, 8))
    assert await edits(client, 1) == []
    assert (await client.why())["reason"] == "snoozed"
    client.send(notification("workspace/didChangeConfiguration", {"settings": {"tabcast": {"nextEdits": False}}}))
    client.send(ask_edit(2, 0, 8))
    assert await edits(client, 2) == []
    assert (await client.why())["reason"] == "disabled"


async def test_an_edit_on_the_cursors_line_is_an_ordinary_suggestion_where_it_can_be_shown_as_one(
    client: RawClient,
) -> None:
    client.send(did_open(TEXT), did_change(2, "_all", (0, 8), (0, 8)), inline(1, 4, 11))
    (item,) = await client.items(1)
    span = {"start": {"line": 4, "character": 11}, "end": {"line": 4, "character": 11}}
    assert (item["insertText"], item["range"]) == ("_all", span)
    why = await client.why()
    assert (why["reason"], why["detail"]) == ("next edit", "rename")
    client.send(did_change(3, "# a", (6, 0), (6, 0)), inline(2, 5, 0))
    (item,) = await client.items(2)
    assert (item["insertText"], item["range"]["end"]) == ("more = load_all", {"line": 5, "character": 11})
    client.send(did_change(4, "_all", (4, 11), (4, 11)), ask_edit(3, 4, 15, 4))  # accepted, and the next follows
    (edit,) = await edits(client, 3)
    assert edit["range"]["start"]["line"] == 5
    client.send(did_change(5, "b", (6, 3), (6, 3)), inline(4, 1, 4))
    assert await client.items(4) == []
