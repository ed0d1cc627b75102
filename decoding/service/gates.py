"""Says who is let in to an engine, and what for: the seam between its HTTP routes and its users.

The gate of an engine on loopback stands here, too: it lets in who knows the token.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from aiohttp import web

from decoding.protocol import MAX_REQUEST_BYTES, Address, Health, prove
from decoding.service.jobs import ChoiceDone, Delta, Event, Job, JobDone

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

COMPLETIONS: Final = "completions"
METRICS: Final = "metrics"
STOP: Final = "stop"
# What a right opens; every other route takes the right to ask for completions.
RIGHT_OF: Final = {"/metrics": METRICS, "/v1/tabcast/stop": STOP}


class Refused(Exception):  # noqa: N818 - it is an answer
    """A request isn't let in; the text is for the client, and holds nothing that it sent."""

    def __init__(self, status: int, code: str, message: str, retry_s: int = 0) -> None:
        super().__init__(message)
        self.status, self.code = status, code
        self.headers = {"Retry-After": str(retry_s)} if retry_s else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How large a request may be, and in what time it must have come; 0 is any time."""

    max_bytes: int = MAX_REQUEST_BYTES
    body_s: float = 0.0


@dataclass(slots=True, eq=False)
class Visit:
    """One request of somebody who was let in, from its head to its answer's end.

    `owner` keeps caches apart, `name` is for people, and `on_work` gets the number of tokens that were computed.
    """

    owner: str = ""
    name: str = ""
    began: float = field(default_factory=time.perf_counter)
    job: Job | None = None
    first_s: float | None = None
    num_read: int = 0
    num_written: int = 0
    on_work: Callable[[int], None] | None = None
    refusal: JobDone | None = None
    on_end: Callable[[], None] | None = None
    _reason: str = "cancelled"

    def charge(self, num_read: int, num_written: int) -> None:
        """Note tokens that were computed for it; called from the compute thread."""
        self.num_read += num_read
        self.num_written += num_written
        if self.on_work is not None:
            self.on_work(num_read + num_written)

    def note(self, event: Event) -> None:
        """Note what goes out to the client."""
        if isinstance(event, Delta) and self.first_s is None:
            self.first_s = time.perf_counter() - self.began
        elif isinstance(event, ChoiceDone):
            self._reason = event.stats.reason
        elif isinstance(event, JobDone):
            is_early = self._reason in ("superseded", "dropped")
            self._reason = "failed" if event.error else self._reason if is_early else "finished"

    def end_early(self, refusal: JobDone) -> None:
        """End the work; what was computed and not sent yet is dropped."""
        self.refusal = refusal
        if self.on_end is not None:
            self.on_end()

    def outcome(self, status: int) -> str:
        """Return in a word how the request ended, given its answer's status."""
        if self.refusal is not None:
            return "revoked"
        if self.job is None:
            return "ok" if status < 400 else "invalid" if status < 500 else "failed"
        return "invalid" if status == 400 else self._reason


class Gate(Protocol):
    """Decides who is let in. One gate serves many requests at once."""

    def admit(self, request: web.Request) -> Visit:
        """Let a request in, or raise `Refused`. Each visit must `leave`."""
        ...

    def leave(self, visit: Visit, request: web.Request, status: int) -> None:
        """Note the end of a visit, and the status of its answer; 0 where there was none."""
        ...

    def health(self, request: web.Request, health: Health) -> dict[str, Any]:
        """Return what a request for the engine's health is told. Raises `Refused`."""
        ...

    def metrics(self) -> list[str]:
        """Return lines for Prometheus about its users."""
        ...


class TokenGate:
    """The gate of an engine on loopback: one user, whose programs know the token."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def admit(self, request: web.Request) -> Visit:
        """Let in who knows the token; refuse foreign names for this host, and browser pages."""
        self._check_host(request)
        if not hmac.compare_digest(bearer(request), self._address.token.encode()):
            told = "the token is missing or wrong (`tabcast engine env` prints it)"
            raise Refused(401, "unauthorized", told)
        return Visit()

    def leave(self, visit: Visit, request: web.Request, status: int) -> None:
        """Note nothing."""

    def health(self, request: web.Request, health: Health) -> dict[str, Any]:
        """Tell anybody, and prove that this is the engine."""
        self._check_host(request)
        nonce = request.query.get("nonce", "")[:128]
        proof = prove(self._address.token, nonce, self._address.port) if nonce else ""
        return {**health.to_json(), "pid": self._address.pid, "proof": proof}

    def metrics(self) -> list[str]:
        """Return nothing: there is one user."""
        return []

    def _check_host(self, request: web.Request) -> None:
        port = self._address.port
        if request.headers.get("Host") not in (f"127.0.0.1:{port}", f"localhost:{port}"):
            raise Refused(403, "forbidden", "requests from web pages and for other hosts are refused")
        check_no_page(request)


def check_no_page(request: web.Request) -> None:
    """Raise `Refused` for a browser's page: none of them may ask for anything."""
    if "Origin" in request.headers:
        raise Refused(403, "forbidden", "requests from web pages and for other hosts are refused")


def bearer(request: web.Request) -> bytes:
    """Return the token or key that a request brings."""
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    return given.encode("utf-8", "surrogateescape")
