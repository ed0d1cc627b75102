"""The gate of a team's engine, without a model: who is let in, for what, how much, and what is told of it."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from decoding.protocol import CompletionStats
from decoding.service.connections import Connections, Patience
from decoding.service.gates import Bounds
from decoding.service.http_server import EngineServer
from decoding.service.jobs import ChoiceDone, Delta, EngineState, Job, JobDone, Mailbox
from decoding.service.limits import Limits
from decoding.service.team_gate import TeamGate
from decoding.storage.team_keys import new_key, revoke_key

SECRET = "the_secret_of_the_text"
LIMITS = Limits(requests_per_minute=1000, tokens_per_minute=0, concurrent=3)


class Team:
    """A server with keys, whose compute thread is the test."""

    def __init__(
        self, folder: Path, limits: Limits = LIMITS, patience: Patience | None = None, body_s: float = 120.0
    ) -> None:
        self.path = folder / "keys.json"
        self.keys = {name: new_key(self.path, name) for name in ("anna", "berta")}
        self.keys["prometheus"] = new_key(self.path, "prometheus", right="metrics")
        self.gate = TeamGate(self.path, limits)
        self.mailbox, self.state = Mailbox(), EngineState()
        self.state.update(status="ready", model="m")
        self.server = EngineServer(self.gate, self.mailbox, self.state, bounds=Bounds(max_bytes=20_000, body_s=body_s))
        self.connections = Connections(patience or Patience(head_s=120.0))
        self.clients: list[aiohttp.ClientSession] = []
        self.url = ""
        self.port = 0

    def client(self, name: str) -> aiohttp.ClientSession:
        headers = {"Authorization": f"Bearer {self.keys[name]}"} if name else {}
        self.clients.append(aiohttp.ClientSession(self.url, headers=headers))
        return self.clients[-1]

    async def jobs(self, number: int = 1) -> list[Job]:
        found: list[Job] = []
        while len(found) < number:
            found += [job for job in await asyncio.to_thread(self.mailbox.take, wait=True) if job is not None]
        return found

    async def ask(self, name: str, **body: Any) -> tuple[asyncio.Task[aiohttp.ClientResponse], Job]:
        asking = asyncio.create_task(post(self.client(name), **body))
        return asking, (await self.jobs())[0]

    async def figures(self) -> dict[str, float]:
        async with self.client("prometheus").get("/metrics") as answer:
            assert answer.status == 200
            rows = [line for line in (await answer.text()).splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (row.rpartition(" ") for row in rows)}


async def post(client: aiohttp.ClientSession, **body: Any) -> aiohttp.ClientResponse:
    return await client.post("/v1/completions", json={"prompt": SECRET, "stream": True, **body})


@asynccontextmanager
async def serving(team: Team) -> AsyncIterator[Team]:
    app = team.server.application()
    app.middlewares.insert(0, team.connections.middleware)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1, lingering_time=0.1)
    await runner.setup()
    assert runner.server is not None
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = await asyncio.get_running_loop().create_server(team.connections.wrap(runner.server), sock=listener)
    team.port = listener.getsockname()[1]
    team.url = f"http://127.0.0.1:{team.port}"
    try:
        yield team
    finally:
        for client in team.clients:
            await client.close()
        server.close()
        await runner.cleanup()


@pytest.fixture
async def team(tmp_path: Path) -> AsyncIterator[Team]:
    async with serving(Team(tmp_path)) as found:
        yield found


def finish(job: Job, text: str = "text", reason: str = "stop") -> None:
    job.charge(7, 2)
    job.deliver(Delta(0, text))
    job.deliver(ChoiceDone(0, CompletionStats(reason=reason)))
    job.deliver(JobDone())


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110 - what it waits for is in other code
            await asyncio.sleep(0.01)


async def test_who_has_a_key_is_served_and_known_by_it(team: Team) -> None:
    asking, job = await team.ask("anna")
    other, others = await team.ask("berta")
    assert job.owner != others.owner != ""
    assert team.keys["anna"] not in job.owner
    finish(job, "for anna")
    finish(others, "for berta")
    assert "for anna" in await (await asking).text()
    assert "for berta" in await (await other).text()


@pytest.mark.parametrize("key", ["", "wrong", "Bearer", "ä" * 40, "x" * 5000])
async def test_strangers_are_refused(team: Team, key: str, caplog: pytest.LogCaptureFixture) -> None:
    client = team.client("")
    for path in ("/v1/completions", "/v1/models", "/metrics", "/nothing", "/v1/tabcast/stop"):
        async with client.post(path, data=SECRET, headers={"Authorization": f"Bearer {key}"}) as answer:
            assert answer.status == 401
            told = await answer.text()
        assert SECRET not in told
        assert key not in told or len(key) < 10
    assert SECRET not in caplog.text
    assert (await team.figures())["tabcast_refused_strangers_total"] == 5


async def test_a_key_opens_what_it_is_for(team: Team) -> None:
    for name, path, status in (
        ("anna", "/metrics", 403),
        ("anna", "/v1/models", 200),
        ("prometheus", "/metrics", 200),
        ("prometheus", "/v1/models", 403),
    ):
        async with team.client(name).get(path) as answer:
            assert answer.status == status, (name, path)
    for name, status in (("anna", 403), ("prometheus", 403)):  # nobody ends a team's engine from outside
        async with team.client(name).post("/v1/tabcast/stop") as answer:
            assert answer.status == status
    async with team.client("anna").get("/v1/models", headers={"Origin": "https://evil.example"}) as answer:
        assert answer.status == 403


async def test_health_tells_strangers_whether_it_serves_and_no_more(team: Team) -> None:
    async with team.client("").get("/health", params={"nonce": "ab"}) as answer:
        assert await answer.json() == {"status": "ready", "protocol": 1}
    async with team.client("anna").get("/health", params={"nonce": "ab"}) as answer:
        told = await answer.json()
    assert told["model"] == "m"
    assert told["proof"] == ""  # a key is never used to prove anything
    async with team.client("").get("/health", headers={"Authorization": "Bearer wrong"}) as answer:
        assert answer.status == 401


async def test_a_revoked_key_ends_at_once_with_its_streams(team: Team) -> None:
    asking, job = await team.ask("anna")
    other, others = await team.ask("berta")
    job.deliver(Delta(0, "before"))
    answer = await asking
    assert b"before" in await answer.content.readline()
    revoke_key(team.path, "anna")
    team.gate.look(0.0)
    job.deliver(Delta(0, "behind"))
    left = await answer.text()
    assert "revoked" in left
    assert "behind" not in left
    assert job.is_cancelled
    assert (await post(team.client("anna"))).status == 401
    finish(others)
    assert (await other).status == 200
    assert (await team.figures())['tabcast_user_requests_total{user="anna",outcome="revoked"}'] == 1


async def test_a_key_that_is_revoked_before_the_first_text_is_told(team: Team) -> None:
    asking, job = await team.ask("anna")
    revoke_key(team.path, "anna")
    assert (await post(team.client("anna"))).status == 401  # this looks at the file
    answer = await asking
    assert answer.status == 401
    assert job.is_cancelled


async def test_a_new_key_of_one_name_is_another_owner(team: Team) -> None:
    asking, job = await team.ask("anna")
    finish(job)
    await (await asking).read()
    revoke_key(team.path, "anna")
    team.keys["anna"] = new_key(team.path, "anna")
    again, newer = await team.ask("anna")
    finish(newer)
    assert (await again).status == 200
    assert newer.owner != job.owner


async def test_a_keys_file_that_can_not_be_read_lets_nobody_new_in(
    team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    asking, job = await team.ask("anna")
    team.path.chmod(0o644)
    answer = await post(team.client("anna"))
    assert answer.status == 503
    assert "Retry-After" in answer.headers
    assert "chmod 600" in caplog.text
    finish(job)
    assert (await asking).status == 200
    team.path.chmod(0o600)
    asking, job = await team.ask("anna")
    finish(job)
    assert (await asking).status == 200


async def test_limits_are_each_keys_own(team: Team) -> None:
    asked = [await team.ask("anna") for _ in range(3)]
    answer = await post(team.client("anna"))
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) >= 1
    assert "3 requests under way" in (await answer.json())["error"]["message"]
    other, job = await team.ask("berta")
    for found in (job, *(job for _, job in asked)):
        finish(found)
    assert (await other).status == 200
    for asking, _ in asked:
        await (await asking).read()
    await until(lambda: team.server.num_open == 0)
    again, job = await team.ask("anna")
    finish(job)
    assert (await again).status == 200
    assert (await team.figures())['tabcast_user_requests_total{user="anna",outcome="limited"}'] == 1


async def test_tokens_that_were_computed_count(tmp_path: Path) -> None:
    limits = Limits(requests_per_minute=0, tokens_per_minute=8, concurrent=0)
    async with serving(Team(tmp_path, limits)) as team:
        asking, job = await team.ask("anna")
        job.charge(7, 2)  # and its client goes away before any text
        asking.cancel()
        await until(lambda: job.is_cancelled)
        answer = await post(team.client("anna"))
        assert answer.status == 429
        figures = await team.figures()
    assert figures['tabcast_user_tokens_total{user="anna",kind="read"}'] == 7
    assert figures['tabcast_user_tokens_total{user="anna",kind="written"}'] == 2
    assert figures['tabcast_user_requests_total{user="anna",outcome="cancelled"}'] == 1


async def test_figures_and_log_name_the_user_and_no_text(team: Team, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "decoding")
    asking, job = await team.ask("anna", tabcast={"path": SECRET, "session": SECRET})
    finish(job, SECRET)
    await (await asking).read()
    asking, job = await team.ask("anna")
    finish(job, reason="superseded")
    await (await asking).read()
    asking, job = await team.ask("berta")
    job.deliver(JobDone("the engine failed"))
    assert (await asking).status == 500
    async with team.client("berta").post("/v1/completions", data=SECRET) as answer:
        assert answer.status == 400
    await until(lambda: team.server.num_open == 0)
    figures = await team.figures()
    for name, outcome in (("anna", "finished"), ("anna", "superseded"), ("berta", "failed"), ("berta", "invalid")):
        assert figures[f'tabcast_user_requests_total{{user="{name}",outcome="{outcome}"}}'] == 1
    assert figures['tabcast_user_first_text_seconds_count{user="anna"}'] == 2
    assert figures['tabcast_user_first_text_seconds_bucket{user="anna",le="+Inf"}'] == 2
    assert "user=anna outcome=finished" in caplog.text
    assert "read=7 written=2" in caplog.text
    for hidden in (SECRET, *team.keys.values()):
        assert hidden not in caplog.text


async def test_a_stopping_engine_takes_nothing_new(team: Team) -> None:
    asking, job = await team.ask("anna")
    team.gate.is_closing = True
    answer = await post(team.client("anna"))
    assert answer.status == 503
    assert "Retry-After" in answer.headers
    async with team.client("").get("/health") as health:
        assert health.status == 503
    finish(job, "to the end")
    assert "to the end" in await (await asking).text()


async def test_bodies_are_bounded_in_size(team: Team) -> None:
    answer = await post(team.client("anna"), suffix="x" * 30_000)
    assert answer.status == 413


async def test_bodies_are_bounded_in_time(tmp_path: Path) -> None:
    async def drip() -> AsyncIterator[bytes]:
        yield b'{"prompt": "'
        await asyncio.sleep(600)

    async with (
        serving(Team(tmp_path, body_s=0.5)) as team,
        asyncio.timeout(60),
        team.client("anna").post("/v1/completions", data=drip()) as slow,
    ):
        assert slow.status == 408
        assert SECRET not in json.dumps(await slow.json())


async def _drip_head(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /health HTTP/1.1\r\n")
    while not writer.transport.is_closing():
        writer.write(b"X: y\r\n")
        await asyncio.sleep(0.05)


async def _say_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _ask_once_and_stay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 200 " in await reader.readline()
    await reader.read()


@pytest.mark.parametrize(
    ("behave", "patience"),
    [
        (_drip_head, Patience(head_s=0.3)),
        (_say_nothing, Patience(head_s=0.3)),
        (_ask_once_and_stay, Patience(head_s=60.0, idle_s=0.3)),
    ],
)
async def test_slow_clients_lose_their_connection(
    tmp_path: Path,
    behave: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    patience: Patience,
) -> None:
    async with serving(Team(tmp_path, patience=patience)) as team:
        reader, writer = await asyncio.open_connection("127.0.0.1", team.port)
        try:
            async with asyncio.timeout(60):
                with suppress(ConnectionError):
                    await behave(reader, writer)
                await until(lambda: len(team.connections) == 0)
        finally:
            writer.close()


async def test_a_client_that_does_not_read_loses_its_connection(tmp_path: Path) -> None:
    async with serving(Team(tmp_path, patience=Patience(write_s=0.3))) as team:
        body = json.dumps({"prompt": "x", "stream": True}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {team.keys['anna']}\r\n"
        _reader, writer = await asyncio.open_connection("127.0.0.1", team.port, limit=1024)
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        (job,) = await team.jobs()
        for _ in range(40):
            job.deliver(Delta(0, "x" * 500_000))
        await until(lambda: job.is_cancelled)
        await until(lambda: len(team.connections) == 0)
        writer.close()


async def test_a_head_is_bounded(team: Team) -> None:
    for head in (b"X: " + b"y" * 100_000, b"\r\n".join(b"X%d: y" % number for number in range(50_000))):
        reader, writer = await asyncio.open_connection("127.0.0.1", team.port)
        writer.write(b"GET /health HTTP/1.1\r\n" + head)
        with suppress(ConnectionError):
            async with asyncio.timeout(60):
                assert b" 400 " in await reader.readline()
        writer.close()


async def test_connections_are_counted(tmp_path: Path) -> None:
    async with serving(Team(tmp_path, patience=Patience(most=2))) as team:
        held = [await asyncio.open_connection("127.0.0.1", team.port) for _ in range(2)]
        await until(lambda: len(team.connections) == 2)
        reader, writer = await asyncio.open_connection("127.0.0.1", team.port)
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        for _, other in held:
            other.close()
        await until(lambda: len(team.connections) == 0)
        async with team.client("").get("/health") as answer:
            assert answer.status == 200
