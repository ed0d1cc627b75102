"""The wire against the real engine with a tiny random model, whose text is nonsense."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pytest_lsp import ClientServerConfig, LanguageClient

from decoding.bench.harness.live_server import processor_s
from decoding.protocol import Address
from tests.conftest import HAS_BUNDLED
from tests.lsp.conftest import Servers, until
from tests.lsp.raw_client import RawClient, did_change, did_open, inline, notification
from tests.lsp.test_context_ignore import tree
from tests.lsp.test_context_wire import FILES
from tests.tiny_models import make_model

SERVE_STDIO = "from lsp_server import server; server.run_stdio()"
SERVE_TCP = "from lsp_server import server; server.run_tcp('127.0.0.1', 0)"
# Writes down each request before the real client sends it.
SERVE_NOTING = """
import json, sys
from lsp_server import server
from lsp_server.context import gather
from lsp_server.engine.client import EngineClient

gather.WAIT_S = 60.0  # a busy machine may take long for what a request doesn't wait for
complete = EngineClient.complete

def note_and_complete(self, request):
    with open(sys.argv[1], "a") as file:
        file.write(json.dumps(request.to_json()) + "\\n")
    return complete(self, request)

EngineClient.complete = note_and_complete
server.run_stdio()
"""
URI = "file:///work/project/app.py"
HEADER = "def add(a, b):\n    "
IDLE_S = 5.0  # long beside the system's ticks, in which it counts a process's time
ANSWERED = {"shown", "filtered", "below confidence", "typed through", "remembered", "joined"}


def engine_address() -> Address | None:
    files = list(Path(os.environ["TABCAST_RUNTIME_DIR"]).glob("*/engine.json"))
    return Address.read(files[0].parent) if files else None


@pytest.fixture
async def editor(real_engine_model: Path) -> AsyncIterator[LanguageClient]:
    """An editor, as pytest-lsp plays it, with our server and the real engine."""
    config = ClientServerConfig(server_command=[sys.executable, "-P", "-c", SERVE_STDIO])
    client = await config.start()
    assert isinstance(client, LanguageClient)
    capabilities = types.ClientCapabilities(
        window=types.WindowClientCapabilities(work_done_progress=True),
        text_document=types.TextDocumentClientCapabilities(
            inline_completion=types.InlineCompletionClientCapabilities()
        ),
    )
    await client.initialize_session(types.InitializeParams(capabilities=capabilities))
    yield client
    await client.shutdown_session()
    await client.stop()


async def ask(client: LanguageClient, line: int, character: int) -> list[types.InlineCompletionItem]:
    answer = await client.text_document_inline_completion_async(
        types.InlineCompletionParams(
            text_document=types.TextDocumentIdentifier(uri=URI),
            position=types.Position(line, character),
            context=types.InlineCompletionContext(trigger_kind=types.InlineCompletionTriggerKind.Automatic),
        )
    )
    assert isinstance(answer, types.InlineCompletionList)
    return list(answer.items)


async def test_an_editor_gets_an_answer_and_no_message(editor: LanguageClient) -> None:
    document = types.TextDocumentItem(uri=URI, language_id="python", version=1, text=HEADER)
    editor.text_document_did_open(types.DidOpenTextDocumentParams(text_document=document))
    # It is still loading, which the first request waits for.
    for item in [*await ask(editor, 1, 4), *await ask(editor, 1, 4)]:
        assert str(item.insert_text).startswith("    ")
        assert item.range == types.Range(types.Position(1, 0), types.Position(1, 4))
    assert not editor.messages


async def started(servers: Servers, program: str, transport: str) -> RawClient:
    client = await servers.start(transport, ("-c", program))
    await client.initialize()
    await client.until_engine("ready")
    return client


@pytest.mark.parametrize(("program", "transport"), [(SERVE_STDIO, "stdio"), (SERVE_TCP, "tcp")])
async def test_pipelined_messages(servers: Servers, real_engine_model: Path, program: str, transport: str) -> None:
    client = await started(servers, program, transport)
    ids = range(1, 21)
    messages = [did_open("x = 0\n")]
    for number in ids:
        messages += [did_change(number + 1, str(number % 10), (0, 4), (0, 5)), inline(number, 0, 5)]
    client.send(*messages, notification("$/cancelRequest", {"id": 20}), inline(21, 0, 5))
    await client.answer(21)
    assert (await client.why())["reason"] in ANSWERED
    assert all(len(client.answers_to(number)) == 1 for number in (*ids, 21))
    await client.close()


@pytest.mark.skipif(processor_s(os.getpid()) is None, reason="this system doesn't tell a process's time")
async def test_when_nothing_changes_the_processor_sleeps(servers: Servers, real_engine_model: Path) -> None:
    """Engine and server together use less than a hundredth of a core, once what was opened is read."""
    client = await started(servers, SERVE_STDIO, "stdio")
    client.send(did_open(HEADER), did_change(2, "x", (0, 4), (0, 4)), inline(1, 1, 4))
    await client.answer(1)
    address = engine_address()
    assert address is not None
    pids = (address.pid, servers.processes[-1].pid)
    used_s: list[float] = []
    for _ in range(6):  # the first of these times may see the end of the work
        before = sum(processor_s(pid) or 0.0 for pid in pids)
        await asyncio.sleep(IDLE_S)
        used_s.append(sum(processor_s(pid) or 0.0 for pid in pids) - before)
        if used_s[-1] < 0.01 * IDLE_S:
            break
    assert used_s[-1] < 0.01 * IDLE_S, used_s
    await client.close()


async def test_an_engine_killed_is_started_again(servers: Servers, real_engine_model: Path) -> None:
    client = await started(servers, SERVE_STDIO, "stdio")
    first = engine_address()
    assert first is not None
    client.send(did_open(HEADER), inline(1, 1, 4))
    os.kill(first.pid, signal.SIGKILL)
    assert "items" in (await client.answer(1))["result"]
    client.send(did_change(2, "x", (0, 4), (0, 4)), inline(2, 1, 4))
    assert "items" in (await client.answer(2))["result"]
    await until(lambda: (address := engine_address()) and address.pid != first.pid, "another engine")
    await client.until_engine("ready")
    client.send(inline(3, 1, 4))
    await client.answer(3)
    assert (await client.why())["reason"] in ANSWERED
    assert "window/showMessage" not in client.methods()
    await client.close()


async def test_a_model_that_is_missing_is_named_and_nothing_else_happens(servers: Servers) -> None:
    client = await servers.start("stdio", ("-c", SERVE_STDIO), TABCAST_MODEL="/no/such/model")
    await client.initialize()
    client.send(did_open(HEADER), inline(1, 1, 4))
    assert (await client.answer(1))["result"] == {"items": []}
    why = await client.why()
    while "/no/such/model" not in why["engine"]["detail"]:
        assert why["engine"]["status"] in ("absent", "loading")
        await asyncio.sleep(0.05)
        why = await client.why()
    client.send(inline(2, 1, 4))
    assert (await client.answer(2))["result"] == {"items": []}
    assert "window/showMessage" not in client.methods()
    await client.close()


async def context_sent(servers: Servers, folder: Path) -> list[dict[str, Any]]:
    """The context files of the first request for a document of a project whose other file it imports."""
    root, noted = tree(folder / "project", FILES).resolve(), folder / "requests"
    client = await servers.start("stdio", ("-c", SERVE_NOTING, str(noted)))
    await client.initialize(rootUri=root.as_uri(), workspaceFolders=[{"uri": root.as_uri(), "name": "project"}])
    await client.until_engine("ready")
    uri = (root / "shop/app.py").as_uri()
    client.send(did_open(FILES["shop/app.py"], uri), inline(1, 6, 4, uri, kind=1))
    await client.answer(1)
    await client.close()
    first: dict[str, Any] = json.loads(noted.read_text(encoding="utf-8").partition("\n")[0])
    files: list[dict[str, Any]] = first["tabcast"]["context"]
    return files


@pytest.mark.skipif(not HAS_BUNDLED, reason="no bundled model in this checkout")
async def test_the_shipped_pair_is_sent_no_context(servers: Servers, tmp_path: Path) -> None:
    assert await context_sent(servers, tmp_path) == []


@pytest.mark.parametrize(("context_tokens", "paths"), [(8192, ["shop/models.py"]), (1024, [])])
async def test_context_is_sent_as_model_and_setting_allow(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context_tokens: int, paths: list[str]
) -> None:
    model = make_model(tmp_path / "model", "llama", max_position_embeddings=8192)
    for name, value in (("MODEL", model), ("DRAFT", "none"), ("CONTEXT_TOKENS", context_tokens)):
        monkeypatch.setenv(f"TABCAST_{name}", str(value))
    assert [file["path"] for file in await context_sent(servers, tmp_path)] == paths
