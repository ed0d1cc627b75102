"""Documents as odd editors send them: with a byte order mark, halves of characters, or no version."""

from __future__ import annotations

import pytest

from tests.lsp.conftest import FakeRuntime
from tests.lsp.raw_client import URI, RawClient, did_change, did_open, inline, notification


async def test_a_byte_order_mark_is_neither_sent_nor_replaced(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("tail")
    client.send(did_open("\ufeffx = \n"), inline(1, 0, 5))
    (item,) = await client.items(1)
    assert item["insertText"] == "x = tail"
    assert item["range"] == {"start": {"line": 0, "character": 1}, "end": {"line": 0, "character": 5}}
    assert "\ufeff" not in runtime.events("request")[0]["body"]["prompt"]


async def test_half_a_character_is_not_overwritten(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("tail")
    client.send(did_open('s = "\ud83d"; x = \n'), inline(1, 0, 13))
    (item,) = await client.items(1)
    assert item["range"]["start"]["character"] == 6
    assert item["insertText"] == '"; x = tail'
    client.send(did_change(2, "\ude00", (0, 6), (0, 6)), inline(2, 0, 14))
    (item,) = await client.items(2)
    assert item["range"]["start"]["character"] == 7
    assert runtime.events("request")[-1]["body"]["prompt"] == 's = "😀"; x = '


@pytest.mark.parametrize("version", [{"version": None}, {}])
async def test_a_change_without_a_version_is_applied(
    client: RawClient, runtime: FakeRuntime, version: dict[str, None]
) -> None:
    runtime.script("tail")
    span = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 1}}
    change = {"textDocument": {"uri": URI, **version}, "contentChanges": [{"range": span, "text": "yy"}]}
    client.send(did_open("x = \n"), notification("textDocument/didChange", change), inline(1, 0, 5))
    (item,) = await client.items(1)
    assert item["insertText"] == "yy = tail"
