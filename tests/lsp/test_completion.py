"""Suggestions as entries of a pop-up: the same text in another form, for editors without inline completion."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lsp.conftest import FakeRuntime, Servers, until
from tests.lsp.raw_client import URI, RawClient, did_change, did_open, inline, notification, request

MARKDOWN = {"completionItem": {"documentationFormat": ["markdown"], "insertTextModeSupport": {"valueSet": [1, 2]}}}


def complete(request_id: int, line: int, character: int) -> dict[str, Any]:
    params = {"textDocument": {"uri": URI}, "position": {"line": line, "character": character}}
    return request(request_id, "textDocument/completion", {**params, "context": {"triggerKind": 1}})


async def started(servers: Servers, document: dict[str, Any], **settings: Any) -> tuple[RawClient, Any]:
    client = await servers.start()
    answer = await client.initialize(
        capabilities={"textDocument": document}, initializationOptions={"tabcast": settings}
    )
    await client.until_engine("ready")
    return client, answer["capabilities"].get("completionProvider")


async def result(client: RawClient, request_id: int) -> list[dict[str, Any]]:
    answer = (await client.answer(request_id))["result"]
    assert answer["isIncomplete"]
    items: list[dict[str, Any]] = answer["items"]
    return items


@pytest.mark.parametrize(
    ("document", "setting", "is_advertised"),
    [
        ({}, "auto", True),
        ({"inlineCompletion": {}}, "auto", False),
        ({"inlineCompletion": {}}, "always", True),
        ({}, "never", False),
    ],
)
async def test_who_is_told_of_it(
    servers: Servers, runtime: FakeRuntime, document: dict[str, Any], setting: str, is_advertised: bool
) -> None:
    runtime.script("tail")
    client, provider = await started(servers, document, completionItems=setting)
    assert (provider is not None) == is_advertised
    client.send(did_open("x = \n"), complete(1, 0, 4))
    assert len(await result(client, 1)) == is_advertised
    await client.close()


async def test_an_entry_holds_the_whole_text(servers: Servers, runtime: FakeRuntime) -> None:
    runtime.script("total = '```'\n    return total\n\n\nelse_where()\n")
    client, _ = await started(servers, {"completion": MARKDOWN})
    client.send(did_open("def add(a, b):\n    \n"), complete(1, 1, 4))
    entry = (await result(client, 1))[0]
    text = "total = '```'\n    return total"
    span = {"start": {"line": 1, "character": 4}, "end": {"line": 1, "character": 4}}
    assert entry["textEdit"] == {"newText": text, "range": span}
    assert entry["label"] == entry["filterText"] == "total = '```'"
    assert entry["documentation"] == {"kind": "markdown", "value": f"````python\n{text}\n````"}
    assert (entry["sortText"], entry.get("preselect", False)) == ("~tabcast", False)
    assert (entry["insertTextFormat"], entry["insertTextMode"]) == (1, 1)
    assert entry["command"]["command"] == "tabcast.server.accepted"
    client.send(did_change(2, "to", (1, 4), (1, 4)), complete(2, 1, 6))
    entry = (await result(client, 2))[0]  # typed through: the entry begins with the word, by which editors filter
    assert entry["textEdit"] == {"newText": text, "range": {**span, "end": {"line": 1, "character": 6}}}
    await client.close()


async def test_closers_are_replaced_and_plain_editors_get_plain_text(servers: Servers, runtime: FakeRuntime) -> None:
    runtime.script("beta) + 1\n")
    client, _ = await started(servers, {})
    client.send(did_open("𝄞 = f()\n"), complete(1, 0, 7))
    entry = (await result(client, 1))[0]
    span = {"start": {"line": 0, "character": 7}, "end": {"line": 0, "character": 8}}
    assert entry["textEdit"] == {"newText": "beta) + 1", "range": span}
    assert entry["documentation"] == {"kind": "plaintext", "value": "beta) + 1"}
    assert "insertTextMode" not in entry
    await client.close()


async def test_a_newer_request_of_the_other_method_supersedes_nothing(servers: Servers, runtime: FakeRuntime) -> None:
    runtime.script("tail", hold_after=0)
    client, _ = await started(servers, {"inlineCompletion": {}}, completionItems="always")
    client.send(did_open("x = \n"), inline(1, 0, 4), complete(2, 0, 4), complete(3, 0, 4))
    assert (await client.answer(2))["result"] is None
    await until(lambda: runtime.events("request"), "the request at the engine")
    runtime.release()
    assert (await client.items(1))[0]["insertText"] == "x = tail"
    assert (await result(client, 3))[0]["textEdit"]["newText"] == "tail"
    assert len(runtime.events("request")) <= 2
    await client.close()


async def test_the_pop_up_does_not_wait_for_a_slow_engine(servers: Servers, runtime: FakeRuntime) -> None:
    runtime.script("tail", hold_after=0)
    client, _ = await started(servers, {})
    client.send(did_open("x = \n"), complete(1, 0, 4))
    assert await result(client, 1) == []
    assert (await client.why())["reason"] == "late"
    runtime.release()
    client.send(did_change(2, "t", (0, 4), (0, 4)), complete(2, 0, 5))
    assert (await result(client, 2))[0]["textEdit"]["newText"] == "tail"
    assert len(runtime.events("request")) == 1  # the second joined what the first had begun
    await client.close()


async def test_the_setting_holds_at_once_where_the_editor_lets_us(servers: Servers, runtime: FakeRuntime) -> None:
    runtime.script("tail")
    document = {"inlineCompletion": {}, "completion": {"dynamicRegistration": True}}
    client, provider = await started(servers, document)
    assert provider is None
    for setting, method in (("always", "client/registerCapability"), ("auto", "client/unregisterCapability")):
        settings = {"tabcast": {"completionItems": setting}}
        client.send(notification("workspace/didChangeConfiguration", {"settings": settings}))
        await client.until(lambda m=method: m in client.methods(), method)
    client.send(did_open("x = \n"), complete(1, 0, 4))
    assert await result(client, 1) == []
    await client.close()
