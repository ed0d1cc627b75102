"""The wire, with frames written by hand: each request is answered once and rightly, whatever happens."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lsp_server.server import COMMANDS
from tests.lsp.conftest import FakeRuntime, Servers, until
from tests.lsp.raw_client import URI, RawClient, did_change, did_open, inline, notification, request


def normal_requests(runtime: FakeRuntime) -> list[dict[str, Any]]:
    """What the engine was asked, less what is asked ahead of time."""
    bodies = [event["body"] for event in runtime.events("request")]
    return [body for body in bodies if body["tabcast"]["priority"] == "normal"]


HEADER = "def add(a, b):\n    "
EMPTY: dict[str, Any] = {"items": []}


async def test_a_suggestion_at_the_end_of_a_line(any_client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("return a + b\n\n\ndef other():\n    pass\n")
    any_client.send(did_open(HEADER), inline(1, 1, 4))
    span = {"start": {"line": 1, "character": 0}, "end": {"line": 1, "character": 4}}
    item = (await any_client.items(1))[0]
    assert (item["insertText"], item["range"]) == ("    return a + b", span)
    body = runtime.events("request")[0]["body"]
    assert (body["prompt"], body["suffix"]) == (HEADER, "")
    assert (body["tabcast"]["path"], body["tabcast"]["repo"]) == ("app.py", "project")
    assert body["tabcast"]["line_mode"] == "block"


async def test_snapshots_belong_to_the_moment_of_reading(any_client: RawClient, runtime: FakeRuntime) -> None:
    """Five changes and requests in one piece, then one more change: each request that asks sees its own version."""
    runtime.script(" + tail", hold_after=0)
    any_client.send(did_open("x = 0\n"))
    messages = []
    for number in range(1, 6):
        messages.append(did_change(number + 1, str(number), (0, 4), (0, 5)))
        messages.append(inline(number, 0, 5))
    any_client.send(*messages, did_change(7, "9", (0, 4), (0, 5)))
    for number in range(1, 5):
        assert (await any_client.answer(number))["result"] is None
    await until(lambda: any(event["body"]["prompt"] == "x = 5" for event in runtime.events("request")), "the last")
    prompts = [event["body"]["prompt"] for event in runtime.events("request")]
    assert prompts == sorted(prompts)
    assert set(prompts) <= {f"x = {number}" for number in range(1, 6)}
    runtime.release()
    assert await any_client.items(5) == []  # the document changed after the request was read
    assert (await any_client.why())["reason"] == "stale"
    any_client.send(inline(6, 0, 5))
    assert [item["insertText"] for item in await any_client.items(6)] == ["x = 9 + tail"]


async def test_a_newer_request_supersedes(any_client: RawClient, runtime: FakeRuntime) -> None:
    """The older one gets null at once; what is being written for it goes on for the newer one."""
    runtime.script("tail", hold_after=0)
    any_client.send(did_open("x = \n"), inline(1, 0, 4))
    await until(lambda: runtime.events("request"), "the request at the engine")
    any_client.send(inline(2, 0, 4))
    assert (await any_client.answer(1))["result"] is None
    assert not any_client.answers_to(2)
    runtime.release()
    assert len(await any_client.items(2)) == 1
    assert len(normal_requests(runtime)) == 1
    assert not runtime.events("cancelled")


async def test_a_request_that_typing_contradicts_is_cancelled_in_the_engine(
    any_client: RawClient, runtime: FakeRuntime
) -> None:
    runtime.script("tail", hold_after=4)
    any_client.send(did_open("x = \n"), inline(1, 0, 4))
    await until(lambda: runtime.events("request"), "the request at the engine")
    any_client.send(did_change(2, "te", (0, 4), (0, 4)), inline(2, 0, 6))
    await until(lambda: runtime.events("cancelled"), "the engine's cancellation")
    assert (await any_client.answer(1))["result"] is None
    runtime.release()
    assert len(await any_client.items(2)) == 1
    second = normal_requests(runtime)[1]
    assert second["prompt"] == "x = te"
    assert second["tabcast"]["draft_texts"] == ["tail"]


async def test_null_comes_before_the_newer_answer(any_client: RawClient, runtime: FakeRuntime) -> None:
    """The newer request is answered at once, without the engine; the older one's null must not come after it."""
    runtime.script("tail", hold_after=0)
    any_client.send(did_open("x = \nfoo\n"), inline(1, 0, 4))
    await until(lambda: runtime.events("request"), "the request at the engine")
    any_client.send(inline(2, 1, 1))
    assert await any_client.items(2) == []
    assert [message["id"] for message in any_client.received if message.get("id") in (1, 2)] == [1, 2]
    assert (await any_client.answer(1))["result"] is None


