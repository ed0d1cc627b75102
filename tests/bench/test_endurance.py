"""The load of `tabcast bench endurance`, against a server that streams and counts."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from decoding.bench.harness.text_units import offset_of
from decoding.bench.suites import endurance, endurance_sessions
from decoding.errors import TabcastError
from decoding.protocol import Address, CompletionRequest


async def _serve_and_drive(
    num_requests: int, *, breaks_after: int = 1_000_000
) -> tuple[list[CompletionRequest], list[dict[str, object]]]:
    asked: list[CompletionRequest] = []

    async def complete(request: web.Request) -> web.StreamResponse:
        asked.append(CompletionRequest.from_json(await request.json()))
        if len(asked) > breaks_after:
            assert request.transport is not None
            request.transport.abort()
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(3):
            await response.write(b"data: " + json.dumps({"choices": []}).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response

    app = web.Application()
    app.router.add_post("/v1/completions", complete)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    progress = endurance._Progress(os.getpid(), num_requests, lambda: None)
    try:
        await endurance._drive(Address(port=port, token="t" * 40, pid=os.getpid()), progress)
    finally:
        await runner.cleanup()
    return asked, progress.rows


def test_the_load_has_all_kinds_of_requests_and_memory_is_looked_at() -> None:
    asked, rows = asyncio.run(_serve_and_drive(220))
    assert len(asked) >= 220
    assert len({request.tabcast.session for request in asked}) > 3
    assert {request.n for request in asked} == {1, 3}
    assert {request.tabcast.priority for request in asked} == {"normal", "idle"}
    assert [row["count"] for row in rows] == [200, 220]
    assert 0 < int(str(rows[-1]["closed_early"])) < 220
    assert rows[-1]["failed"] == 0


def test_an_engine_that_ends_is_told() -> None:
    with pytest.raises(TabcastError, match="the engine has ended after"):
        asyncio.run(_serve_and_drive(50, breaks_after=10))


def test_a_piece_is_written_where_it_is_missing() -> None:
    document = endurance._Document("a.py", "0123456789" * 60, random.Random(1))
    for _ in range(300):
        request = document.type_on()
        assert document.text.startswith(request.prompt)
        assert document.text.endswith(request.suffix)
        assert request.prompt


@pytest.mark.parametrize(("mode", "is_good"), [("honest", True), ("twice", False)])
def test_editors_type_for_hours_and_each_session_is_told(mode: str, is_good: bool) -> None:
    server = [sys.executable, "-P", str(Path(__file__).with_name("fake_server.py")), mode]
    text = "".join(f"value_{number} = {number}\n" for number in range(40))
    rows = list(endurance_sessions.run(server, 0.0003, [text]))
    assert rows
    for row in rows:
        assert row["passed"] is is_good
        assert int(str(row["count"])) > 0
        assert (row["unanswered"], row["answered_twice"]) == (0, 0 if is_good else 1)


@pytest.mark.parametrize("seed", range(3))
def test_what_an_editor_types_is_the_text(seed: int) -> None:
    server = _Ledger()
    text = "".join(f"value_{number} = {number}\n" for number in range(9))
    editor = endurance_sessions._Editor(server, Path(), text, 0, random.Random(seed))  # type: ignore[arg-type]
    editor.open()
    for _ in range(200):
        editor.press()
        assert text.startswith(server.text)
        assert len(server.text) == editor.cursor
    assert len(set(editor.asked)) == 200


class _Ledger:
    """Keeps the document as a server does."""

    def __init__(self) -> None:
        self.text = ""
        self.num_asked = 0

    def notify(self, method: str, params: dict[str, Any]) -> None:
        if method == "textDocument/didOpen":
            self.text = params["textDocument"]["text"]
        elif method == "textDocument/didChange":
            (change,) = params["contentChanges"]
            start, end = (offset_of(self.text, change["range"][side]) for side in ("start", "end"))
            assert start is not None
            assert end is not None
            self.text = self.text[:start] + change["text"] + self.text[end:]

    def request(self, method: str, params: dict[str, Any]) -> int:
        self.num_asked += 1
        assert offset_of(self.text, params["position"]) == len(self.text)
        return self.num_asked
