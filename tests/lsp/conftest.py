"""Fixtures for the language server's tests: a fake engine in a runtime directory of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from decoding.protocol import Address
from lsp_server.engine_client import EngineClient, EngineSpec
from tests.lsp.fake_engine import Script, read_events

FAKE_ENGINE = Path(__file__).with_name("fake_engine.py")
PATIENCE_S = 30.0


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

    def address(self) -> Address | None:
        return Address.read(self.directory)


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[FakeRuntime]:
    directory = tmp_path / "runtime" / "engine"
    directory.mkdir(parents=True, mode=0o700)
    runtime = FakeRuntime(directory)
    yield runtime
    runtime.kill()


@pytest.fixture
async def make_client(runtime: FakeRuntime) -> AsyncIterator[Callable[..., EngineClient]]:
    clients: list[EngineClient] = []

    def make(*more_program: str, **options: Any) -> EngineClient:
        clients.append(EngineClient(runtime.spec, program=(str(FAKE_ENGINE), *more_program), **options))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()
