"""Goes to the same places as `tabcast bench jump`, and asks llama.cpp's server there as its plugins for editors do.

Where the cursor rests its `/infill` reads the text around it, with the prompt's cache; each key aborts the request
before and sends the next. The text around the cursor is as long as our front end's. A suggestion counts when its first
line is complete.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from decoding.bench.harness import llama_program
from decoding.bench.harness.jump_places import JumpFile
from decoding.bench.harness.time_limit import TimeLimit
from decoding.bench.suites import jump
from decoding.bench.suites.jump import Jump, Pace

# The front end's defaults.
PREFIX_CHARS, SUFFIX_CHARS, LINE_TOKENS = 6000, 2000, 48
CONTEXT_TOKENS = 4096
# What the authors of the plugins start it with: shifted pieces of the cache may be used again, and batches are large.
FLAGS = ("-np", "1", "-b", "1024", "-ub", "1024", "--cache-reuse", "256")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that runs."""

    address: str
    key: str


def run(
    program: Path,
    model: Path,
    threads: int,
    sizes: Sequence[tuple[str, Sequence[JumpFile]]],
    paces: Sequence[Pace],
    on_place: Callable[[], None] = lambda: None,
    limit: TimeLimit | None = None,
) -> Iterator[dict[str, object]]:
    """Yield a row for each size and each pace; each has a server of its own."""
    options = ["-m", str(model), "-c", str(CONTEXT_TOKENS), "-t", str(threads), "-tb", str(threads), *FLAGS]
    limit = limit or TimeLimit(None, 1)
    for name, files in sizes:
        for pace in paces:
            jumps: list[Jump] = []
            limit.begin_part()
            try:
                with llama_program.running(program, options) as (address, key, built_for):
                    server = Server(address=address, key=key)
                    asyncio.run(_run(server, files, pace, jumps, on_place, limit))
            finally:
                if jumps:
                    row = jump.summarise(f"llama.cpp, {name}, {pace.think_s:g} s", jumps)
                    row["settings"] = f"/infill, {' '.join(FLAGS)}, the cursor's place is read; build: {built_for}"
                    yield row


async def _run(
    server: Server,
    files: Sequence[JumpFile],
    pace: Pace,
    jumps: list[Jump],
    on_place: Callable[[], None],
    limit: TimeLimit,
) -> None:
    for file in files:
        lines = list(file.lines)
        for number, (line, code) in enumerate(file.holes):
            found = await _jump(server, lines, line, code, pace)
            jumps.append(replace(found, is_first=number == 0))
            lines[line] += code
            on_place()
            if limit.is_over:
                return
            await asyncio.sleep(pace.stay_s)


async def _jump(server: Server, lines: Sequence[str], line: int, code: str, pace: Pace) -> Jump:
    resting = asyncio.create_task(_read(server, lines, line, ""))
    await asyncio.sleep(pace.think_s)
    first_key_s = time.perf_counter()
    token_s = shown_s = None
    for key in range(1, jump.NUM_KEYS + 1):
        limit_s = jump.KEY_GAP_S if key < jump.NUM_KEYS else jump.PATIENCE_S
        key_s = time.perf_counter()
        resting.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                text = ""
                async with aclosing(_stream(server, _body(lines, line, code[:key], LINE_TOKENS))) as pieces:
                    async for piece in pieces:
                        token_s = token_s or time.perf_counter()
                        text += piece
                if text.strip():
                    shown_s = time.perf_counter()
                    break
        await asyncio.sleep(max(0.0, jump.KEY_GAP_S - (time.perf_counter() - key_s)) if key < jump.NUM_KEYS else 0.0)
    first_ms, shown_ms = (None if at is None else (at - first_key_s) * 1e3 for at in (token_s, shown_s))
    return Jump(is_first=False, first_token_ms=first_ms, shown_ms=shown_ms, num_read=0, num_idle=0)


async def _read(server: Server, lines: Sequence[str], line: int, typed: str) -> None:
    """Have the server read a place and write nothing; closing the connection ends that."""
    async with aclosing(_stream(server, _body(lines, line, typed, 0))) as pieces:
        async for _ in pieces:
            pass


def _body(lines: Sequence[str], line: int, typed: str, num_tokens: int) -> dict[str, object]:
    first, room = line, PREFIX_CHARS
    while first > 0 and len(lines[first - 1]) < room:
        first -= 1
        room -= len(lines[first]) + 1
    below = "\n".join(["", *lines[line + 1 :]])[:SUFFIX_CHARS]
    return {
        "input_prefix": "".join(text + "\n" for text in lines[first:line]),
        "prompt": lines[line] + typed,
        "input_suffix": below[: below.rfind("\n") + 1] or below,
        "n_predict": num_tokens,
        "samplers": ["top_k"],
        "top_k": 1,
        "temperature": 0,
        "stop": ["\n"],
        "stream": True,
        "cache_prompt": True,
    }


async def _stream(server: Server, body: dict[str, object]) -> AsyncGenerator[str, None]:
    """Yield the pieces of an answer as they come. Closing it ends the server's work."""
    host, _, port = server.address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=2**20)
    try:
        text = json.dumps(body).encode()
        head = f"POST /infill HTTP/1.1\r\nHost: {server.address}\r\nAuthorization: Bearer {server.key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + text)
        async for line in reader:  # of a chunked body, in which each event stands on a line
            if line.startswith(b"data: {"):
                event = json.loads(line[6:])
                if piece := event.get("content"):
                    yield piece
                if event.get("stop"):
                    return
    finally:
        writer.close()
