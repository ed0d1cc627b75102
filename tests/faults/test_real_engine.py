"""A real engine with a tiny model: spoiled HTTP, many servers, damaged caches, and thousands of requests."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from decoding.bench.suites import endurance
from decoding.protocol import Address
from tests import json_mutations
from tests.engines import engine_pids
from tests.faults.campaign import Campaign, memory_mb
from tests.lsp.conftest import Servers
from tests.lsp.raw_client import did_open, inline

TABCAST = [sys.executable, "-P", "-m", "lsp_server"]
GOOD = {"prompt": "def add(a, b):\n    return", "suffix": "\n", "max_tokens": 8, "temperature": 0}
ROUTES = ("/v1/completions", "/v1/completions", "/infill", "/v1/models", "/health", "/metrics", "/props", "/shutdown2")
BETWEEN_LOOKS = 50


@pytest.fixture
def engine(real_engine_model: Path) -> Iterator[Address]:
    yield _start()
    subprocess.run([*TABCAST, "engine", "stop"], check=True, capture_output=True)


def _start() -> Address:
    subprocess.run([*TABCAST, "engine", "start"], check=True, capture_output=True, timeout=300)
    (file,) = Path(os.environ["TABCAST_RUNTIME_DIR"]).glob("*/engine.json")
    address = Address.read(file.parent)
    assert address is not None
    return address


def _ask(address: Address, route: str, body: bytes, **headers: str) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", address.port, timeout=120)) as connection:
        sent = {"Authorization": f"Bearer {address.token}", "Content-Type": "application/json", **headers}
        connection.request("POST", route, body, sent)
        answer = connection.getresponse()
        return answer.status, answer.read()


def _text(address: Address) -> Any:
    status, body = _ask(address, "/v1/completions", json.dumps(GOOD).encode())
    assert status == 200, body
    return json.loads(body)["choices"][0]["text"]


def _send_garbage(address: Address, rng: Random) -> None:
    """Bytes that are no request, or half of one."""
    whole = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n{" + rng.randbytes(40)
    sent = rng.choice((rng.randbytes(rng.randrange(1, 400)), whole[: rng.randrange(1, 100)]))
    with closing(socket.create_connection(("127.0.0.1", address.port))) as connection, suppress(ConnectionError):
        connection.sendall(sent)


def test_spoiled_http_is_refused_and_changes_no_answer(engine: Address, campaign: Campaign) -> None:
    rng = Random(2)
    wanted, first_mb = _text(engine), 0.0
    options = {"path": "a.py", "language": "python", "session": "a", "context": [{"path": "b.py", "text": "x = 1\n"}]}
    more = {**GOOD, "n": 2, "stop": ["\n\n"], "seed": 3, "stream": False, "logprobs": 2, "tabcast": options}
    for seed in range(campaign.http_requests):
        body = json_mutations.mutated(seed, json.dumps(more).encode())[1]
        if rng.random() < 0.1:
            _send_garbage(engine, rng)
        else:
            status, told = _ask(engine, rng.choice(ROUTES), body)
            assert status < 500, (seed, status, told[:300])
            assert b"Traceback" not in told
        if seed % BETWEEN_LOOKS == 0:
            assert _text(engine) == wanted
            first_mb = first_mb or memory_mb(engine.pid)
    assert _text(engine) == wanted
    assert memory_mb(engine.pid) - first_mb < campaign.grown_mb


async def test_many_servers_share_one_engine_and_all_are_answered(
    real_engine_model: Path, servers: Servers, campaign: Campaign
) -> None:
    clients = [await servers.start(program=("-m", "lsp_server", "lsp")) for _ in range(campaign.servers)]
    await asyncio.gather(*(client.initialize() for client in clients))
    try:
        await asyncio.gather(*(client.until_engine("ready") for client in clients))
        for client in clients:
            client.send(did_open("def add(a, b):\n    return \n"))
            client.send(*(inline(number, 1, 11) for number in range(1, 6)))
        for client in clients:
            for number in range(1, 6):
                await client.answer(number)
            await client.why()
            assert all(len(client.answers_to(number)) == 1 for number in range(1, 6))
        assert len(engine_pids(Path(os.environ["TABCAST_RUNTIME_DIR"]))) == 1
    finally:
        await asyncio.gather(*(client.close() for client in clients))


def test_damaged_caches_change_no_answer(
    real_engine_model: Path, campaign: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = Random(3)
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("TABCAST_KEPT_CACHES", str(cache / "keys-and-values"))
    monkeypatch.setenv("TABCAST_EXPERIENCE", str(cache / "experience.json"))
    wanted = ""
    for _ in range(campaign.damages + 1):
        address = _start()
        wanted = wanted or _text(address)
        assert _text(address) == wanted
        subprocess.run([*TABCAST, "engine", "stop"], check=True, capture_output=True)
        files = [path for path in cache.rglob("*") if path.is_file()]
        assert files
        for path in files:
            _damage(path, rng)


def _damage(path: Path, rng: Random) -> None:
    data = bytearray(path.read_bytes())
    match rng.randrange(5):
        case 0:
            data = data[: rng.randrange(len(data) + 1)]
        case 1:
            data = bytearray()
        case 2:
            data[-8:] = rng.randbytes(8)
        case 3:
            data = bytearray(rng.randbytes(len(data)))
        case _:
            return
    path.write_bytes(data)


def test_thousands_of_requests_leave_memory_as_it_was(tiny_model: Path, campaign: Campaign) -> None:
    arguments = ["--model", str(tiny_model), "--draft", "none"]
    rows = list(endurance.run(arguments, campaign.requests, lambda: None))
    assert rows[-1]["count"] >= campaign.requests
    assert rows[-1]["failed"] == 0
    settled, last = rows[len(rows) // 2]["memory_mb"], rows[-1]["memory_mb"]
    if settled is not None and last is not None:
        assert last - settled < campaign.grown_mb  # type: ignore[operator]
