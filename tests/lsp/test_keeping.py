"""Which documents a slow model may keep on disk: quiet ones of this machine, without context and without secrets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.lsp.conftest import FakeRuntime, Servers, until
from tests.lsp.raw_client import RawClient, did_change, did_open
from tests.lsp.test_reading_ahead import SLOW, TEXT, read_ahead

QUIET_S = 0.3
# A document that may be kept is by then, on a machine that isn't busy; on a busy one these tests see less.
LONG_S = 1.0
SECRET = 'api_token = "ghp_0123456789abcdefghijABCDEFGHIJ456789"\n'


async def started(servers: Servers, runtime: FakeRuntime, folder: Path, **options: Any) -> RawClient:
    runtime.script("tail", **SLOW)
    client = await servers.start(TABCAST_TEST_QUIET_S=str(QUIET_S), **options.pop("environment", {}))
    await client.initialize(rootUri=folder.as_uri(), initializationOptions=options)
    await client.until_engine("ready")
    return client


def kept(runtime: FakeRuntime) -> list[dict[str, Any]]:
    return [body for body in read_ahead(runtime, "trunk") if body["tabcast"]["keep"]]


async def test_a_quiet_document_is_kept_without_context_and_again_after_a_change(
    servers: Servers, runtime: FakeRuntime, tmp_path: Path
) -> None:
    (tmp_path / "helper.py").write_text("def helped(value):\n    return value\n", encoding="utf-8")
    uri = (tmp_path / "app.py").as_uri()
    text = "from helper import helped\n" + TEXT
    client = await started(servers, runtime, tmp_path)
    client.send(did_open(text, uri))
    await until(lambda: kept(runtime), "the document to be kept")
    (body,) = kept(runtime)
    assert (body["prompt"], body["suffix"], body["tabcast"]["context"]) == (text, "", [])
    assert body["tabcast"]["priority"] == "idle"
    assert body is not read_ahead(runtime, "trunk")[0]  # it was read with context before
    client.send(did_change(2, "new = 1\n", (3, 0), (3, 0), uri))
    await until(lambda: len(kept(runtime)) == 2, "the change to be kept")
    assert "new = 1" in kept(runtime)[1]["prompt"]


async def test_nothing_is_kept_of_ignored_and_unsaved_documents_and_of_masked_text(
    servers: Servers, runtime: FakeRuntime, tmp_path: Path
) -> None:
    (tmp_path / ".tabcastignore").write_text("ignored.py\n", encoding="utf-8")
    client = await started(servers, runtime, tmp_path)
    for name in ("ignored.py", ".env"):
        client.send(did_open(TEXT, (tmp_path / name).as_uri()))
        await asyncio.sleep(LONG_S)
    for uri, text in (((tmp_path / "masked.py").as_uri(), TEXT + SECRET + TEXT), ("untitled:new.py", TEXT)):
        num_read = len(read_ahead(runtime, "trunk"))
        client.send(did_open(text, uri))
        await until(lambda before=num_read: len(read_ahead(runtime, "trunk")) > before, f"{uri} to be read")
        await asyncio.sleep(LONG_S)
    assert {body["tabcast"]["path"] for body in read_ahead(runtime, "trunk")} == {"masked.py", "new.py"}
    client.send(did_open(TEXT, (tmp_path / "app.py").as_uri()))
    await until(lambda: kept(runtime), "another document to be kept")
    assert [body["tabcast"]["path"] for body in kept(runtime)] == ["app.py"]


async def test_on_battery_nothing_is_kept_even_where_the_user_wants_it_read(
    servers: Servers, runtime: FakeRuntime, tmp_path: Path
) -> None:
    client = await started(servers, runtime, tmp_path, environment={"TABCAST_TEST_BATTERY": "1"}, readAhead="always")
    client.send(did_open(TEXT, (tmp_path / "app.py").as_uri()))
    await until(lambda: read_ahead(runtime, "trunk"), "the document to be read")
    await asyncio.sleep(LONG_S)
    assert not kept(runtime)
