"""The engine client against fake engines: one start for many, proof before token and text, loss and back-off."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import aclosing

import pytest
from aiohttp import web

from decoding.protocol import Address, CompletionRequest, CompletionStats, Health
from lsp_server.engine.client import EngineClient, EngineUnavailable
from lsp_server.engine.stream import Delta
from tests.lsp.conftest import FakeRuntime, until

REQUEST = CompletionRequest(prompt="def secret_thing():\n")
MakeClient = Callable[..., EngineClient]


async def text_of(client: EngineClient) -> str:
    async with aclosing(client.complete(REQUEST)) as parts:
        return "".join([part.text async for part in parts if isinstance(part, Delta)])


async def test_a_completion_streams_and_ends_with_its_statistics(runtime: FakeRuntime, make_client: MakeClient) -> None:
    runtime.script("    return 1\n")
    client = make_client()
    assert (await client.ensure()).status == "ready"
    async with aclosing(client.complete(REQUEST)) as parts:
        received = [part async for part in parts]
    assert "".join(part.text for part in received if isinstance(part, Delta)) == "    return 1\n"
    assert isinstance(received[-1], CompletionStats)
    assert runtime.events("request")[0]["body"]["stream"] is True


async def test_ten_clients_at_once_start_one_engine(runtime: FakeRuntime, make_client: MakeClient) -> None:
    runtime.script("x")
    states = await asyncio.gather(*(make_client().ensure() for _ in range(10)))
    assert len({health.pid for health in states}) == 1
    assert len(runtime.events("start")) == 1


async def test_attach_never_starts_an_engine(runtime: FakeRuntime, make_client: MakeClient) -> None:
    assert await make_client().attach() is None
    assert not await make_client().stop()
    assert not runtime.events("start")


async def test_the_child_runs_in_the_runtime_directory_in_its_own_session(
    runtime: FakeRuntime, make_client: MakeClient
) -> None:
    await make_client().ensure()
    start = runtime.events("start")[0]
    assert start["cwd"] == str(runtime.directory)
    assert start["session"] == start["pid"]


async def test_closing_the_iterator_cancels_in_the_engine(runtime: FakeRuntime, make_client: MakeClient) -> None:
    runtime.script("a" * 40, hold_after=8)
    client = make_client()
    await client.ensure()
    async with aclosing(client.complete(REQUEST)) as parts:
        assert await anext(parts) == Delta("aaaa")
    await until(lambda: runtime.events("cancelled"), "the engine's cancellation")


async def test_a_killed_engine_is_told_as_lost_and_started_again(runtime: FakeRuntime, make_client: MakeClient) -> None:
    runtime.script("a" * 40, hold_after=8)
    client = make_client()
    first = await client.ensure()
    async with aclosing(client.complete(REQUEST)) as parts:
        assert [await anext(parts), await anext(parts)] == [Delta("aaaa"), Delta("aaaa")]
        runtime.kill()
        with pytest.raises(EngineUnavailable) as lost:
            await anext(parts)
    assert lost.value.code == "lost"
    runtime.script("done")
    second = await client.ensure()
    assert second.pid != first.pid
    assert await text_of(client) == "done"


async def test_stop_waits_until_the_engine_is_gone(runtime: FakeRuntime, make_client: MakeClient) -> None:
    client = make_client()
    await client.ensure()
    assert await client.stop()
    assert await client.attach() is None


async def test_loading_is_refused_and_failure_gives_the_reason(runtime: FakeRuntime, make_client: MakeClient) -> None:
    runtime.script(status="loading")
    seen: list[Health] = []
    client = make_client(on_health=seen.append)
    assert (await client.ensure()).status == "loading"
    with pytest.raises(EngineUnavailable) as refused:
        await text_of(client)
    assert refused.value.code == "loading"
    runtime.script(status="failed", detail="no weights in /m")
    with pytest.raises(EngineUnavailable, match="no weights in /m"):
        await client.wait_ready()
    assert [health.status for health in seen] == ["absent", "loading", "failed"]


async def test_a_start_that_fails_gives_the_last_line_of_the_log_and_backs_off(
    runtime: FakeRuntime, make_client: MakeClient
) -> None:
    now_s = 0.0
    client = make_client("--broken", clock=lambda: now_s)
    with pytest.raises(EngineUnavailable, match="code 5: tabcast: no model in /nowhere"):
        await client.ensure()
    with pytest.raises(EngineUnavailable, match="next attempt in 1 s"):
        await client.ensure()
    now_s = 1.5
    with pytest.raises(EngineUnavailable, match="code 5"):
        await client.ensure()
    with pytest.raises(EngineUnavailable, match="next attempt in 2 s"):
        await client.ensure()


class Stranger:
    """Some other program's HTTP server on the port that an address file still names."""

    def __init__(self, proof: object = "0" * 64) -> None:
        self.proof = proof
        self.received: list[tuple[str, str, bytes]] = []

    async def answer(self, request: web.Request) -> web.Response:
        headers = json.dumps(dict(request.headers))
        self.received.append((str(request.rel_url), headers, await request.read()))
        body = Health(status="ready").to_json() | {"proof": self.proof}
        return web.json_response(body)

    async def listen(self, port: int = 0) -> tuple[web.AppRunner, int]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        return runner, runner.addresses[0][1]


@pytest.mark.parametrize("proof", ["0" * 64, "é", 7, ""])
async def test_a_stranger_on_a_stale_port_gets_neither_token_nor_text(
    runtime: FakeRuntime, make_client: MakeClient, proof: object
) -> None:
    stranger = Stranger(proof)
    runner, port = await stranger.listen()
    Address(port=port, token="the-token-of-an-engine-long-gone", pid=1).write(runtime.directory)
    client = make_client()
    assert await client.attach() is None
    with pytest.raises(EngineUnavailable):
        await text_of(client)
    assert stranger.received
    assert all(path.startswith("/health?nonce=") for path, _, _ in stranger.received)
    assert not any("token-of-an-engine" in headers or body for _, headers, body in stranger.received)
    assert (await client.ensure()).status == "ready"  # a real one is started beside it
    await runner.cleanup()


async def test_a_stranger_that_takes_over_the_port_gets_nothing(runtime: FakeRuntime, make_client: MakeClient) -> None:
    """The engine was proven, then it died and another program listens where the client has been before."""
    runtime.script("x")
    client = make_client()
    await client.ensure()
    assert await text_of(client) == "x"
    address = runtime.address()
    assert address is not None
    runtime.kill()
    await until(lambda: not is_listening(address.port), "the engine's end")
    stranger = Stranger()
    runner, _ = await stranger.listen(address.port)
    with pytest.raises(EngineUnavailable):
        await text_of(client)
    assert all(path.startswith("/health?nonce=") for path, _, _ in stranger.received)
    assert not any(address.token in headers or body for _, headers, body in stranger.received)
    await runner.cleanup()


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
