"""Runs `tabcast bench load`: many people at work on one team's engine, each playing a recorded editing session.

Each begins at another place of the recording and types at its pace. A request is served if its text begins to come
before its user goes on; then he closes the stream, as an editor does. The engine is a process of its own with a key for
each user, or one that runs elsewhere, whose keys stand in a file.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from decoding.bench.harness.live_server import READY_TIMEOUT_S, runtime_directory
from decoding.bench.harness.recorded_session import Edited, Event, Opened, Requested
from decoding.bench.harness.text_units import from_units, to_units
from decoding.bench.metrics.accuracy import percentile
from decoding.errors import TabcastError
from decoding.protocol import CompletionOptions, CompletionRequest
from decoding.storage.team_keys import new_key

MAX_PREFIX, MAX_SUFFIX = 12_000, 4_000  # chosen: characters, about what an editor's front end sends to such an engine
MAX_TOKENS: Final = 32
GAP_MS: Final = 1000.0  # from the end of the recording to its beginning
POLL_S: Final = 0.2
LISTENING: Final = re.compile(r"listening on (http://\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request of the recording: when it comes, its text, and when its user goes on."""

    at_ms: float
    until_ms: float
    body: dict[str, Any]


@dataclass(slots=True)
class User:
    """What one user got: the milliseconds to the first text of those requests that had one in time."""

    name: str
    first_ms: list[float] = field(default_factory=list)
    num_asked: int = 0
    num_refused: int = 0

    def row(self) -> dict[str, object]:
        """Return the figures of this user."""
        served = round(100 * len(self.first_ms) / self.num_asked, 1) if self.num_asked else None
        times = {f"p{share}_ms": round(percentile(self.first_ms, share / 100), 1) for share in (50, 95)}
        return {
            "method": self.name,
            "count": self.num_asked,
            "served_percent": served,
            **(times if self.first_ms else dict.fromkeys(times)),
            "refused": self.num_refused,
        }


def requests_of(events: Sequence[Event]) -> list[Asked]:
    """Return the requests of a recording; each is wanted until its document changes or another is asked for."""
    texts: dict[int, str] = {}
    paths: dict[int, str] = {}
    found: list[tuple[float, dict[str, Any]]] = []
    ends: list[float] = []
    for event in events:
        if isinstance(event, Opened):
            texts[event.document], paths[event.document] = to_units(event.text), event.path
        elif isinstance(event, Edited):
            texts[event.document] = event.apply(texts[event.document])
            ends.append(event.at_ms)
        elif isinstance(event, Requested):
            ends.append(event.at_ms)
            found.append((event.at_ms, _body(texts[event.document], event.offset, paths[event.document])))
    asked, later = [], iter(ends)
    end = next(later, None)
    for at_ms, body in found:
        while end is not None and end <= at_ms:
            end = next(later, None)
        asked.append(Asked(at_ms=at_ms, until_ms=at_ms + 5000 if end is None else min(end, at_ms + 5000), body=body))
    return asked


def _body(units: str, offset: int, path: str) -> dict[str, Any]:
    return CompletionRequest(
        prompt=from_units(units[max(0, offset - MAX_PREFIX) : offset]),
        suffix=from_units(units[offset : offset + MAX_SUFFIX]),
        max_tokens=MAX_TOKENS,
        stream=True,
        tabcast=CompletionOptions(path=path, session=path, line_mode="line"),
    ).to_json()


@contextmanager
def own_engine(arguments: Sequence[str], num_users: int) -> Iterator[tuple[str, list[str]]]:
    """Run a team's engine on loopback; yield its URL and a key for each user. Raises `TabcastError`."""
    with runtime_directory() as runtime:
        path = runtime / "keys.json"
        keys = [new_key(path, f"user{number}") for number in range(num_users)]
        command = [sys.executable, "-P", "-m", "decoding", "team-serve", "--port", "0", "--keys", str(path)]
        command += ["--requests-per-minute", "0", "--tokens-per-minute", "0", *arguments]
        log = runtime / "log"
        with log.open("wb") as file:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        try:
            yield _url_when_ready(child, log), keys
        finally:
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(20)
            child.kill()


