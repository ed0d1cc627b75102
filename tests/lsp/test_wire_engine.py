"""The wire and the engine's states: what the editor sees while it loads, fails, dies, is slow or is not needed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lsp.conftest import FakeRuntime, Servers, until
from tests.lsp.raw_client import RawClient, did_change, did_open, inline, notification

HEADER = "def add(a, b):\n    "
EMPTY: dict[str, Any] = {"items": []}


async def test_the_stream_ends_with_the_block(client: RawClient, runtime: FakeRuntime) -> None:
    """The engine is held in the next function; the answer does not wait for it, and the engine is told to stop."""
    runtime.script("return a + b\n\n\ndef other():\n    pass\n", hold_after=24)
    client.send(did_open(HEADER), inline(1, 1, 4))
    assert (await client.items(1))[0]["insertText"] == "    return a + b"
    await until(lambda: runtime.events("cancelled"), "the engine's cancellation")


async def test_the_deadline_gives_the_lines_that_have_come(servers: Servers, runtime: FakeRuntime) -> None:
    runtime.script("a = 1\n    b = 2\n    c = ", hold_after=20)
    client = await servers.start()
    await client.initialize(initializationOptions={"deadlineMs": 300})
    await client.until_engine("ready")
    client.send(did_open(HEADER), inline(1, 1, 4))
    assert (await client.items(1))[0]["insertText"] == "    a = 1\n    b = 2"
    await until(lambda: runtime.events("cancelled"), "the engine's cancellation")
    await client.close()


async def test_a_block_that_ran_out_of_tokens_ends_with_a_whole_line(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("a = 1\n    b = 2\n    c = unfini", reason="length")
    client.send(did_open(HEADER), inline(1, 1, 4))
    assert (await client.items(1))[0]["insertText"] == "    a = 1\n    b = 2"


async def test_settings_can_change(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("tail")
    changed = notification("workspace/didChangeConfiguration", {"settings": {"tabcast": {"enabled": False}}})
    client.send(did_open("x = \n"), changed, inline(1, 0, 4))
    assert await client.items(1) == []
    assert (await client.why())["reason"] == "disabled"
    client.send(notification("workspace/didChangeConfiguration", {"settings": None}), inline(2, 0, 4))
    assert await client.items(2) == []
    changed["params"]["settings"]["tabcast"]["enabled"] = True
    client.send(changed, inline(3, 0, 4))
    assert len(await client.items(3)) == 1


async def test_a_request_waits_while_the_engine_loads(servers: Servers, runtime: FakeRuntime) -> None:
    """The first suggestion appears without another key; newer requests supersede it and the editor cancels it."""
    runtime.script("tail", status="loading", detail="reading weights")
    client = await servers.start()
    await client.initialize()
    await client.until(lambda: "$/progress" in client.methods(), "progress")
    client.send(did_open("x = \n"), inline(1, 0, 4), inline(2, 0, 4), notification("$/cancelRequest", {"id": 2}))
    assert (await client.answer(1))["result"] is None
    assert (await client.answer(2))["error"]["code"] == -32800
    client.send(inline(3, 0, 4))
    await client.why()
    assert not client.answers_to(3)
    assert not messages_to_user(client)
    runtime.script("tail")
    assert len(await client.items(3)) == 1
    ends = lambda: [m for m in client.received if m.get("params", {}).get("value", {}).get("kind") == "end"]  # noqa: E731
    await client.until(ends, "the end of the progress")
    await client.close()


async def test_who_asks_by_hand_is_told_that_the_engine_loads(servers: Servers, runtime: FakeRuntime) -> None:
    runtime.script("tail", status="loading", detail="reading weights")
    client = await servers.start()
    await client.initialize()
    await client.until_engine("loading")
    client.send(did_open("x = \n"), inline(1, 0, 4, kind=1))
    await client.until(lambda: messages_to_user(client), "the message")
    assert messages_to_user(client) == ["Tabcast: reading weights; the suggestion comes as soon as that is done"]
    runtime.script("tail")
    assert len(await client.items(1)) == 1
    await client.close()


async def test_a_request_that_waited_is_not_asked_for_a_text_that_has_changed(
    servers: Servers, runtime: FakeRuntime
) -> None:
    runtime.script("tail", status="loading", detail="reading weights")
    client = await servers.start()
    await client.initialize()
    await client.until_engine("loading")
    client.send(did_open("x = \n"), inline(1, 0, 4), did_change(2, "y", (0, 0), (0, 1)))
    runtime.script("tail")
    assert (await client.answer(1))["result"] == EMPTY
    assert (await client.why())["reason"] == "stale"
    await client.close()


async def test_a_request_that_waited_for_an_engine_that_fails_is_answered(
    servers: Servers, runtime: FakeRuntime
) -> None:
    runtime.script("tail", status="loading", detail="reading weights")
    client = await servers.start()
    await client.initialize()
    await client.until_engine("loading")
    client.send(did_open("x = \n"), inline(1, 0, 4))
    runtime.script(status="failed", detail="no such model")
    assert (await client.answer(1))["result"] == EMPTY
    why = await client.why()
    assert (why["reason"], why["detail"]) == ("engine failed", "no such model")
    await client.close()


def messages_to_user(client: RawClient) -> list[str]:
    return [m["params"]["message"] for m in client.received if m.get("method") == "window/showMessage"]


async def test_a_language_that_the_model_does_not_know(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("tail", languages=("python",))
    await client.ask("workspace/executeCommand", {"command": "tabcast.server.restartEngine"})
    await client.until_engine("ready")
    client.send(did_open("x = \n", language="haskell"), inline(1, 0, 4))
    assert (await client.answer(1))["result"] == EMPTY
    why = await client.why()
    assert (why["reason"], why["engine"]["languages"]) == ("language", ["python"])


async def test_typing_what_was_suggested_asks_no_engine(
    client: RawClient, runtime: FakeRuntime, servers: Servers
) -> None:
    runtime.script("alpha(beta)\n")
    client.send(did_open("x = \n"), inline(1, 0, 4))
    assert (await client.items(1))[0]["insertText"] == "x = alpha(beta)"
    client.send(did_change(2, "al", (0, 4), (0, 4)), inline(2, 0, 6))
    assert (await client.items(2))[0]["insertText"] == "x = alpha(beta)"
    client.send(did_change(3, "pha()", (0, 6), (0, 6)), inline(3, 0, 10))  # the editor closed the bracket
    item = (await client.items(3))[0]
    assert (item["insertText"], item["range"]["start"], item["range"]["end"]) == (
        "beta",
        {"line": 0, "character": 10},
        {"line": 0, "character": 10},
    )
    bodies = [event["body"] for event in runtime.events("request")]
    assert [body["prompt"] for body in bodies if body["tabcast"]["priority"] == "normal"] == ["x = "]
    waited = [line.partition(" ms, ")[2] for line in servers.log().splitlines() if ": typed through in" in line]
    assert waited == ["engine 0.00 ms, pause 0.00 ms"] * 2


@pytest.mark.parametrize(
    ("above", "text", "log_probs", "expected"),
    [
        # A copy of the lines below, a fence behind the code, dead code, and what is too improbable to be shown.
        ("a = 1\n|\nb = 2\nc = 3\n", "x = 0\nb = 2\n|c = 3\nd = 4\n", (), ["x = 0"]),
        ("def f():\n    |\n", "return 1\n    y = 2\n|    z = 3\n", (), ["    return 1"]),
        ("def f():\n    |\n", "y = 2\n    z = 3\n|    return z\n", (0.0,) * 2 + (-9.0,) * 99, ["    y = 2"]),
        ("def f():\n    |\n", "y = |2\n    z = 3\n", (-9.0,) * 99, []),
        ("def f():\n    |\n", "y = 1<|fim_pad|>|2\n    z = 3\n", (), ["    y = 1"]),
    ],
)
async def test_the_answer_does_not_wait_for_what_would_not_be_shown(
    client: RawClient,
    runtime: FakeRuntime,
    above: str,
    text: str,
    log_probs: tuple[float, ...],
    expected: list[str],
) -> None:
    """The engine is held where the text is settled: the answer comes, and the engine is told to stop."""
    before, _, behind = text.rpartition("|") if "<|" not in text else (*text.split("|2")[:1], "|", "2\n    z = 3\n")
    place, _, below = above.partition("|")
    runtime.script(before + behind, hold_after=len(before), log_probs=log_probs, chunk_chars=4)
    line, column = place.count("\n"), len(place.rpartition("\n")[2])
    client.send(did_open(place + below), inline(1, line, column))
    assert [item["insertText"] for item in await client.items(1)] == expected
    await until(lambda: runtime.events("cancelled"), "the engine's cancellation")
