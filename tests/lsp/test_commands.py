"""The commands, and what an editor is told of the engine's state, over the wire."""

from __future__ import annotations

from typing import Any

import pytest

from lsp_server.engine.model_choice import choose_model, offered_models
from tests.lsp.conftest import FakeRuntime, Servers, until
from tests.lsp.raw_client import URI, RawClient, did_change, did_open, inline, notification

BLOCK = "alpha(beta)\n    gamma = delta\n    return gamma\n"
HEADER = "def f(x):\n    "


async def run(client: RawClient, name: str, *arguments: Any) -> Any:
    asked = {"command": f"tabcast.server.{name}", "arguments": list(arguments)}
    return (await client.ask("workspace/executeCommand", asked))["result"]


def statuses(client: RawClient) -> list[dict[str, Any]]:
    return [message["params"] for message in client.received if message.get("method") == "tabcast/status"]


async def test_why_tells_of_the_last_requests_and_not_only_of_one(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("tail")
    client.send(did_open("x = \n"), inline(1, 0, 4))
    await client.items(1)
    client.send(inline(2, 0, 1, uri=URI + "never-opened.py"))
    await client.answer(2)
    why = await client.why()
    assert [(told["id"], told["reason"]) for told in why["requests"]] == [(2, "not open"), (1, "shown")]
    assert why["requests"][1]["document"] == "app.py"
    assert why["requests"][1]["ms"] > 0
    assert why["requests"][1]["text"].startswith("shown after ")
    assert why["reason"] == "not open"
    assert why["status"]["state"] == "ready"


async def test_why_is_shown_on_demand(client: RawClient) -> None:
    await run(client, "why", {"show": True})
    messages = [m["params"]["message"] for m in client.received if m.get("method") == "window/showMessage"]
    assert messages == ["Tabcast is ready"]


async def test_toggle_holds_until_the_setting_itself_changes(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("tail")
    assert await run(client, "toggle") == {"enabled": False}
    settings = {"tabcast": {"maxLineTokens": 9}}
    client.send(notification("workspace/didChangeConfiguration", {"settings": settings}))
    client.send(did_open("x = \n"), inline(1, 0, 4))
    assert await client.items(1) == []
    assert (await client.why())["status"]["state"] == "off"
    assert await run(client, "toggle", True) == {"enabled": True}
    assert await run(client, "toggle") == {"enabled": False}
    for is_enabled in (False, True):
        settings = {"tabcast": {"enabled": is_enabled}}
        client.send(notification("workspace/didChangeConfiguration", {"settings": settings}))
    client.send(inline(2, 0, 4))
    assert len(await client.items(2)) == 1


async def test_stats_count_what_was_shown_and_taken_by_the_items_command(
    client: RawClient, runtime: FakeRuntime
) -> None:
    runtime.script("tail + 1")
    client.send(did_open("x = \n"), inline(1, 0, 4))
    command = (await client.items(1))[0]["command"]
    client.send(did_change(2, "ta", (0, 4), (0, 4)), inline(2, 0, 6))
    assert (await client.items(2))[0]["command"] == command  # typed through: the same suggestion still
    for _ in range(2):  # a second time says nothing new
        asked = {"command": command["command"], "arguments": command["arguments"]}
        await client.ask("workspace/executeCommand", asked)
    stats = await run(client, "stats")
    assert (stats["shown"], stats["accepted"], stats["shownChars"], stats["acceptedChars"]) == (1, 1, 8, 8)
    assert stats["requests"] == sum(stats["reasons"].values()) == 2
    assert stats["latencyMs"]["median"] > 0


async def test_acceptance_is_seen_in_the_document(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("tail + 1")
    client.send(did_open("x = \n"), inline(1, 0, 4))
    await client.items(1)
    client.send(did_change(2, "tail + 1", (0, 4), (0, 4)))
    stats = await run(client, "stats")
    assert (stats["accepted"], stats["acceptedChars"]) == (1, 8)


@pytest.mark.parametrize(
    ("unit", "steps"),
    [
        ("Word", ["alpha", "(", "beta", ")", "\n    gamma", " =", " delta", "\n    return", " gamma"]),
        ("Line", ["alpha(beta)", "\n    gamma = delta", "\n    return gamma"]),
    ],
)
@pytest.mark.parametrize("has_versions", [True, False])
async def test_a_suggestion_is_taken_piece_by_piece(
    servers: Servers, runtime: FakeRuntime, unit: str, steps: list[str], has_versions: bool
) -> None:
    runtime.script(BLOCK)
    client = await servers.start()
    edit = {"workspace": {"workspaceEdit": {"documentChanges": has_versions}, "applyEdit": True}}
    await client.initialize(capabilities=edit)
    await client.until_engine("ready")
    client.applies_edits = True
    client.send(did_open(HEADER), inline(1, 1, 4))
    client.texts[URI] = HEADER
    assert len(await client.items(1)) == 1
    for step in steps:
        answer = await run(client, f"accept{unit}")
        assert answer == {"applied": True, "text": step, "reason": ""}
    assert client.texts[URI] == HEADER + "".join(steps)
    assert not (await run(client, f"accept{unit}"))["applied"]
    stats = await run(client, "stats")
    assert (stats["accepted"], stats["partlyAccepted"], stats["acceptedChars"]) == (1, 0, len("".join(steps)))
    await client.close()


async def test_closers_that_the_suggestion_brings_are_replaced_by_its_last_piece(
    client: RawClient, runtime: FakeRuntime
) -> None:
    runtime.script("beta)\n")
    client.applies_edits = True
    client.texts[URI] = "f()\ny = 2\n"
    client.send(did_open(client.texts[URI]), inline(1, 0, 2))
    assert len(await client.items(1)) == 1
    assert (await run(client, "acceptLine"))["applied"]
    assert client.texts[URI] == "f(beta)\ny = 2\n"


async def test_nothing_is_taken_of_what_no_longer_fits(client: RawClient, runtime: FakeRuntime) -> None:
    assert not (await run(client, "acceptWord"))["applied"]
    runtime.script("tail")
    client.send(did_open("x = \n"), inline(1, 0, 4))
    await client.items(1)
    client.send(did_change(2, "other", (0, 4), (0, 4)))
    assert not (await run(client, "acceptLine"))["applied"]
    client.send(notification("textDocument/didClose", {"textDocument": {"uri": URI}}))
    assert not (await run(client, "acceptLine"))["applied"]
    assert "workspace/applyEdit" not in client.methods()


async def test_an_edit_that_the_editor_refuses_is_no_acceptance(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("tail")
    client.send(did_open("x = \n"), inline(1, 0, 4))
    await client.items(1)
    answer = await run(client, "acceptLine")  # this client answers every edit with `applied: false`
    assert (answer["applied"], answer["reason"]) == (False, "the editor refused the edit")
    assert (await run(client, "stats"))["accepted"] == 0


async def test_another_model_of_the_users_own(client: RawClient, runtime: FakeRuntime) -> None:
    other = FakeRuntime(runtime.directory.with_name("other"))
    other.directory.mkdir(mode=0o700)
    other.script("from_the_other")
    try:
        assert (await run(client, "selectModel", "/evil/model"))["problem"]
        assert (await run(client, "selectModel", ["other"]))["problem"]
        answer = await run(client, "selectModel", "other")
        assert (answer["selected"], answer["problem"]) == ("other", "")
        await until(lambda: other.events("start"), "the other engine")
        await client.until_engine("ready")
        client.send(did_open("x = \n"), inline(1, 0, 4))
        assert (await client.items(1))[0]["insertText"] == "x = from_the_other"
        assert len(runtime.events("start")) == 1
    finally:
        other.end()


def test_models_are_those_of_the_users_file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.toml"
    monkeypatch.setenv("TABCAST_CONFIG", str(file))
    assert offered_models() == ["tabcast-bundled"]
    file.write_text(
        '[models.large]\nmodel = "/big"\ndraft = "/small"\n[models.none]\ndraft = "/x"\n[models]\nodd = 7\n'
    )
    assert offered_models() == ["tabcast-bundled", "large"]
    file.write_text("[models")
    assert offered_models() == ["tabcast-bundled"]


@pytest.mark.parametrize(
    ("before", "name", "expected"),
    [
        ((), "large", ("--draft", "/small", "--model", "/big")),
        ((), "listed", ("--draft", "none", "--model", "hf:owner/model")),
        (("--model", "/x", "--device", "cpu"), "alone", ("--device", "cpu", "--draft", "none", "--model", "/one")),
        (("--model", "/x", "--draft", "/y"), "tabcast-bundled", ("--model", "", "--draft", "")),
    ],
)
def test_a_model_brings_its_own_draft_or_none(before: Any, name: str, expected: Any) -> None:
    models = {"large": {"model": "/big", "draft": "/small"}, "alone": {"model": "/one"}}
    models["listed"] = {"model": "hf:owner/model"}
    assert choose_model(before, name, models) == expected
    with pytest.raises(ValueError, match="offers no model"):
        choose_model(before, "unknown", models)


async def test_the_status_is_told_to_editors_that_know_it(servers: Servers, runtime: FakeRuntime) -> None:
    runtime.script("", status="loading", detail="reading weights", progress=0.4)
    client = await servers.start()
    await client.initialize(capabilities={"experimental": {"tabcastStatus": True}})
    told = {"percent": 40, "model": "", "device": "", "better": "", "message": "reading weights", "action": ""}
    told["destination"] = ""
    loading = {"state": "loading", **told}
    await client.until(lambda: loading in statuses(client), "the loading")
    runtime.script("", status="failed", detail="no such file")
    await client.until(lambda: [s for s in statuses(client) if s["state"] == "failed"], "the failure")
    failed = statuses(client)[-1]
    assert failed["message"] == "no such file"
    assert "tabcast doctor" in failed["action"]
    named = {"weights": "Coder-1.5B, Q4_K_M", "draft": "Coder-0.5B, Q8_0", "better": "a better model lies here"}
    runtime.script("", model="/a/path", device="a device", **named)
    await run(client, "restartEngine")
    await client.until(lambda: statuses(client)[-1]["state"] == "ready", "an engine")
    last = statuses(client)[-1]
    assert (last["model"], last["device"]) == ("Coder-1.5B, Q4_K_M with the draft Coder-0.5B, Q8_0", "a device")
    assert last["better"] == "a better model lies here"
    why = await run(client, "why", {"show": True})
    assert (why["engine"]["model"], why["engine"]["weights"]) == ("/a/path", "Coder-1.5B, Q4_K_M")
    shown = [m["params"]["message"] for m in client.received if m.get("method") == "window/showMessage"]
    assert named["better"] in shown[-1]
    await run(client, "toggle")
    assert statuses(client)[-1]["state"] == "off"
    await client.close()


async def test_the_status_is_not_told_to_others(client: RawClient) -> None:
    assert not {"tabcast/status", "didChangeStatus"} & set(client.methods())


async def test_clients_of_copilot_are_told_the_status_in_its_form(client: RawClient) -> None:
    def told() -> list[dict[str, Any]]:
        return [m["params"] for m in client.received if m.get("method") == "didChangeStatus"]

    ready = {"kind": "Normal", "busy": False, "message": ""}
    client.send(notification("textDocument/didFocus", {"textDocument": {"uri": URI}}))
    await client.until(lambda: ready in told(), "the ready engine")
    await run(client, "toggle")
    assert told()[-1] == {"kind": "Inactive", "busy": False, "message": "suggestions are turned off"}
    await run(client, "toggle")
    assert told()[-1] == ready
    assert "tabcast/status" not in client.methods()
