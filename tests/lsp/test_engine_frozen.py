"""An engine that is frozen: it is told from one that is slow, ended, and nobody else in its stead."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import filelock
import pytest

from decoding.protocol import ENGINE_LOCK_FILE, Address, Health
from lsp_server.engine import ending
from lsp_server.engine.client import SILENT, EngineClient
from lsp_server.engine.ending import end_engine, is_stopped
from lsp_server.engine.quiet import QUIET_S
from lsp_server.engine.supervisor import MAX_UNANSWERED, EngineSupervisor
from tests.lsp.conftest import PATIENCE_S, FakeRuntime, until
from tests.lsp.raw_client import RawClient, did_change, did_open, inline
from tests.lsp.test_engine_client import MakeClient
from tests.lsp.test_engine_trouble import stopped_engine


@pytest.fixture
def bystander(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that has nothing to do with any engine but a folder's name on its command line."""
    process = subprocess.Popen([sys.executable, "-c", "input()", str(tmp_path)], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


@pytest.mark.skipif(os.name != "posix", reason="elsewhere nobody tells another process's command line")
def test_a_process_that_is_not_the_engine_gets_no_signal(tmp_path: Path, bystander: subprocess.Popen[bytes]) -> None:
    """The address file is an old one, its number another program's, and the next engine is just about to begin."""
    bystander.send_signal(signal.SIGSTOP)
    with filelock.FileLock(tmp_path / ENGINE_LOCK_FILE):
        assert not end_engine(tmp_path, bystander.pid)
        assert not is_stopped(tmp_path, bystander.pid)
    bystander.send_signal(signal.SIGCONT)
    assert bystander.poll() is None
    bystander.communicate(b"\n")
    assert bystander.returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="there are no such signals")
async def test_a_stopped_engine_is_told_from_a_running_one(
    runtime: FakeRuntime, make_client: MakeClient, by_ps: None
) -> None:
    pid = (await make_client().ensure()).pid
    assert not is_stopped(runtime.directory, pid)
    os.kill(pid, signal.SIGSTOP)
    await until(lambda: is_stopped(runtime.directory, pid), "the stop")
    assert not is_stopped(runtime.directory.parent, pid)
    assert end_engine(runtime.directory, pid)


@pytest.fixture(params=["/proc", "ps"])
def by_ps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there is no `/proc`, the program `ps` is asked."""
    if request.param == "ps":
        if shutil.which("ps") is None:
            pytest.skip("ps is not installed")
        monkeypatch.setattr(ending, "PROCESSES", tmp_path)
    elif not Path("/proc/self/stat").exists():
        pytest.skip("this system has no /proc")


async def test_a_frozen_engine_is_stopped_by_force(runtime: FakeRuntime, make_client: MakeClient) -> None:
    pid = await stopped_engine(runtime, make_client)
    assert await make_client(hung_s=60).stop()
    assert not is_alive(pid)
    assert not await make_client().stop()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended stays as a zombie until this process asks for it."""
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False


async def test_a_program_on_a_stale_port_that_says_nothing_holds_up_no_start(
    runtime: FakeRuntime, make_client: MakeClient, impatient: None
) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        Address(port=stranger.getsockname()[1], token="t" * 40, pid=os.getpid()).write(runtime.directory)
        async with asyncio.timeout(PATIENCE_S):
            assert (await make_client(hung_s=3600).ensure()).status == "ready"


def test_a_process_that_is_gone_or_anothers_is_no_failure(tmp_path: Path) -> None:
    with filelock.FileLock(tmp_path / ENGINE_LOCK_FILE):
        assert not end_engine(tmp_path, 2**22 + 1)


async def type_until_suggested(client: RawClient) -> None:
    """Type on without a pause, each request in place of the one before, until one brings a suggestion."""
    end = time.monotonic() + PATIENCE_S
    number = 100
    while not (number % 10 == 0 and number > 100 and await client.items(number)):
        assert time.monotonic() < end, "suggestions did not come back"
        number += 1
        client.send(did_change(number, "xy"[number % 2], (0, 0), (0, 1)), inline(number, 0, 4))
        await asyncio.sleep(0.1)


