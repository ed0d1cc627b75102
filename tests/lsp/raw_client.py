"""A client that writes JSON-RPC frames by hand, so that a test can send several in one piece, or broken ones.

It keeps a ledger of all that it received; `answers_to` shows whether a request was answered exactly once.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

# Only what fails takes so long; a busy machine may stand still for a while.
PATIENCE_S = 120.0
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


def inline(request_id: int, line: int, character: int, uri: str = URI, kind: int = 2, **more: Any) -> dict[str, Any]:
    params = {
        "textDocument": {"uri": uri},
        "position": {"line": line, "character": character},
        "context": {"triggerKind": kind},
        **more,
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
        self.settings: Any = None
        self.applies_edits = False
        self.texts: dict[str, str] = {}
        self.num_edits = 0

    async def read(self) -> None:
        while header := await self.reader.readline():
            length = int(header.split(b":")[1])
            while (await self.reader.readline()).strip():
                pass
            message = json.loads(await self.reader.readexactly(length))
            self.received.append(message)
            self.changed.set()
            if "method" in message and "id" in message:  # the server asks us, for progress for example
                result = self.reply(message["method"], message["params"])
                self.send({"jsonrpc": "2.0", "id": message["id"], "result": result})

    def reply(self, method: str, params: Any) -> Any:
        """What an editor answers to the server's own requests."""
        if method == "workspace/configuration":
            return [self.settings for _ in params["items"]]
        if method != "workspace/applyEdit":
            return None
        if self.applies_edits:
            self.apply(params["edit"])
        return {"applied": self.applies_edits}

    def apply(self, edit: dict[str, Any]) -> None:
        """Change `texts`, which count in UTF-16, as an editor does, and tell the server of it."""
        changes = edit.get("changes") or {
            change["textDocument"]["uri"]: change["edits"] for change in edit["documentChanges"]
        }
        for uri, edits in changes.items():
            for one in edits:
                start, end = (one["range"][side] for side in ("start", "end"))
                lines = self.texts[uri].split("\n")
                before = [*lines[: start["line"]], lines[start["line"]][: start["character"]]]
                after = [lines[end["line"]][end["character"] :], *lines[end["line"] + 1 :]]
                self.texts[uri] = "\n".join(before) + one["newText"] + "\n".join(after)
                places = [(place["line"], place["character"]) for place in (start, end)]
                self.num_edits += 1
                self.send(did_change(100 + self.num_edits, one["newText"], places[0], places[1], uri))

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
        capabilities |= more.pop("capabilities", {})
        params = {"processId": None, "rootUri": "file:///work/project", "capabilities": capabilities, **more}
        answer = await self.ask("initialize", params)
        self.send(notification("initialized", {}))
        return answer["result"]

    async def why(self) -> dict[str, Any]:
        answer: dict[str, Any] = await self.ask("workspace/executeCommand", {"command": "tabcast.server.why"})
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
