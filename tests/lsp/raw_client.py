"""A client that writes JSON-RPC frames by hand, so that a test can send several in one piece, or broken ones.

It keeps a ledger of all that it received; `answers_to` shows whether a request was answered exactly once.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

PATIENCE_S = 30.0
URI = "file:///work/project/app.py"


def request(request_id: int, method: str, params: Any = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def notification(method: str, params: Any = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def did_open(text: str, uri: str = URI, language: str = "python") -> dict[str, Any]:
    document = {"uri": uri, "languageId": language, "version": 1, "text": text}
    return notification("textDocument/didOpen", {"textDocument": document})


def did_change(version: int, text: str, start: tuple[int, int], end: tuple[int, int], uri: str = URI) -> dict[str, Any]:
    span = {
        "start": {"line": start[0], "character": start[1]},
        "end": {"line": end[0], "character": end[1]},
    }
    changes = [{"range": span, "text": text}]
    return notification(
        "textDocument/didChange", {"textDocument": {"uri": uri, "version": version}, "contentChanges": changes}
    )


def inline(request_id: int, line: int, character: int, uri: str = URI, kind: int = 2) -> dict[str, Any]:
    params = {
        "textDocument": {"uri": uri},
        "position": {"line": line, "character": character},
        "context": {"triggerKind": kind},
    }
    return request(request_id, "textDocument/inlineCompletion", params)


class RawClient:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.received: list[dict[str, Any]] = []
        self.changed = asyncio.Event()
        self.task = asyncio.create_task(self.read())
        self.next_id = 1000

    async def read(self) -> None:
        while header := await self.reader.readline():
            length = int(header.split(b":")[1])
            while (await self.reader.readline()).strip():
                pass
            message = json.loads(await self.reader.readexactly(length))
            self.received.append(message)
            self.changed.set()
            if "method" in message and "id" in message:  # the server asks us, for progress for example
                self.send({"jsonrpc": "2.0", "id": message["id"], "result": None})

    def send(self, *messages: dict[str, Any] | bytes) -> None:
        """Send messages in one piece; bytes go as they are."""
        piece = b""
        for message in messages:
            body = message if isinstance(message, bytes) else json.dumps(message).encode()
            piece += b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        self.writer.write(piece)

    async def until(self, condition: Any, what: str = "a message") -> Any:
        end = time.monotonic() + PATIENCE_S
        while not (value := condition()):
            self.changed.clear()
            assert time.monotonic() < end, f"{what} did not come; received: {self.received}"
            try:
                await asyncio.wait_for(self.changed.wait(), 0.2)
            except TimeoutError:
                continue
        return value

    def answers_to(self, request_id: int) -> list[dict[str, Any]]:
        return [message for message in self.received if message.get("id") == request_id and "method" not in message]

    def methods(self) -> list[str]:
        return [message["method"] for message in self.received if "method" in message]

    async def answer(self, request_id: int) -> dict[str, Any]:
        await self.until(lambda: self.answers_to(request_id), f"the answer to {request_id}")
        return self.answers_to(request_id)[0]

    async def ask(self, method: str, params: Any = None) -> Any:
        self.next_id += 1
        self.send(request(self.next_id, method, params))
        return await self.answer(self.next_id)

    async def items(self, request_id: int) -> list[dict[str, Any]]:
        result: dict[str, Any] = (await self.answer(request_id))["result"]
        return result["items"]

    async def initialize(self, encoding: str = "utf-16", **more: Any) -> Any:
        capabilities = {"general": {"positionEncodings": [encoding]}, "window": {"workDoneProgress": True}}
        params = {"processId": None, "rootUri": "file:///work/project", "capabilities": capabilities, **more}
        answer = await self.ask("initialize", params)
        self.send(notification("initialized", {}))
        return answer["result"]

    async def why(self) -> dict[str, Any]:
        answer: dict[str, Any] = await self.ask("workspace/executeCommand", {"command": "tabcast.why"})
        return answer["result"]

    async def until_engine(self, status: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while (why := await self.why())["engine"]["status"] != status:
            assert time.monotonic() < end, why
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        await self.ask("shutdown")
        self.send(notification("exit"))
        await self.task