@pytest.mark.skipif(os.name != "posix", reason="there are no such signals")
async def test_an_engine_that_freezes_while_somebody_types_is_replaced(client: RawClient, runtime: FakeRuntime) -> None:
    runtime.script("tail")
    frozen = runtime.address()
    assert frozen is not None
    os.kill(frozen.pid, signal.SIGSTOP)
    client.send(did_open("x = \n"))
    await type_until_suggested(client)
    replaced = runtime.address()
    assert replaced is not None
    assert replaced.pid != frozen.pid
    assert len(runtime.events("start")) == 2


async def test_an_engine_that_says_nothing_for_long_but_is_well_stays(client: RawClient, runtime: FakeRuntime) -> None:
    """It reads a long prompt; its other thread tells its health all the time."""
    runtime.script("tail", hold_after=0, computes=True)
    client.send(did_open("x = \n"), inline(1, 0, 4))
    await until(lambda: runtime.events("request"), "the request")
    await asyncio.sleep(3 * QUIET_S)
    runtime.release()
    assert len(await client.items(1)) == 1
    assert len(runtime.events("start")) == 1


async def test_an_engine_that_does_not_tell_its_health_for_seconds_stays(
    client: RawClient, runtime: FakeRuntime
) -> None:
    """A busy machine: the front end asks in vain once, and again, and has its suggestion when the engine is back."""
    address = runtime.address()
    assert address is not None
    runtime.script("tail", hold_after=0, mute_pid=address.pid)
    client.send(did_open("x = \n"), inline(1, 0, 4))
    while (await client.why())["engine"]["detail"] != SILENT:  # noqa: ASYNC110 - another process tells
        await asyncio.sleep(0.05)
    runtime.release()
    runtime.script("tail")
    await client.until_engine("ready")
    client.send(did_change(2, "y", (0, 0), (0, 1)), inline(2, 0, 4))
    assert len(await client.items(2)) == 1
    assert len(runtime.events("start")) == 1


class StubClient:
    """An engine's client that only notes whether it was asked to look for a stuck engine."""

    spec = None

    def __init__(self) -> None:
        self.num_looks = 0
        self.going_on = asyncio.Event()
        self.going_on.set()

    async def ensure(self) -> Health:
        return Health(status="ready")

    async def attach(self) -> Health:
        await self.going_on.wait()
        return Health(status="ready")

    async def wait_ready(self) -> Health:
        return Health(status="ready")

    async def replace_if_stuck(self) -> bool:
        self.num_looks += 1
        return False

    async def close(self) -> None:
        return


async def woken_keeper(*clients: StubClient) -> EngineSupervisor:
    made = iter(clients)
    keeper = EngineSupervisor(lambda _on_health, _model: cast(EngineClient, next(made)))
    keeper.wake()
    await until(lambda: keeper.health.status == "ready", "the engine")
    return keeper


async def test_a_stuck_engine_is_looked_for_however_many_deadlines_come_at_once() -> None:
    client = StubClient()
    keeper = await woken_keeper(client)
    for _ in range(MAX_UNANSWERED + 1):
        keeper.note_deadline()
    await until(lambda: client.num_looks == 1, "the look")
    await until(lambda: not keeper.is_waking, "its end")
    keeper.note_deadline()  # the next look is not due before as many deadlines again
    await until(lambda: not keeper.is_waking, "the end of the check")
    assert client.num_looks == 1


async def test_deadlines_of_one_model_are_not_those_of_the_next() -> None:
    clients = [StubClient(), StubClient()]
    keeper = await woken_keeper(*clients)
    clients[0].going_on.clear()
    for _ in range(MAX_UNANSWERED):
        keeper.note_deadline()
    await keeper.select("other")
    await until(lambda: keeper.health.status == "ready" and not keeper.is_waking, "the other model's engine")
    keeper.note_deadline()
    await until(lambda: not keeper.is_waking, "the end of the check")
    assert clients[1].num_looks == 0
    assert keeper.problem == ""
