"""Implements a small LSP client over standard input and output, which records the order and time of all answers.

`decoding` may not know the front end, so this knows no more of it than the protocol, and that it is a command.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from decoding.errors import TabcastError

CANCELLED = -32800
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response with the time when it was read. `order` counts responses; `error` is the error's code, 0 for none."""

    at_s: float
    order: int
    result: Any = None
    error: int = 0


class LspClient:
    """A language server that runs as a child. `answers` has every response by its request's id, also unasked ones."""

    def __init__(self, process: asyncio.subprocess.Process, log: IO[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.pid = process.pid
        self.answers: dict[Any, list[Answer]] = {}
        self._process = process
        self._log = log
        self._stdin, self._stdout = process.stdin, process.stdout
        self._num_requests = 0
        self._num_answers = 0
        self._waiting: dict[Any, asyncio.Future[Answer]] = {}
        self._arrived = asyncio.Event()
        self._reading = asyncio.create_task(self._read())
        self._reading.add_done_callback(lambda _: self._arrived.set())

    @classmethod
    async def start(cls, command: Sequence[str], environment: Mapping[str, str], directory: Path) -> LspClient:
        """Start the command in this directory, where its standard error goes to a file, too."""
        log = (directory / "server.log").open("w+b")
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env=dict(environment),
            cwd=directory,
            start_new_session=True,
        )
        return cls(process, log)

    async def initialize(self, folder: Path | None = None, options: Mapping[str, object] | None = None) -> Answer:
        """Initialise as an editor that supports inline completion and counts in UTF-16; return the answer.

        `options` are settings of the server.
        """
        capabilities = {
            "general": {"positionEncodings": ["utf-16"]},
            "textDocument": {"inlineCompletion": {}, "synchronization": {}},
        }
        params = {
            "processId": None,
            "rootUri": folder.as_uri() if folder else None,
            "capabilities": capabilities,
            "initializationOptions": options,
        }
        answer = await self.ask("initialize", params)
        self.notify("initialized", {})
        return answer

    def request(self, method: str, params: object) -> int:
        """Send a request and return its id. Raises `TabcastError` if the server has ended."""
        self._num_requests += 1
        self._send({"id": self._num_requests, "method": method, "params": params})
        return self._num_requests

    async def ask(self, method: str, params: object) -> Answer:
        """Send a request and wait for its answer. Raises `TabcastError` if the server ends."""
        request_id = self.request(method, params)
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = waiting
        return await waiting

    def notify(self, method: str, params: object) -> None:
        """Send a notification. Raises `TabcastError` if the server has ended."""
        self._send({"method": method, "params": params})

    async def settle(self, request_ids: Iterable[int], timeout_s: float) -> None:
        """Wait until these requests are answered, the server ends or the time is up."""
        wanted = set(request_ids)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self._reading.done() and wanted - self.answers.keys():
                    self._arrived.clear()
                    await self._arrived.wait()

    async def close(self) -> None:
        """Shut the server down; one that doesn't end by itself is killed."""
        with suppress(TabcastError, TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self.ask("shutdown", None)
                self.notify("exit", None)
                await self._process.wait()
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await self._reading
        self._stdin.close()
        self._log.close()

    def _send(self, message: dict[str, object]) -> None:
        if self._reading.done():
            raise TabcastError(self._epitaph())
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    async def _read(self) -> None:
        with suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError, IndexError):
            while True:
                head = await self._stdout.readuntil(b"\r\n\r\n")
                lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")]
                self._take(json.loads(await self._stdout.readexactly(int(lengths[0]))))
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(TabcastError(self._epitaph()))

    def _take(self, message: dict[str, Any]) -> None:
        if "method" in message:
            if "id" in message:  # the server's requests (progress, configuration) may be answered with null
                self._send({"id": message["id"], "result": None})
            return
        self._num_answers += 1
        answer = Answer(
            at_s=time.perf_counter(),
            order=self._num_answers,
            result=message.get("result"),
            error=message.get("error", {}).get("code", 0),
        )
        self.answers.setdefault(message.get("id"), []).append(answer)
        self._arrived.set()
        waiting = self._waiting.pop(message.get("id"), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def log(self) -> str:
        """Return what the server has written to standard error."""
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")

    def _epitaph(self) -> str:
        lines = self.log().strip().splitlines()
        return "the language server ended" + (f": {lines[-1]}" if lines else "")
