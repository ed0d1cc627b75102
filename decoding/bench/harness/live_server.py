"""Runs the whole product for a measurement: a language server as a child, and the engine that it starts.

Both have a runtime directory of their own, so that they meet no engine of the user's; it is removed and the engine is
stopped at the end.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import signal
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decoding.bench.harness.lsp_client import LspClient
from decoding.bench.harness.termination import interrupted_by_sigterm
from decoding.errors import TabcastError
from decoding.protocol import Address

WHY = {"command": "tabcast.server.why", "arguments": []}
READY_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.01
# The line of the language server's log for each request, at level INFO.
LOGGED = re.compile(r"request (\d+): (.*) in ([\d.]+) ms, engine ([\d.]+) ms(?:, pause ([\d.]+) ms)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Timing:
    """The milliseconds that the language server worked on a request, and how the request ended.

    Of that it waited `engine_ms` for the engine, and `pause_ms` for debouncing.
    """

    ms: float
    engine_ms: float
    pause_ms: float = 0.0
    reason: str = ""

    @property
    def own_ms(self) -> float:
        """Return the front end's own time, waiting for the processor included."""
        return self.ms - self.engine_ms - self.pause_ms


@contextmanager
def runtime_directory() -> Iterator[Path]:
    """Yield a directory for `TABCAST_RUNTIME_DIR`; engines that were started there are stopped at the end."""
    with (
        interrupted_by_sigterm(),
        tempfile.TemporaryDirectory(prefix="tabcast-bench-", ignore_cleanup_errors=True) as name,
    ):
        try:
            yield Path(name)
        finally:
            stop_engines(Path(name))


@asynccontextmanager
async def language_server(command: Sequence[str], runtime: Path) -> AsyncIterator[LspClient]:
    """Start a language server with this runtime directory, not yet initialised; it ends with the block."""
    environment = {**os.environ, "TABCAST_RUNTIME_DIR": str(runtime), "TABCAST_LOG": "info"}
    # What an earlier run left on disk would make this one quicker.
    environment["TABCAST_KEPT_CACHES"] = str(runtime / "keys-and-values")
    server = await LspClient.start(command, environment, runtime)
    try:
        yield server
    finally:
        await server.close()


async def wait_for_engine(server: LspClient) -> dict[str, Any]:
    """Return what the language server says of its engine once that is ready. Raises `TabcastError` if it fails."""
    end = time.monotonic() + READY_TIMEOUT_S
    while True:
        engine = await ask_why(server)
        if engine["status"] == "ready":
            return engine
        if engine["status"] == "failed" or time.monotonic() > end:
            raise TabcastError(f"the language server has no engine: {engine['detail'] or engine['status']}")
        await asyncio.sleep(POLL_S)


async def ask_why(server: LspClient) -> dict[str, Any]:
    """Return the state of the engine as the language server sees it."""
    answer = await server.ask("workspace/executeCommand", WHY)
    engine = (answer.result or {}).get("engine")
    if not isinstance(engine, dict):
        raise TabcastError("the language server doesn't know the command tabcast.server.why")
    return engine


def find_engine(runtime: Path) -> Address | None:
    """Return the address of the engine that runs below this directory, or None."""
    found = (Address.read(file.parent) for file in runtime.glob("*/engine.json"))
    return next((address for address in found if address is not None), None)


def engine_counters(address: Address) -> dict[str, float]:
    """Return the figures of the engine's `/metrics`; none if it has ended."""
    try:
        return _parse_counters(_call(address, "GET", "/metrics"))
    except (OSError, http.client.HTTPException):
        return {}


class LiveCounters:
    """Reads the engine's figures over one connection that is kept, so that asking holds nobody up."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: Address) -> None:
        self._reader, self._writer = reader, writer
        head = f"GET /metrics HTTP/1.1\r\nHost: {address.host}:{address.port}\r\n"
        self._request = f"{head}Authorization: Bearer {address.token}\r\n\r\n".encode()
        self._asked: deque[asyncio.Future[dict[str, float]]] = deque()
        self._is_lost = False
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, address: Address) -> LiveCounters:
        """Connect to an engine. Raises `OSError` if it has ended."""
        return cls(*await asyncio.open_connection(address.host, address.port), address)

    def ask(self) -> asyncio.Future[dict[str, float]]:
        """Return a future of the figures at the time when the engine reads this; none if the connection is lost."""
        found: asyncio.Future[dict[str, float]] = asyncio.get_running_loop().create_future()
        if self._is_lost:
            found.set_result({})
        else:
            self._asked.append(found)
            self._writer.write(self._request)
        return found

    def close(self) -> None:
        """Close the connection to the engine."""
        self._reading.cancel()
        self._writer.close()

    async def _read(self) -> None:
        try:
            while True:
                head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = next(line for line in head.splitlines() if line.startswith("content-length:")).partition(":")[
                    2
                ]
                counters = _parse_counters((await self._reader.readexactly(int(length))).decode())
                self._asked.popleft().set_result(counters)
        except (OSError, EOFError, ValueError, StopIteration):
            self._is_lost = True
            while self._asked:
                self._asked.popleft().set_result({})


def request_timings(log: str) -> dict[int, Timing]:
    """Read each request's timing, by its number, from the language server's log."""
    return {
        int(number): Timing(float(ms), float(engine_ms), float(pause_ms or 0), reason)
        for number, reason, ms, engine_ms, pause_ms in LOGGED.findall(log)
    }


def memory_mb(pid: int) -> float | None:
    """Return the resident memory of a process; None where `/proc` doesn't tell."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        return round(int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) / 1024, 1)
    return None


def processor_s(pid: int) -> float | None:
    """Return the seconds of processor time that a process has used; None where `/proc` doesn't tell."""
    with suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return None


def stop_engines(runtime: Path) -> None:
    """End every engine below this directory, and wait for its end."""
    for file in runtime.glob("*/engine.json"):
        address = Address.read(file.parent)
        if address is not None:
            _stop(address)


def _stop(address: Address) -> None:
    with suppress(OSError, http.client.HTTPException):
        _call(address, "POST", "/v1/tabcast/stop")
    end = time.monotonic() + STOP_TIMEOUT_S
    while _is_alive(address.pid):
        if time.monotonic() > end:
            with suppress(ProcessLookupError):
                os.kill(address.pid, signal.SIGTERM)
            return
        time.sleep(POLL_S)


def _call(address: Address, method: str, path: str) -> str:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=STOP_TIMEOUT_S)
    try:
        connection.request(method, path, headers={"Authorization": f"Bearer {address.token}"})
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def _parse_counters(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in text.splitlines())}


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with suppress(OSError):  # a zombie, state Z, is not alive
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    return True
