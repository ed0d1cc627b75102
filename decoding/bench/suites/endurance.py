"""Runs `tabcast bench endurance`: sends thousands of requests to one engine and watches its memory.

Three clients type into ten documents each, as editors do: a few characters and a request, now and then a jump, an undo,
several answers, sampling, a prefetch; many streams are closed before their end. The texts are this package's own
sources. The engine is a process of its own, and its memory is what the system says.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from decoding.bench.harness.live_server import memory_mb
from decoding.bench.harness.own_engine import own_engine
from decoding.errors import TabcastError
from decoding.protocol import Address, CompletionOptions, CompletionRequest, ContextFile

log = logging.getLogger(__name__)

NUM_DOCUMENTS = 30
NUM_CLIENTS = 3
MIN_LINES = 60
LOOKS = (200, 1_000, 2_500, 5_000, 10_000)
SHARE_JUMPS, SHARE_UNDONE = 0.08, 0.1
SHARE_CLOSED, SHARE_SEVERAL, SHARE_SAMPLED, SHARE_IDLE, SHARE_CONTEXT = 0.3, 0.1, 0.1, 0.1, 0.2
POLL_S = 0.05


@dataclass(slots=True)
class _Document:
    """A text with a gap that is being typed in: from the cursor to `hole_end`."""

    name: str
    text: str
    rng: random.Random
    cursor: int = 0
    hole_end: int = 0
    max_tokens: int = 16
    context: tuple[ContextFile, ...] = ()

    def type_on(self) -> CompletionRequest:
        """Type the next keys and return the request that follows them."""
        rng = self.rng
        if self.cursor >= self.hole_end or rng.random() < SHARE_JUMPS:
            self.cursor = rng.randrange(1, len(self.text))
            self.hole_end = self.cursor + rng.randrange(200)
            self.max_tokens = rng.choice((8, 16, 24))  # this also changes the room for the prompt, and how it is cut
            is_with_context = rng.random() < SHARE_CONTEXT
            self.context = (ContextFile(path="other.py", text=self.text[:600]),) if is_with_context else ()
        elif rng.random() < SHARE_UNDONE:
            self.cursor = max(1, self.cursor - rng.randrange(1, 12))
        else:
            self.cursor += rng.randrange(1, 5)
        is_sampled = rng.random() < SHARE_SAMPLED
        return CompletionRequest(
            prompt=self.text[: self.cursor],
            suffix=self.text[self.hole_end :],
            max_tokens=self.max_tokens,
            temperature=0.8 if is_sampled else 0.0,
            seed=rng.randrange(1000) if is_sampled else None,
            n=3 if rng.random() < SHARE_SEVERAL else 1,
            stream=True,
            tabcast=CompletionOptions(
                path=self.name,
                language="python",
                session=self.name,
                context=self.context,
                confidence=True,
                draft_texts=(self.text[self.cursor : self.cursor + 60],) if rng.random() < SHARE_CONTEXT else (),
                priority="idle" if rng.random() < SHARE_IDLE else "normal",
            ),
        )


@dataclass(slots=True)
class _Progress:
    """Counts requests and how they ended, and records the engine's memory at some of them."""

    pid: int
    num_requests: int
    on_request: Callable[[], None]
    began: float = field(default_factory=time.monotonic)
    rows: list[dict[str, object]] = field(default_factory=list)
    num_asked: int = 0
    num_closed: int = 0
    num_failed: int = 0

    def is_over(self) -> bool:
        """Return whether all requests were sent."""
        return self.num_asked >= self.num_requests

    def note(self) -> None:
        """Note that a request has ended, and record the memory if it is due."""
        self.num_asked += 1
        self.on_request()
        if self.num_asked in LOOKS or self.num_asked == self.num_requests:
            row = {
                "method": f"after {self.num_asked}",
                "count": self.num_asked,
                "memory_mb": memory_mb(self.pid),
                "open_files": _num_open_files(self.pid),
                "closed_early": self.num_closed,
                "failed": self.num_failed,
                "seconds": round(time.monotonic() - self.began, 1),
            }
            log.info("%s", row)  # if a long run is killed, these lines are left
            self.rows.append(row)


def run(arguments: Sequence[str], num_requests: int, on_request: Callable[[], None]) -> Iterator[dict[str, object]]:
    """Yield a row for each look at the engine's memory.

    Args:
        arguments: of `decoding serve`, beside the runtime directory.
        num_requests: in all.
        on_request: called after each.

    Raises:
        TabcastError: the engine doesn't start, or has ended.
    """
    with own_engine(arguments) as address:
        progress = _Progress(address.pid, num_requests, on_request)
        try:
            asyncio.run(_drive(address, progress))
        finally:
            yield from progress.rows


async def _drive(address: Address, progress: _Progress) -> None:
    documents = [_Document(name, text, random.Random(name)) for name, text in texts()]  # noqa: S311 - no secrets
    headers = {"Authorization": f"Bearer {address.token}"}
    # No timeout: a prefetch waits for all other work, on a busy machine for long.
    patience = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(address.url, headers=headers, trust_env=False, timeout=patience) as http:
        clients = [_client(http, documents[i::NUM_CLIENTS], progress, i) for i in range(NUM_CLIENTS)]
        await asyncio.gather(*clients)


async def _client(
    http: aiohttp.ClientSession, documents: Sequence[_Document], progress: _Progress, number: int
) -> None:
    rng = random.Random(number)  # noqa: S311 - no secrets
    document = documents[0]
    while not progress.is_over():
        if rng.random() < 0.05:
            document = rng.choice(documents)
        await _ask(http, document.type_on().to_json(), progress, is_closed_early=rng.random() < SHARE_CLOSED)
        progress.note()


async def _ask(
    http: aiohttp.ClientSession, body: dict[str, Any], progress: _Progress, *, is_closed_early: bool
) -> None:
    try:
        async with http.post("/v1/completions", json=body) as response:
            progress.num_failed += response.status != 200
            async for line in response.content:
                if is_closed_early and line.startswith(b"data: {"):
                    progress.num_closed += 1
                    response.close()
                    return
                if b'"engine_error"' in line:
                    progress.num_failed += 1
    except aiohttp.ClientConnectionError as error:
        raise TabcastError(f"the engine has ended after {progress.num_asked} requests: {error}") from None


def texts() -> list[tuple[str, str]]:
    """Return names and contents of this package's own sources, to be typed."""
    folder = Path(__file__).parents[2]
    paths = [path for path in sorted(folder.rglob("*.py")) if "training" not in path.parts]
    found = [(path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8")) for path in paths]
    return [(name, text) for name, text in found if text.count("\n") >= MIN_LINES][:NUM_DOCUMENTS]


def _num_open_files(pid: int) -> int | None:
    with suppress(OSError):
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return None
