"""An engine that is silent, of another version, out of memory or talks rubbish: told in words, and mended."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from decoding.protocol import Address
from lsp_server.engine.client import SILENT, EngineUnavailable
from lsp_server.engine.ending import end_engine
from tests.lsp.conftest import FakeRuntime, Servers, until
from tests.lsp.raw_client import RawClient, did_change, did_open, inline
from tests.lsp.test_engine_client import MakeClient, text_of

Freeze = Callable[[FakeRuntime, MakeClient], Awaitable[int]]


async def stopped_engine(runtime: FakeRuntime, make_client: MakeClient) -> int:
    """The process of an engine that is alive and answers nothing."""
    runtime.script("text")
    client = make_client()
    await client.ensure()
    address = runtime.address()
    assert address is not None
    os.kill(address.pid, signal.SIGSTOP)
    return address.pid


async def mute_engine(runtime: FakeRuntime, make_client: MakeClient) -> int:
    """The process of an engine that is alive and does not answer for its health, until the script is another."""
    runtime.script("text")
    pid = (await make_client().ensure()).pid
    runtime.script("text", mute_pid=pid)
    return pid


@pytest.mark.parametrize("freeze", [stopped_engine, mute_engine])
async def test_a_silent_engine_is_ended_once_and_another_started(
    runtime: FakeRuntime, make_client: MakeClient, impatient: None, freeze: Freeze
) -> None:
    pid = await freeze(runtime, make_client)
    told: list[str] = []
    clients = [make_client(on_health=lambda health: told.append(health.detail), hung_s=0.5) for _ in range(3)]
    for health in await asyncio.gather(*(client.ensure() for client in clients)):
        assert health.status == "ready"
        assert health.pid != pid
    assert len(runtime.events("start")) == 2
    assert SILENT in told
    assert await text_of(clients[0]) == "text"


async def test_an_engine_that_was_only_slow_stays(
    runtime: FakeRuntime, make_client: MakeClient, impatient: None
) -> None:
    pid = await mute_engine(runtime, make_client)
    silent = asyncio.Event()
    client = make_client(on_health=lambda health: silent.set() if health.detail == SILENT else None, hung_s=60)
    ensuring = asyncio.create_task(client.ensure())
    await silent.wait()
    runtime.script("text")
    assert (await ensuring).pid == pid
    assert len(runtime.events("start")) == 1


async def test_an_engine_that_computes_nothing_is_replaced_once(runtime: FakeRuntime, make_client: MakeClient) -> None:
    runtime.script("text", hold_after=0)
    pid = (await make_client().ensure()).pid  # who has just started one does not start another at once
    clients = [make_client(stuck_s=0.3) for _ in range(3)]
    for client in clients:
        await client.attach()
    results = await asyncio.gather(*(client.replace_if_stuck() for client in clients))
    assert any(results)
    assert len(runtime.events("start")) == 2
    runtime.script("text")
    assert (await clients[0].ensure()).pid != pid
    assert await text_of(clients[0]) == "text"


async def test_a_stuck_engine_is_not_replaced_again_at_once(runtime: FakeRuntime, make_client: MakeClient) -> None:
    runtime.script("text", hold_after=0)
    client = make_client(stuck_s=0.01, clock=lambda: time.monotonic() / 50)  # pauses between starts are long
    await client.ensure()
    with pytest.raises(EngineUnavailable) as caught:
        await client.replace_if_stuck()
    assert caught.value.code == "backing off"
    assert len(runtime.events("start")) == 1


async def test_an_engine_that_is_only_slow_or_refuses_is_not_replaced(
    runtime: FakeRuntime, make_client: MakeClient
) -> None:
    client = make_client(stuck_s=60)
    await client.ensure()
    scripts: list[dict[str, Any]] = [{"hold_after": 0, "computes": True}, {"status": "loading"}, {}]
    for script in scripts:
        runtime.script("text", **script)
        assert not await client.replace_if_stuck()
    assert len(runtime.events("start")) == 1


async def test_an_engine_that_is_slow_while_it_loads_is_waited_for(
    runtime: FakeRuntime, make_client: MakeClient, impatient: None
) -> None:
    pid = await mute_engine(runtime, make_client)
    silent = asyncio.Event()
    client = make_client(on_health=lambda health: silent.set() if health.detail == SILENT else None, hung_s=60)
    waiting = asyncio.create_task(client.wait_ready())
    await silent.wait()
    runtime.script("text")
    assert (await waiting).pid == pid


def test_nothing_is_ended_where_nobody_holds_the_lock(tmp_path: Path) -> None:
    """The process number of an old address file may be anybody's by now; here it is this test's own."""
    Address(port=1, token="t" * 40, pid=os.getpid()).write(tmp_path)
    assert end_engine(tmp_path, os.getpid())


async def test_an_engine_of_another_version_is_not_spoken_to_but_can_be_restarted(
    runtime: FakeRuntime, make_client: MakeClient
) -> None:
    runtime.script("text", protocol=999)
    client = make_client()
    with pytest.raises(EngineUnavailable, match="another version"):
        await client.wait_ready() if await client.ensure() else None
    runtime.script("text")
    assert await client.stop()
    assert (await client.ensure()).status == "ready"


RUBBISH = {
    "no events": "hello\n\n",
    "no JSON": "data: {\n\n",
    "no object": "data: [1]\n\n",
    "choices of another kind": 'data: {"choices": 7}\n\n',
    "a choice of another kind": 'data: {"choices": ["x"]}\n\n',
    "statistics of another kind": 'data: {"choices": [{"finish_reason": "stop", "tabcast": {"tokens": "many"}}]}\n\n',
    "an index of another kind": 'data: {"choices": [{"text": "x", "index": "first"}]}\n\n',
    "an event without an end": "data: " + "x" * 2_000_000,
    "bytes": "\xff\xfe\x00\n\n",
    "nothing": "",
}


async def test_rubbish_is_told_as_such(runtime: FakeRuntime, make_client: MakeClient) -> None:
    runtime.script("text")
    client = make_client()
    await client.ensure()
    for name, raw in RUBBISH.items():
        runtime.script("text", raw=raw)
        with pytest.raises(EngineUnavailable) as caught:
            await text_of(client)
        assert caught.value.code in ("protocol", "lost"), name
    runtime.script("text")
    assert await text_of(client) == "text"


async def test_a_request_that_runs_out_of_memory_says_so_and_the_next_is_answered(
    client: RawClient, runtime: FakeRuntime
) -> None:
    message = "the engine is out of memory"
    runtime.script(raw=f'data: {{"error": {{"message": "{message}", "code": "failed"}}}}\n\n')
    client.send(did_open("x = \n"), inline(1, 0, 4))
    assert await client.items(1) == []
    assert (await client.why())["detail"] == message
    runtime.script("tail + 1")
    client.send(did_change(2, "y", (0, 0), (0, 1)), inline(2, 0, 4))
    assert len(await client.items(2)) == 1
    assert len(runtime.events("start")) == 1


async def test_requests_that_are_never_answered_are_told_of(servers: Servers, runtime: FakeRuntime) -> None:
    runtime.script("tail", hold_after=0)
    client = await servers.start()
    await client.initialize(initializationOptions={"deadlineMs": 50})
    await client.until_engine("ready")
    client.send(did_open("x = \n"))
    for number in range(1, 4):
        client.send(did_change(number + 1, str(number), (0, 0), (0, 1)), inline(number, 0, 4))
        assert await client.items(number) == []
    assert "none of the last requests" in (await client.why())["status"]["message"]
    runtime.release()
    client.send(did_change(9, "z", (0, 0), (0, 1)), inline(9, 0, 4))
    assert len(await client.items(9)) == 1
    assert (await client.why())["status"]["message"] == ""
    await until(lambda: len(runtime.events("start")) == 1, "one engine")
    await client.close()
