"""Instant answers over the wire: what is on its way is joined, what was written is remembered, what comes is ahead."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lsp_server.completion.completer import MAX_FIRST_S
from tests.lsp.conftest import FakeRuntime, Servers, until
from tests.lsp.raw_client import URI, RawClient, did_change, did_open, inline, notification

GOLD = "def add(a, b):\n    total = a + b\n    return total\n\n\ndef sub(a, b):\n    return a - b\n"


def asked(runtime: FakeRuntime, priority: str = "normal") -> list[str]:
    """The prompts that the engine was asked with this priority."""
    bodies = [event["body"] for event in runtime.events("request")]
    return [body["prompt"] for body in bodies if body["tabcast"]["priority"] == priority]


async def texts(client: RawClient, number: int) -> list[str]:
    return [item["insertText"] for item in await client.items(number)]


async def test_a_request_joins_what_is_being_written_while_it_is_typed(
    any_client: RawClient, runtime: FakeRuntime
) -> None:
    runtime.script("alpha(beta)", hold_after=8)
    any_client.send(did_open("x = \n"), inline(1, 0, 4))
    await until(lambda: asked(runtime), "the request at the engine")
    any_client.send(did_change(2, "al", (0, 4), (0, 4)), inline(2, 0, 6))
    any_client.send(did_change(3, "pha", (0, 6), (0, 6)), inline(3, 0, 9))
    assert (await any_client.answer(2))["result"] is None
    runtime.release()
    assert await texts(any_client, 3) == ["x = alpha(beta)"]
    assert (await any_client.why())["reason"] == "joined"
    assert asked(runtime) == ["x = "]


async def test_typing_faster_than_the_engine_writes_joins_too(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("alpha(beta)", hold_after=0)
    client.send(did_open("x = \n"), inline(1, 0, 4))
    await until(lambda: asked(runtime), "the request at the engine")
    client.send(did_change(2, "alpha(", (0, 4), (0, 4)), inline(2, 0, 10))
    await client.answer(1)
    runtime.release()
    assert await texts(client, 2) == ["x = alpha(beta)"]
    assert asked(runtime) == ["x = "]


async def test_a_cancelled_request_leaves_its_text_to_the_next(client: RawClient, runtime: FakeRuntime) -> None:
    """As VS Code does at each key: cancel, change, ask again."""
    runtime.script("alpha(beta)", hold_after=4)
    client.send(did_open("x = \n"), inline(1, 0, 4))
    await until(lambda: asked(runtime), "the request at the engine")
    client.send(notification("$/cancelRequest", {"id": 1}), did_change(2, "a", (0, 4), (0, 4)), inline(2, 0, 5))
    assert (await client.answer(1))["error"]["code"] == -32800
    runtime.release()
    assert await texts(client, 2) == ["x = alpha(beta)"]
    assert asked(runtime) == ["x = "]


async def test_a_cursor_that_returns_and_an_undo_are_answered_from_memory(
    client: RawClient, runtime: FakeRuntime
) -> None:
    runtime.script("alpha(beta)")
    client.send(did_open("x = \ny = 1\n"), inline(1, 0, 4))
    assert await texts(client, 1) == ["x = alpha(beta)"]
    client.send(inline(2, 1, 5))
    await client.items(2)
    client.send(inline(3, 0, 4))
    assert await texts(client, 3) == ["x = alpha(beta)"]
    assert (await client.why())["reason"] == "remembered"
    client.send(did_change(2, "one of us", (0, 4), (0, 4)), did_change(3, "", (0, 4), (0, 13)), inline(4, 0, 4))
    assert await texts(client, 4) == ["x = alpha(beta)"]
    assert asked(runtime) == ["x = ", "x = \ny = 1"]


async def test_what_follows_an_accepted_suggestion_was_written_ahead(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script(gold=GOLD, chunk_chars=3)
    client.send(did_open("def add(a, b):\n    total = "), inline(1, 1, 12))
    assert await texts(client, 1) == ["    total = a + b"]

    def is_written() -> bool:
        events = [*runtime.events("done"), *runtime.events("cancelled")]
        return any(event["prompt"].endswith("a + b") for event in events)

    await until(is_written, "the end of what is written ahead")
    assert asked(runtime, "idle") == ["def add(a, b):\n    total = a + b"]
    client.send(did_change(2, "a + b", (1, 12), (1, 12)), inline(2, 1, 17))
    assert await texts(client, 2) == []  # the line is complete, and that is known, too
    client.send(did_change(3, "\n    ", (1, 17), (1, 17)), inline(3, 2, 4))
    assert await texts(client, 3) == ["    return total"]
    assert asked(runtime) == ["def add(a, b):\n    total = "]


async def test_the_rest_is_there_after_a_word_or_a_line_was_accepted(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("total = a + b\n    return total\n\n\ndef")
    client.send(did_open("def add(a, b):\n    "), inline(1, 1, 4))
    assert await texts(client, 1) == ["    total = a + b\n    return total"]
    client.send(did_change(2, "total", (1, 4), (1, 4)), inline(2, 1, 9))
    assert await texts(client, 2) == ["    total = a + b\n    return total"]
    client.send(did_change(3, " = a + b\n    ", (1, 9), (1, 9)), inline(3, 2, 4))
    assert await texts(client, 3) == ["    return total"]
    assert asked(runtime) == ["def add(a, b):\n    "]


async def test_nothing_right_after_a_deletion(servers: Servers, runtime: FakeRuntime) -> None:
    runtime.script("alpha(beta)")
    client = await servers.start()
    await client.initialize()
    await client.until_engine("ready")
    client.send(did_open("x = o\n"), did_change(2, "", (0, 4), (0, 5)), inline(1, 0, 4))
    assert await texts(client, 1) == []
    assert (await client.why())["reason"] == "not asked"
    client.send(inline(2, 0, 4, kind=1))
    assert len(await client.items(2)) >= 1  # by hand it is
    client.send(did_change(3, "a", (0, 4), (0, 4)), inline(3, 0, 5))
    assert await texts(client, 3) == ["x = alpha(beta)"]
    await client.close()
    client = await servers.start()
    await client.initialize(initializationOptions={"afterDeletion": True})
    await client.until_engine("ready")
    client.send(did_open("x = o\n"), did_change(2, "", (0, 4), (0, 5)), inline(1, 0, 4))
    assert await texts(client, 1) == ["x = alpha(beta)"]
    await client.close()


async def test_a_removed_indentation_is_no_deletion(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("total = 1\n")
    client.send(did_open("def f():\n    a = 1\n    \n"), did_change(2, "", (2, 0), (2, 4)), inline(1, 2, 0))
    assert await texts(client, 1) == ["total = 1"]


async def test_what_was_deleted_is_not_offered_again(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("alpha(beta)")
    client.send(did_open("x = alpha(beta)\ny = \n"), did_change(2, "", (0, 4), (0, 15)), inline(1, 0, 4, kind=1))
    assert await texts(client, 1) == []
    client.send(did_change(3, "  # why", (0, 4), (0, 4)), did_change(4, "", (0, 4), (0, 11)), inline(2, 0, 4, kind=1))
    assert await texts(client, 2) == []  # whatever was typed and deleted since
    why = await client.why()
    assert (why["reason"], "deleted" in why["detail"]) == ("filtered", True)
    client.send(inline(3, 1, 4, kind=1))
    assert len(await client.items(3)) >= 1  # another place


@pytest.mark.parametrize(
    ("log_probs", "expected"),
    [
        ((), ["x = alpha(beta, gamma)"]),
        ((0.0, 0.0, 0.0, 0.0, -9.0), []),
        ((-0.1, -9.0), []),
        ((-9.0,), []),
    ],
)
async def test_only_what_is_probable_is_shown(
    client: RawClient, runtime: FakeRuntime, log_probs: tuple[float, ...], expected: list[str]
) -> None:
    runtime.script("alpha(beta, gamma)", log_probs=log_probs)
    client.send(did_open("x = \n"), inline(1, 0, 4))
    assert await texts(client, 1) == expected
    if not expected:
        assert (await client.why())["reason"] == "below confidence"
        runtime.script("beta, gamma)")
        client.send(did_change(2, "alpha(", (0, 4), (0, 4)), inline(2, 0, 10))
        assert await texts(client, 2) == ["x = alpha(beta, gamma)"]  # probable by now
        assert asked(runtime) == ["x = ", "x = alpha("]
        client.send(did_change(3, "", (0, 4), (0, 10)), inline(3, 0, 4, kind=1))
        assert await texts(client, 3) == ["x = beta, gamma"]  # who asks by hand sees all, and not what was cut


async def test_asking_by_hand_gives_up_to_three_texts(patient_client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("alpha", others=("beta", "alpha", "gamma"), log_probs=(-9.0, -9.0))
    patient_client.send(did_open("x = \n"), inline(1, 0, 4, kind=1))
    assert await texts(patient_client, 1) == ["x = alpha", "x = beta", "x = gamma"]


async def test_the_first_text_does_not_wait_for_one_that_does_not_come(client: RawClient, runtime: FakeRuntime) -> None:
    """The second text is held; the answer has the first, and the engine is told to stop."""
    runtime.script("alpha", others=("longer_than_what_is_held",), hold_after=8)
    client.send(did_open("x = \n"), inline(1, 0, 4, kind=1))
    assert await texts(client, 1) == ["x = alpha"]
    await until(lambda: runtime.events("cancelled"), "the engine's cancellation")


async def test_each_text_ends_as_the_first_does(patient_client: RawClient, runtime: FakeRuntime) -> None:
    """The engine would write on behind the line, where the second text is settled: it is told to stop."""
    runtime.script("alpha", others=("be\nand more", "gamma"), hold_after=8)
    patient_client.send(did_open("x = \n"), inline(1, 0, 4, kind=1))
    assert await texts(patient_client, 1) == ["x = alpha", "x = be", "x = gamma"]
    await until(lambda: runtime.events("cancelled"), "the engine's cancellation")


async def test_texts_that_differ_in_blanks_are_one(patient_client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("f(a, b)", others=("f(a,b)", "f( a, b )", "f(c)"))
    patient_client.send(did_open("x = \n"), inline(1, 0, 4, kind=1))
    assert await texts(patient_client, 1) == ["x = f(a, b)", "x = f(c)"]


def parts(client: RawClient, token: int | str) -> list[list[str]]:
    """The texts that came as parts of a result, message by message."""
    told = [m["params"] for m in client.received if m.get("method") == "$/progress"]
    return [[item["insertText"] for item in one["value"]] for one in told if one["token"] == token]


async def test_an_editor_that_takes_parts_gets_the_first_text_at_once(
    patient_client: RawClient, runtime: FakeRuntime
) -> None:
    runtime.script("alpha", others=("beta and x", "gamma"), hold_after=8)
    patient_client.send(did_open("x = \n"), inline(1, 0, 4, kind=1, partialResultToken="parts"))
    await patient_client.until(lambda: parts(patient_client, "parts"), "the first text")
    assert patient_client.answers_to(1) == []  # the engine holds back the second
    runtime.release()
    assert await texts(patient_client, 1) == []  # all of it came in parts
    assert parts(patient_client, "parts") == [["x = alpha"], ["x = beta and x"], ["x = gamma"]]
    assert (await patient_client.why())["reason"] == "shown"


async def test_parts_end_with_a_change_and_with_a_newer_request(
    patient_client: RawClient, runtime: FakeRuntime
) -> None:
    runtime.script("alpha", others=("beta and x",), hold_after=8)
    patient_client.send(did_open("x = \n"), inline(1, 0, 4, kind=1, partialResultToken=7))
    await patient_client.until(lambda: parts(patient_client, 7), "the first text")
    patient_client.send(did_change(2, "a", (0, 4), (0, 4)), inline(2, 0, 5))
    assert (await patient_client.answer(1))["result"] is None
    assert await texts(patient_client, 2) == ["x = alpha"]
    runtime.release()
    patient_client.send(inline(3, 0, 5, kind=1, partialResultToken=8))
    await patient_client.answer(3)
    assert parts(patient_client, 7) == [["x = alpha"]]
    assert parts(patient_client, 8)[0] == ["x = alpha"]


async def test_a_request_without_texts_has_no_parts(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("")
    client.send(did_open("x = \n"), inline(1, 0, 4, kind=1, partialResultToken="none"))
    assert await texts(client, 1) == []
    assert parts(client, "none") == []


async def test_a_slow_first_text_comes_alone(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("alpha", others=("beta",), hold_after=0)
    client.send(did_open("x = \n"), inline(1, 0, 4, kind=1))
    await until(lambda: asked(runtime), "the request at the engine")
    await asyncio.sleep(1.1 * MAX_FIRST_S)  # the time that it takes is what is tested
    runtime.release()
    assert await texts(client, 1) == ["x = alpha"]


async def test_read_only_documents_are_not_completed(client: RawClient, runtime: FakeRuntime, tmp_path: Path) -> None:
    runtime.script("alpha")
    view = URI.replace("file:", "git:")
    client.send(did_open("x = \n", uri=view), inline(1, 0, 4, uri=view))
    assert await texts(client, 1) == []
    why: dict[str, Any] = await client.why()
    assert (why["reason"], why["detail"]) == ("not asked", "the document can't be written")
    assert asked(runtime) == []


async def test_a_deadline_that_brought_nothing_is_not_remembered(servers: Servers, runtime: FakeRuntime) -> None:
    runtime.script("alpha", hold_after=0)
    client = await servers.start()
    await client.initialize(initializationOptions={"deadlineMs": 100})
    await client.until_engine("ready")
    client.send(did_open("x = \n"), inline(1, 0, 4))
    assert await texts(client, 1) == []
    assert (await client.why())["reason"] == "late"
    runtime.script("alpha")
    client.send(inline(2, 0, 4))
    assert await texts(client, 2) == ["x = alpha"]
    await client.close()


async def test_what_is_written_ahead_ends_with_the_server(servers: Servers, runtime: FakeRuntime) -> None:
    runtime.script("alpha(beta)\nmore = 1\nmore = 2\n", hold_after=16)
    client = await servers.start()
    await client.initialize()
    await client.until_engine("ready")
    client.send(did_open("x = \n"), inline(1, 0, 4))
    assert await texts(client, 1) == ["x = alpha(beta)"]
    await until(lambda: asked(runtime, "idle"), "the request ahead")
    await client.close()
    assert await servers.processes[0].wait() == 0
    assert "never retrieved" not in servers.log()
    assert "Traceback" not in servers.log()
    assert "ERROR" not in servers.log()
