"""Settings over the wire: told, sent or asked for, changed live, and complained of once."""

from __future__ import annotations

from typing import Any

from tests.lsp.conftest import FakeRuntime, Servers
from tests.lsp.raw_client import RawClient, did_open, inline, notification

CHANGED = notification("workspace/didChangeConfiguration", {"settings": None})


def complaints(client: RawClient) -> list[str]:
    return [m["params"]["message"] for m in client.received if m.get("method") == "window/showMessage"]


async def pulling(servers: Servers, settings: Any, **more: Any) -> RawClient:
    client = await servers.start()
    client.settings = settings
    capability = {"configuration": True, "didChangeConfiguration": {"dynamicRegistration": True}}
    await client.initialize(capabilities={"workspace": capability}, **more)
    await client.until(lambda: client.methods().count("workspace/configuration") == 1, "the question")
    await client.until_engine("ready")
    return client


async def test_settings_are_asked_for_and_asked_for_again(servers: Servers, runtime: FakeRuntime) -> None:
    runtime.script("tail")
    options = {"tabcast": {"enabled": False, "maxLineTokens": 7}}
    client = await pulling(
        servers, {"enabled": True, "server": {"path": "/bin/tabcast"}}, initializationOptions=options
    )
    client.send(did_open("x = \n"), inline(1, 0, 4))
    assert len(await client.items(1)) == 1
    assert runtime.events("request")[0]["body"]["max_tokens"] == 7  # told when it began, and not overridden
    client.settings = {"enabled": False}
    client.send(CHANGED)
    await client.until(lambda: client.methods().count("workspace/configuration") == 2, "the second question")
    client.send(inline(2, 0, 4))
    assert await client.items(2) == []
    assert not complaints(client)
    registered = [m["params"] for m in client.received if m.get("method") == "client/registerCapability"]
    assert [r["method"] for r in registered[0]["registrations"]] == ["workspace/didChangeConfiguration"]
    await client.close()


async def test_an_editor_that_answers_nonsense_leaves_the_defaults(servers: Servers, runtime: FakeRuntime) -> None:
    runtime.script("tail")
    for settings in (None, [], "text", {"deadlineMs": []}):
        client = await pulling(servers, settings)
        client.send(did_open("x = \n"), inline(1, 0, 4))
        assert len(await client.items(1)) == 1
        await client.close()


async def test_what_is_wrong_is_told_once(servers: Servers, runtime: FakeRuntime) -> None:
    client = await pulling(servers, {"deadlineMs": "soon"}, initializationOptions={"tabcast": {"model": "/evil"}})
    await client.until(lambda: len(complaints(client)) == 2, "both complaints")
    for number in (2, 3):
        client.send(CHANGED)
        await client.until(lambda n=number: client.methods().count("workspace/configuration") == n, "the question")
    await client.why()
    assert len(complaints(client)) == 2
    assert "model: no such setting" in complaints(client)[0]
    assert "deadlineMs: expected a whole number" in complaints(client)[1]
    await client.close()


async def test_sections_of_other_programs_are_none_of_ours(client: RawClient) -> None:
    others = {"python": {"analysis": {}}, "tabcast": {"maxLineTokens": 9}}
    for settings in (others, {"python": {"analysis": {}}}):
        client.send(notification("workspace/didChangeConfiguration", {"settings": settings}))
    await client.why()
    assert not complaints(client)
