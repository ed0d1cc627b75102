"""A stand-in for the Hugging Face hub on loopback: one repository, ranges, and damage on demand."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NAME = "somebody/tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class StandIn:
    """What the stand-in serves, and what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
        self.large = {name for name in self.files if name.endswith((".safetensors", ".gguf"))}
        self.cut_at: int | None = None  # of large files, nothing behind this comes through
        self.damaged: set[str] = set()
        self.ranges: list[str] = []
        self.fetched: list[str] = []
        self.tokens: set[str] = set()
        self.url = ""

    def digest(self, name: str) -> str:
        """As the hub names a file: SHA-256 of large ones, git's name of the others."""
        content = self.files[name]
        if name in self.large:
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()

    def describe(self) -> dict[str, object]:
        """What the hub's interface says of the repository."""
        siblings = []
        for name, content in self.files.items():
            sibling: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": self.digest(name)}
            if name in self.large:
                sibling["lfs"] = {"sha256": self.digest(name), "size": len(content), "pointerSize": 130}
            siblings.append(sibling)
        return {"_id": "1", "id": NAME, "sha": COMMIT, "siblings": siblings}


class Handler(BaseHTTPRequestHandler):
    """Answers as the hub does, for the stand-in that `serve` binds to a subclass."""

    protocol_version = "HTTP/1.1"
    hub: StandIn

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *_arguments: object) -> None:
        pass

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        self.hub.tokens.add(self.headers.get("Authorization") or "")
        name = path.removeprefix(f"/{NAME}/resolve/{COMMIT}/").removeprefix(f"/{NAME}/resolve/main/")
        if path.startswith(f"/api/models/{NAME}"):
            self._send(json.dumps(self.hub.describe()).encode(), with_body=with_body)
        elif name in self.hub.large:
            # As the real one sends to its store.
            self._send(b"", {"Location": f"/store/{name}"}, status=302, with_body=with_body)
        elif (name := name.removeprefix("/store/")) in self.hub.files:
            self._send_file(name, with_body=with_body)
        else:
            self._send(b"{}", {"X-Error-Code": "RepoNotFound"}, status=404, with_body=with_body)

    def _send_file(self, name: str, *, with_body: bool) -> None:
        hub, content = self.hub, self.hub.files[name]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hub.digest(name)}"', "Accept-Ranges": "bytes"}
        if name in hub.damaged:
            content = content[:-1] + bytes([content[-1] ^ 1])
        begin = 0
        if with_body:
            hub.fetched.append(name)
            if wanted := self.headers.get("Range"):
                hub.ranges.append(wanted)
                begin = int(wanted.removeprefix("bytes=").split("-")[0])
                headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        cut = None if hub.cut_at is None or name not in hub.large else max(0, hub.cut_at - begin)
        self._send(content[begin:], headers, status=206 if begin else 200, with_body=with_body, cut=cut)

    def _send(
        self,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        status: int = 200,
        with_body: bool,
        cut: int | None = None,
    ) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body[:cut])
            self.close_connection = cut is not None


@contextmanager
def serve(folder: Path) -> Iterator[StandIn]:
    """Serve a model folder as `NAME`."""
    hub = StandIn(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