async def test_shutdown_answers_what_is_pending_and_starts_nothing(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("tail", hold_after=0)
    client.send(did_open("x = \n"), inline(1, 0, 4))
    await until(lambda: runtime.events("request"), "the request at the engine")
    assert (await client.ask("shutdown"))["result"] is None
    await client.answer(1)
    client.send(request(2, "shutdown"))
    assert (await client.answer(2))["error"]["code"] == -32600
    assert len(client.answers_to(1)) == 1
    assert len(runtime.events("start")) == 1


async def test_requests_of_two_documents_do_not_meet(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("tail", hold_after=0)
    client.send(did_open("x = \n"), did_open("y = \n", uri=URI + "2"), inline(1, 0, 4), inline(2, 0, 4, uri=URI + "2"))
    await until(lambda: len(runtime.events("request")) == 2, "both requests at the engine")
    runtime.release()
    assert (await client.items(1))[0]["insertText"] == "x = tail"
    assert (await client.items(2))[0]["insertText"] == "y = tail"


async def test_cancel_gives_its_error_and_reaches_the_engine(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("tail", hold_after=0)
    client.send(did_open("x = \n"), inline(1, 0, 4))
    await until(lambda: runtime.events("request"), "the request at the engine")
    client.send(notification("$/cancelRequest", {"id": 1}))
    assert (await client.answer(1))["error"]["code"] == -32800
    await until(lambda: runtime.events("cancelled"), "the engine's cancellation")


async def test_cancel_in_one_piece_with_the_request(any_client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("tail")
    any_client.send(did_open("x = \n"), inline(1, 0, 4), notification("$/cancelRequest", {"id": 1}), inline(2, 0, 4))
    assert (await any_client.answer(1))["error"]["code"] == -32800
    assert len(await any_client.items(2)) == 1
    told = [(request["id"], request["reason"]) for request in (await any_client.why())["requests"]]
    assert told == [(2, "shown"), (1, "cancelled")]


MALFORMED: list[Any] = [
    {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 0}},
    {"textDocument": {"uri": URI}, "position": {"line": "first", "character": 0}, "context": {"triggerKind": 2}},
    {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 0}, "context": {"triggerKind": 9}},
    {"position": {"line": 0, "character": 0}, "context": {"triggerKind": 2}},
    [],
    "text",
    None,
]


@pytest.mark.parametrize("params", MALFORMED)
async def test_a_malformed_request_is_refused_once(servers: Servers, params: Any) -> None:
    client = await servers.start()
    await client.initialize()
    client.send(request(1, "textDocument/inlineCompletion", params))
    assert (await client.answer(1))["error"]["code"] == -32602
    await client.why()
    assert len(client.answers_to(1)) == 1
    assert "window/showMessage" not in client.methods()


async def test_broken_frames_do_no_harm(any_client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("tail")
    broken_change = notification("textDocument/didChange", {"textDocument": {"uri": URI}, "contentChanges": 7})
    any_client.send(did_open("x = \n"), b"{no json", b"[]", b"7", b"\xff\xfe", inline(1, 0, 4))
    assert len(await any_client.items(1)) == 1
    any_client.send(broken_change, did_change(3, "y", (0, 0), (0, 1)), inline(3, 0, 4))
    assert await any_client.items(3) == []  # nobody knows what the document is by now
    assert "could not be understood" in (await any_client.why())["detail"]
    whole = {"textDocument": {"uri": URI, "version": 4}, "contentChanges": [{"range": None, "text": "y = \n"}]}
    any_client.send(notification("textDocument/didChange", whole), inline(4, 0, 4))
    assert (await any_client.items(4))[0]["insertText"] == "y = tail"
    any_client.send(b'{"id": 2, "method": "textDocument/inlineCompletion"}')
    assert (await any_client.answer(2))["error"]["code"] == -32602
    assert "window/showMessage" not in any_client.methods()


async def test_a_client_that_counts_triggers_from_0_is_understood(client: RawClient, runtime: FakeRuntime) -> None:
    """vscode-languageclient 9 says 0 for invoked and 1 for automatic, which in the standard is invoked."""
    runtime.script("tail")
    only_by_key = {"tabcast": {"automatic": False}}
    client.send(notification("workspace/didChangeConfiguration", {"settings": only_by_key}), did_open("x = \n"))
    client.send(inline(1, 0, 4, kind=1))
    assert len(await client.items(1)) == 1
    client.send(inline(2, 0, 4, kind=0))
    assert len(await client.items(2)) == 1
    client.send(inline(3, 0, 4, kind=1))
    assert await client.items(3) == []


async def test_a_change_with_its_range_as_an_array(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("tail")
    change = did_change(2, "yy", (0, 0), (0, 1))
    span = change["params"]["contentChanges"][0]["range"]
    change["params"]["contentChanges"][0]["range"] = [span["start"], span["end"]]
    client.send(did_open("x = \n"), change, inline(1, 0, 5))
    assert (await client.items(1))[0]["insertText"] == "yy = tail"


async def test_untitled_documents_and_folders_that_come_and_go(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("tail")
    client.send(did_open("x = \n", uri="untitled:Untitled-1"), inline(1, 0, 4, uri="untitled:Untitled-1"))
    assert len(await client.items(1)) == 1
    other = {"uri": "file:///work/other", "name": "other"}
    uri = "file:///work/other/sub/b.py"
    client.send(did_open("y = \n", uri=uri))
    added = {"event": {"added": [other], "removed": []}}
    client.send(notification("workspace/didChangeWorkspaceFolders", added), inline(2, 0, 4, uri=uri))
    assert len(await client.items(2)) == 1
    told = [event["body"]["tabcast"] for event in runtime.events("request")]
    assert {"other": "sub/b.py"}.items() <= {tabcast["repo"]: tabcast["path"] for tabcast in told}.items()


async def test_copilots_optional_notifications(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("𠮷 + tail")
    client.send(did_open("x = \n"), inline(1, 0, 4))
    item = (await client.items(1))[0]
    for number in (1, 2):  # "x = 𠮷" and all of it, in units of UTF-16
        part = {"item": item, "acceptedLength": 6 if number == 1 else 99}
        client.send(notification("textDocument/didPartiallyAcceptCompletion", part))
        client.send(notification("textDocument/didShowCompletion", {"item": item}))
        stats = (await client.ask("workspace/executeCommand", {"command": "tabcast.server.stats"}))["result"]
        assert (stats["displayed"], stats["acceptedChars"]) == (1, 1 if number == 1 else 8)
        assert (stats["partlyAccepted"], stats["accepted"]) == ((1, 0) if number == 1 else (0, 1))
    for nonsense in (None, 7, {}, {"item": {"command": {"arguments": [7]}}}, {"item": item, "acceptedLength": -1}):
        client.send(notification("textDocument/didPartiallyAcceptCompletion", nonsense))
        client.send(notification("textDocument/didShowCompletion", nonsense))
    assert (await client.why())["reason"] == "shown"


async def test_a_document_that_was_never_opened_is_not_read(client: RawClient, servers: Servers) -> None:
    secret = servers.folder / "secret.py"
    secret.write_text("password = ")
    client.send(inline(1, 0, 11, uri=secret.as_uri()), did_change(2, "x", (0, 0), (0, 0), uri=secret.as_uri()))
    assert (await client.answer(1))["result"] == EMPTY
    assert (await client.why())["reason"] == "not open"
    client.send(inline(2, 0, 11, uri=secret.as_uri()))
    assert (await client.answer(2))["result"] == EMPTY
    assert not servers.runtime.events("request")


async def test_unknown_methods_commands_and_states_are_refused(servers: Servers) -> None:
    client = await servers.start()
    client.send(inline(1, 0, 0))
    assert (await client.answer(1))["error"]["code"] == -32002
    await client.initialize()
    assert (await client.ask("initialize", {"capabilities": {}}))["error"]["code"] == -32600
    assert (await client.ask("textDocument/nonsense"))["error"]["code"] == -32601
    assert (await client.ask("workspace/executeCommand", {"command": "rm"}))["error"]["code"] == -32602
    client.send(request(5, "shutdown"), inline(6, 0, 0))
    assert (await client.answer(5))["result"] is None
    assert (await client.answer(6))["error"]["code"] == -32600
    client.send(notification("exit"))
    await client.task
    assert all(len(client.answers_to(number)) == 1 for number in (1, 5, 6))


async def test_every_request_of_a_storm_is_answered_once(any_client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("tail\n")
    any_client.send(did_open("x = 0\n"))
    ids = range(1, 61)
    for number in ids:
        any_client.send(inline(number, 0, 5), did_change(number + 1, str(number % 10), (0, 4), (0, 5)))
        if number % 3 == 0:
            any_client.send(notification("$/cancelRequest", {"id": number}))
        if number % 7 == 0:
            await asyncio.sleep(0)
    await any_client.until(lambda: all(any_client.answers_to(number) for number in ids), "all answers")
    await any_client.why()
    assert all(len(any_client.answers_to(number)) == 1 for number in ids)
    assert "window/showMessage" not in any_client.methods()


async def test_the_editor_is_told_what_we_can_do(servers: Servers) -> None:
    client = await servers.start()
    capabilities = (await client.initialize())["capabilities"]
    assert capabilities["inlineCompletionProvider"] is not None
    assert capabilities["textDocumentSync"]["change"] == 2
    assert set(capabilities["executeCommandProvider"]["commands"]) == set(COMMANDS)
    assert all(name.startswith("tabcast.server.") for name in COMMANDS)
    await client.close()


async def test_the_range_begins_behind_a_character_that_vs_code_cannot_reach_over(
    servers: Servers, runtime: FakeRuntime
) -> None:
    runtime.script("y + more")
    client = await servers.start()
    await client.initialize()
    await client.until_engine("ready")
    client.send(did_open("a = '𝄞' + x\n"), inline(1, 0, 12))
    item = (await client.items(1))[0]
    assert item["insertText"] == "' + xy + more"
    assert item["range"] == {"start": {"line": 0, "character": 7}, "end": {"line": 0, "character": 12}}
    await client.close()


@pytest.mark.parametrize(("encoding", "column"), [("utf-8", 9), ("utf-16", 7), ("utf-32", 6)])
async def test_positions_in_all_encodings(servers: Servers, runtime: FakeRuntime, encoding: str, column: int) -> None:
    runtime.script('y"): pass\n')
    client = await servers.start()
    assert (await client.initialize(encoding))["capabilities"]["positionEncoding"] == encoding
    await client.until_engine("ready")
    client.send(did_open('f("𝄞x)\n'), inline(1, 0, column - 1))
    item = (await client.items(1))[0]
    assert item["insertText"] == 'y"): pass'
    assert item["range"]["start"] == {"line": 0, "character": column - 1}
    assert item["range"]["end"]["character"] == column
    assert runtime.events("request")[0]["body"]["prompt"] == 'f("𝄞x'
    await client.close()


async def test_the_log_has_a_line_for_each_request_and_no_text(servers: Servers, runtime: FakeRuntime) -> None:
    runtime.script("tail")
    client = await servers.start()
    await client.initialize(initializationOptions={"tabcast": {"model": "/evil", "deadlineMs": "soon"}})
    await client.until_engine("ready")
    broken = notification("textDocument/didChange", {"textDocument": {"uri": URI}, "contentChanges": ["SECRET"]})
    client.send(did_open("SECRET = \n"), inline(1, 0, 9))
    await client.items(1)
    client.send(broken)
    await client.close()
    log = servers.log()
    assert "request 1: shown in " in log
    assert "ignored settings: model: no such setting" in log
    assert log.count("deadlineMs: expected a whole number") == 1
    assert "SECRET" not in log
    assert "tail" not in log
    assert "Unclosed" not in log


async def test_an_engine_killed_in_mid_request_is_started_again(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("tail", hold_after=2, chunk_chars=1)
    client.send(did_open("x = \n"), inline(1, 0, 4))
    await until(lambda: runtime.events("request"), "the request at the engine")
    runtime.kill()
    assert (await client.answer(1))["result"] == EMPTY
    runtime.script("tail")
    await client.until_engine("ready")
    client.send(inline(2, 0, 4))
    assert len(await client.items(2)) == 1
    assert len(runtime.events("start")) == 2
    assert "window/showMessage" not in client.methods()