def _url_when_ready(child: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + READY_TIMEOUT_S
    while child.poll() is None and time.monotonic() < end:
        text = log.read_text(encoding="utf-8", errors="replace")
        if (found := LISTENING.search(text)) is not None and " ready in " in text:
            return found[1]
        time.sleep(POLL_S)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    raise TabcastError(f"no engine: {lines[-1] if lines else 'it said nothing'}")


def keys_of(path: Path) -> list[str]:
    """Return the keys of a file, one a line. Raises `TabcastError`."""
    try:
        keys = path.read_text(encoding="utf-8").split()
    except (OSError, ValueError) as error:
        raise TabcastError(f"the keys {path} can't be read ({error})") from None
    if not keys:
        raise TabcastError(f"{path} holds no keys: one a line is expected")
    return keys


def run(
    url: str, keys: Sequence[str], ca_file: Path | None, asked: Sequence[Asked], num_users: int, speed: float,
    on_request: Callable[[], None],
) -> Iterator[dict[str, object]]:  # fmt: skip
    """Let so many users play the requests, and yield a row for each and one for all.

    Users beyond the number of keys share them. Raises `TabcastError` if the engine can't be reached.
    """
    users = [User(f"user{number}") for number in range(num_users)]
    try:
        asyncio.run(_play(url, keys, ca_file, asked, users, speed, on_request))
    finally:
        yield from (user.row() for user in users)
        everybody = [ms for user in users for ms in user.first_ms]
        num_asked, num_refused = sum(user.num_asked for user in users), sum(user.num_refused for user in users)
        yield User("all", everybody, num_asked, num_refused).row()


async def _play(
    url: str, keys: Sequence[str], ca_file: Path | None, asked: Sequence[Asked], users: Sequence[User], speed: float,
    on_request: Callable[[], None],
) -> None:  # fmt: skip
    tls: ssl.SSLContext | bool = True
    if url.startswith("https:") and ca_file is not None:
        tls = ssl.create_default_context(cafile=os.fspath(ca_file))
    connector = aiohttp.TCPConnector(limit=0, ssl=tls)
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as http:
        await asyncio.gather(
            *(
                _work(
                    http, url.rstrip("/").removesuffix("/v1"), keys[number % len(keys)], moved, user, speed, on_request
                )
                for number, user in enumerate(users)
                for moved in [_from_place(asked, number * len(asked) // len(users))]
            )
        )


def _from_place(asked: Sequence[Asked], first: int) -> list[Asked]:
    """Return the requests from one of them on, and then those before it, with times that go on."""
    total = asked[-1].at_ms - asked[0].at_ms + GAP_MS
    turned = [(found, 0.0) for found in asked[first:]] + [(found, total) for found in asked[:first]]
    return [Asked(at_ms=found.at_ms + more, until_ms=found.until_ms + more, body=found.body) for found, more in turned]


async def _work(
    http: aiohttp.ClientSession, url: str, key: str, asked: Sequence[Asked], user: User, speed: float,
    on_request: Callable[[], None],
) -> None:  # fmt: skip
    began, first_ms = time.monotonic(), asked[0].at_ms
    headers = {"Authorization": f"Bearer {key}"}
    for found in asked:
        wait_s = (found.at_ms - first_ms) / 1e3 / speed - (time.monotonic() - began)
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        user.num_asked += 1
        try:
            async with asyncio.timeout((found.until_ms - found.at_ms) / 1e3 / speed):
                await _ask(http, f"{url}/v1/completions", headers, found.body, user)
        except TimeoutError:
            pass  # the user went on; leaving the answer has closed its connection
        except aiohttp.ClientConnectorError as error:
            raise TabcastError(f"nothing answers at {url} ({error})") from None
        except aiohttp.ClientError:
            user.num_refused += 1
        on_request()


def _is_answer(line: bytes) -> bool:
    """Return whether an event brings text, or says that the model has nothing to write."""
    if not line.startswith(b"data: {"):
        return False
    choices = json.loads(line.removeprefix(b"data: ")).get("choices") or [{}]
    return bool(choices[0].get("text")) or choices[0].get("finish_reason") == "stop"


async def _ask(
    http: aiohttp.ClientSession, url: str, headers: dict[str, str], body: dict[str, Any], user: User
) -> None:
    began = time.perf_counter()
    is_first = True
    async with http.post(url, json=body, headers=headers) as answer:
        if answer.status == 401:
            raise TabcastError("the engine refuses the key")
        user.num_refused += answer.status != 200
        async for line in answer.content:
            if is_first and answer.status == 200 and _is_answer(line):
                is_first = False
                user.first_ms.append((time.perf_counter() - began) * 1e3)
