"""A scripted language server: `fake_server.py MODE` plants what the trace player must find.

honest: answers at once. stale: keeps a suggestion back until a later change was read. misfit: suggests at a place that
the text doesn't have. silent: leaves the first request unanswered. twice: answers the first twice. slow: answers
nothing but cancellations. dies: ends at the first request.
"""

from __future__ import annotations

import json
import sys
from typing import Any

MODE = sys.argv[1]
ENGINE = {"status": "ready", "detail": "", "model": "fake", "device": "none"}


def send(request_id: object, **fields: object) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": request_id, **fields}).encode()
    sys.stdout.buffer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
    sys.stdout.buffer.flush()


def suggestion(position: dict[str, int]) -> dict[str, Any]:
    where = {"line": 99, "character": 0} if MODE == "misfit" else position
    return {"items": [{"insertText": "word", "range": {"start": where, "end": where}}]}


def read() -> dict[str, Any] | None:
    length = 0
    while line := sys.stdin.buffer.readline().strip():
        length = int(line.split(b":")[1])
    return json.loads(sys.stdin.buffer.read(length)) if length else None


def complete(message: dict[str, Any], held: dict[int, dict[str, Any]], num_before: int) -> None:
    request_id, answer = message["id"], suggestion(message["params"]["position"])
    if MODE == "dies":
        sys.exit("planted")
    if MODE in ("slow", "stale") or (MODE == "silent" and num_before == 0):
        held[request_id] = answer
        return
    for _ in range(2 if MODE == "twice" and num_before == 0 else 1):
        send(request_id, result=answer)


def main() -> None:
    held: dict[int, dict[str, Any]] = {}
    num_completions = 0
    while message := read():
        method = message.get("method")
        if method == "exit":
            return
        if method == "textDocument/inlineCompletion":
            complete(message, held, num_completions)
            num_completions += 1
        elif method == "$/cancelRequest" and MODE == "slow":
            held.pop(message["params"]["id"])
            send(message["params"]["id"], error={"code": -32800, "message": "cancelled"})
        elif method == "workspace/executeCommand":
            send(message["id"], result={"engine": ENGINE})
        elif "id" in message:
            send(message["id"], result=None)
            for request_id in list(held) if MODE == "stale" else ():
                send(request_id, result=held.pop(request_id))


main()
