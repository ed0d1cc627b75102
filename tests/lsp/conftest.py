"""Fixtures for the language server's tests: a fake engine in a runtime directory of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from decoding.protocol import Address
from lsp_server.engine import connection
from lsp_server.engine.client import EngineClient, EngineSpec
from tests.lsp.fake_engine import OVER_FILE, Script, read_events
from tests.lsp.raw_client import RawClient

FAKE_ENGINE = Path(__file__).with_name("fake_engine.py")
SERVE = Path(__file__).with_name("serve_with_fake.py")
# Only what fails takes so long; a busy machine may stand still for a while.
PATIENCE_S = 120.0


async def until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Wait for a condition that another process brings about."""
    end = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not come true within {PATIENCE_S} s"
        await asyncio.sleep(0.01)
    return value


class FakeRuntime:
    """The runtime directory of a fake engine, as the test sees it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.spec = EngineSpec(arguments=(), directory=directory)

    def script(self, text: str = "", **more: Any) -> None:
        Script(text=text, **more).write(self.directory)

    def release(self) -> None:
        (self.directory / "release").touch()

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event for event in read_events(self.directory) if event["event"] == name]

    def kill(self) -> None:
        """End every engine that was started here, the hard way."""
        for event in self.events("start"):
            try:
                os.kill(event["pid"], signal.SIGKILL)
            except ProcessLookupError:
                continue

    def end(self) -> None:
        """End every engine for good: one that a server starts hereafter finds that all is over, and ends itself."""
        (self.directory / OVER_FILE).touch()
        self.kill()

    def address(self) -> Address | None:
        return Address.read(self.directory)


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[FakeRuntime]:
    directory = tmp_path / "runtime" / "engine"
    directory.mkdir(parents=True, mode=0o700)
    runtime = FakeRuntime(directory)
    yield runtime
    runtime.end()


@pytest.fixture
async def make_client(runtime: FakeRuntime) -> AsyncIterator[Callable[..., EngineClient]]:
    clients: list[EngineClient] = []

    def make(*more_program: str, **options: Any) -> EngineClient:
        clients.append(EngineClient(runtime.spec, program=(str(FAKE_ENGINE), *more_program), **options))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for an engine's health waits for a short time only."""
    monkeypatch.setattr(connection, "HEALTH_TIMEOUT_S", 0.3)


class Servers:
    """Starts language servers as processes, connects raw clients, and looks at how they end."""

    def __init__(self, runtime: FakeRuntime, folder: Path) -> None:
        self.runtime = runtime
        self.folder = folder
        self.processes: list[asyncio.subprocess.Process] = []
        self.logs: list[Path] = []

    async def start(self, transport: str = "stdio", program: tuple[str, ...] = (), **environ: str) -> RawClient:
        arguments = program or (str(SERVE), str(self.runtime.directory), *(["0"] if transport == "tcp" else []))
        self.logs.append(self.folder / f"server{len(self.logs)}.log")
        with self.logs[-1].open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, "TABCAST_LOG": "info", **environ},
                limit=2**24,
            )
        self.processes.append(process)
        if transport == "stdio":
            assert process.stdout is not None
            assert process.stdin is not None
            return RawClient(process.stdout, process.stdin)
        listening = await until(lambda: self.log().partition("listening on ")[2].partition("\n")[0], "the port")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(listening.rpartition(":")[2]), limit=2**24)
        return RawClient(reader, writer)

    def log(self) -> str:
        return self.logs[-1].read_text(encoding="utf-8")

    async def end(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest.fixture
async def servers(runtime: FakeRuntime, tmp_path: Path) -> AsyncIterator[Servers]:
    servers = Servers(runtime, tmp_path)
    yield servers
    await servers.end()


async def ready_client(servers: Servers, transport: str, **environ: str) -> AsyncIterator[RawClient]:
    servers.runtime.script("")
    client = await servers.start(transport, **environ)
    await client.initialize()
    await client.until_engine("ready")
    yield client
    await client.close()


@pytest.fixture
async def client(servers: Servers) -> AsyncIterator[RawClient]:
    """A client of a server whose fake engine is ready."""
    async for client in ready_client(servers, "stdio"):
        yield client


@pytest.fixture
async def patient_client(servers: Servers) -> AsyncIterator[RawClient]:
    """A client of a server that waits long for a second and a third text."""
    async for client in ready_client(servers, "stdio", TABCAST_TEST_PATIENT="1"):
        yield client


@pytest.fixture(params=["stdio", "tcp"])
async def any_client(request: pytest.FixtureRequest, servers: Servers) -> AsyncIterator[RawClient]:
    """The same over both transports, which differ in how many messages are read before a coroutine runs."""
    async for client in ready_client(servers, request.param):
        yield client
