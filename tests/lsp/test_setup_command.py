"""The command `tabcast.server.setup`: progress, cancellation, one at a time, and the engine after it, over the wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.lsp.conftest import FakeRuntime, Servers, until
from tests.lsp.raw_client import RawClient, notification, request

MACHINE = {"event": "machine", "text": "a machine", "cores": 2}
RECOMMENDED = {"event": "recommendation", "name": "tiny", "download_bytes": 100, "source": "pull"}
DONE = {"event": "done", "model": "tiny", "completion": "x", "config": "/a/config.toml", "message": "", "undone": False}
ALL = [
    MACHINE,
    {"event": "progress", "stage": "measure", "done": 0, "total": 1, "message": "measuring"},
    RECOMMENDED,
    "this is no JSON",
    *({"event": "progress", "stage": "fetch", "done": n, "total": 1000, "message": "fetching"} for n in (1, 2, 500)),
    DONE,
]


class Fake:
    """What the fake setup tells, and what became of it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "setup.json"

    def script(self, events: list[Any], **more: Any) -> None:
        self.file.write_text(json.dumps({"events": events, **more}))

    def calls(self) -> list[list[str]]:
        file = self.file.with_suffix(".calls")
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def has(self, what: str) -> bool:
        return self.file.with_suffix(f".{what}").exists()


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


@pytest.fixture
async def editor(servers: Servers, runtime: FakeRuntime, fake: Fake) -> AsyncIterator[RawClient]:
    runtime.script("")
    client = await servers.start(FAKE_SETUP=str(fake.file))
    await client.initialize()
    await client.until_engine("ready")
    yield client
    await client.close()


def asked(**options: Any) -> dict[str, Any]:
    return {"command": "tabcast.server.setup", "arguments": [options]}


async def run(client: RawClient, **options: Any) -> dict[str, Any]:
    answer: dict[str, Any] = (await client.ask("workspace/executeCommand", asked(**options)))["result"]
    return answer


def progress(client: RawClient) -> list[dict[str, Any]]:
    """What was shown of setups, without that of the engine."""
    messages = [m["params"] for m in client.received if m.get("method") == "$/progress"]
    ours = {p["token"] for p in messages if "loading the models" not in p["value"].get("title", "loading the models")}
    return [p for p in messages if p["token"] in ours]


async def test_a_recommendation_changes_nothing(editor: RawClient, fake: Fake, runtime: FakeRuntime) -> None:
    fake.script([MACHINE, RECOMMENDED])
    answer = await run(editor, action="recommend")
    assert fake.calls() == [["--dry-run"]]
    assert answer["outcome"] == "recommended"
    assert answer["machine"] == {"text": "a machine", "cores": 2}
    assert answer["recommendation"]["download_bytes"] == 100
    assert await run(editor) == answer
    assert len(runtime.events("start")) == 1


async def test_a_run_shows_progress_and_uses_the_new_model(editor: RawClient, fake: Fake) -> None:
    fake.script(ALL)
    answer = await run(editor, action="run", model="tiny")
    assert fake.calls() == [["--yes", "--model=tiny"]]
    assert (answer["outcome"], answer["model"], answer["completion"]) == ("done", "tiny", "x")
    assert answer["config"] == "/a/config.toml"
    shown = progress(editor)
    kinds = [p["value"]["kind"] for p in shown]
    assert (kinds[0], kinds[-1]) == ("begin", "end")
    assert shown[0]["value"]["cancellable"] is True
    await editor.until_engine("ready")
    assert (await run(editor, action="undo"))["outcome"] == "undone"
    assert fake.calls()[-1] == ["--undo"]


async def test_progress_follows_the_bytes(editor: RawClient, fake: Fake) -> None:
    fake.script(ALL[4:7], waits=True)
    editor.send(request(1, "workspace/executeCommand", asked(action="run")))
    await until(lambda: fake.has("waiting"), "the wait")
    token = (await editor.until(lambda: progress(editor), "progress"))[0]["token"]
    editor.send(notification("window/workDoneProgress/cancel", {"token": token}))
    answer = (await editor.answer(1))["result"]
    assert answer["outcome"] == "cancelled"
    assert fake.has("interrupted")
    assert progress(editor)[-1]["value"]["kind"] == "end"
    percentages = [p["value"].get("percentage") for p in progress(editor) if p["value"]["kind"] == "report"]
    assert percentages == sorted(set(percentages))


async def test_a_cancelled_request_ends_it_and_another_can_run(editor: RawClient, servers: Servers, fake: Fake) -> None:
    fake.script([MACHINE], waits=True)
    editor.send(request(1, "workspace/executeCommand", asked(action="run")))
    await until(lambda: fake.has("waiting"), "the wait")
    busy = await run(editor, action="run")
    assert (busy["outcome"], len(fake.calls())) == ("busy", 1)
    editor.send(notification("$/cancelRequest", {"id": 1}))
    assert (await editor.answer(1))["error"]["code"] == -32800
    await until(lambda: fake.has("interrupted"), "the interruption")
    fake.script([MACHINE, RECOMMENDED])
    assert (await until_free(editor))["outcome"] == "recommended"
    assert len(editor.answers_to(1)) == 1
    assert "error" not in servers.log().lower()


async def until_free(client: RawClient) -> dict[str, Any]:
    while (answer := await run(client, action="recommend"))["outcome"] == "busy":
        pass
    return answer


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ({"events": [MACHINE, {"event": "error", "message": "no network"}], "code": 5}, "no network"),
        ({"events": [], "code": 1, "complaint": "Traceback\nValueError: broken\n"}, "ValueError: broken"),
        ({"events": [MACHINE, DONE], "code": 3}, "tabcast setup ended with code 3"),
    ],
)
async def test_a_failure_is_told_in_a_sentence(
    editor: RawClient, fake: Fake, runtime: FakeRuntime, script: dict[str, Any], message: str
) -> None:
    fake.script(**script)
    answer = await run(editor, action="run")
    assert (answer["outcome"], answer["message"]) == ("failed", message)
    assert len(runtime.events("start")) == 1


@pytest.mark.parametrize("options", [{"action": "format"}, {"action": 3}, {"model": ["x"]}])
async def test_arguments_that_make_no_sense_run_nothing(editor: RawClient, fake: Fake, options: dict[str, Any]) -> None:
    fake.script(ALL)
    assert (await run(editor, **options))["outcome"] == "failed"
    assert fake.calls() == []


async def test_closing_the_editor_interrupts_it(servers: Servers, runtime: FakeRuntime, fake: Fake) -> None:
    runtime.script("")
    fake.script([MACHINE], waits=True)
    client = await servers.start(FAKE_SETUP=str(fake.file))
    await client.initialize(capabilities={"window": {}})  # one that can't show progress
    client.send(request(1, "workspace/executeCommand", asked(action="run")))
    await until(lambda: fake.has("waiting"), "the wait")
    await client.close()
    await until(lambda: fake.has("interrupted"), "the interruption")
    assert progress(client) == []
