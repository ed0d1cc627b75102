"""The engine's HTTP side without a process: clients that go away, odd headers, and idle time."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from decoding.protocol import Address
from decoding.service import http_server, lifecycle
from decoding.service.gates import TokenGate
from decoding.service.http_server import EngineServer
from decoding.service.jobs import Delta, EngineState, Event, Job, JobDone, Mailbox


class Served:
    """A server on a port, whose compute thread is the test."""

    def __init__(self, listener: socket.socket) -> None:
        self.address = Address(port=listener.getsockname()[1], token="0123456789abcdef" * 2, pid=1)
        self.mailbox = Mailbox()
        self.state = EngineState()
        self.state.update(status="ready", model="m")
        self.server = EngineServer(TokenGate(self.address), self.mailbox, self.state, lambda: None)

    async def ask(self, **body: Any) -> tuple[aiohttp.ClientSession, asyncio.Task[aiohttp.ClientResponse], Job]:
        """A request under way, and the job that came of it."""
        client = aiohttp.ClientSession(headers={"Authorization": f"Bearer {self.address.token}"})
        url = f"{self.address.url}/v1/completions"
        asking = asyncio.create_task(client.post(url, json={"prompt": "x", "stream": True, **body}))
        job = (await asyncio.to_thread(self.mailbox.take, wait=True))[0]
        assert job is not None
        return client, asking, job


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        served = Served(listener)
        runner = web.AppRunner(served.server.application(), handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        yield served
        await runner.cleanup()


async def test_a_stream_that_can_not_be_written_is_closed_at_once(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not when the garbage collector comes by: somebody may hold on to the error, and to all that it saw."""
    held: list[AsyncIterator[Event]] = []

    async def send(*arguments: Any) -> web.StreamResponse:
        held.append(arguments[-1])
        raise RuntimeError("it can't be written")

    monkeypatch.setattr(http_server, "_send_stream", send)
    client, asking, job = await served.ask()
    job.deliver(Delta(0, "text"))
    assert (await asking).status == 500
    assert job.is_cancelled
    assert held
    await client.close()


async def test_a_client_that_goes_away_is_no_error(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone = asyncio.Event()

    async def write(*_: object) -> None:
        gone.set()
        raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")

    monkeypatch.setattr(web.StreamResponse, "write", write)
    client, asking, job = await served.ask()
    job.deliver(Delta(0, "text"))
    await gone.wait()
    await client.close()
    with pytest.raises(aiohttp.ClientError):
        await (await asking).read()
    assert job.is_cancelled
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_header_that_is_not_utf_8_is_refused(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.address.port)
    host = f"127.0.0.1:{served.address.port}".encode()
    head = b"GET /metrics HTTP/1.1\r\nHost: " + host + b"\r\nAuthorization: Bearer \xff\xfe\xe4\r\n\r\n"
    writer.write(head)
    assert b" 401 " in await reader.readline()
    writer.close()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


class Looks:
    """Counts how often the engine's life was looked at."""

    def __init__(self) -> None:
        self.num_looks = 0
        self.is_enough = asyncio.Event()

    def look(self, _idle_s: float) -> None:
        self.num_looks += 1
        if self.num_looks == 10:
            self.is_enough.set()


async def test_idle_time_does_not_run_while_models_load(served: Served) -> None:
    served.state.update(status="loading")
    looks, idle_s = Looks(), 0.2  # a look each 0.05 s
    living = asyncio.create_task(lifecycle._wait(asyncio.Event(), served.server, served.state, idle_s, [looks]))
    await asyncio.wait([living, asyncio.create_task(looks.is_enough.wait())], return_when=asyncio.FIRST_COMPLETED)
    assert not living.done()
    served.state.update(status="ready")
    await living


async def test_a_job_that_fails_is_told(served: Served) -> None:
    client, asking, job = await served.ask()
    job.deliver(JobDone("no room", status=400))
    assert (await asking).status == 400
    await client.close()


@pytest.mark.parametrize(
    ("head", "body", "message"),
    [
        ({}, b'{"prompt": "x", "stop": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        ({"Content-Encoding": "gzip"}, b'{"prompt": "x"}', "encoding"),
        ({"Content-Encoding": "deflate"}, b"\xff\xff\xff", "encoding"),
        ({}, b'{"prompt": "x", "tabcast": {"line_mode": "' + b"x" * 10_000 + b'"}}', "tabcast.line_mode"),
        ({}, b'{"prompt": "x", "tabcast": {"method": 3}}', "tabcast.method: expected a string"),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_a_body_that_can_not_be_read_is_told(
    served: Served, head: dict[str, str], body: bytes, message: str
) -> None:
    head = {**head, "Authorization": f"Bearer {served.address.token}"}
    async with aiohttp.ClientSession(headers=head) as client:
        answer = await client.post(f"{served.address.url}/v1/completions", data=body)
        assert answer.status == 400
        told = (await answer.json())["error"]["message"]
    assert message in told
    assert "tabcast.tabcast" not in told
    assert len(told) < 300
