"""Runs `tabcast bench startup`: times from the start of the language server to its first answer and suggestion.

Cold means that no engine runs (the files of the models may lie in the system's page cache), warm that another window
has started one. All times are from the start of the language server's process; medians.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from decoding.bench.harness.live_server import language_server, runtime_directory, wait_for_engine
from decoding.bench.harness.text_units import position_of
from decoding.bench.suites.trace import LANGUAGE
from decoding.bench.suites.trace_judge import items_of

REPEATS = 3
TEXT = """def total_{number}(numbers):
    result = 0
    for number in numbers:
        result += num"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start, in milliseconds; `has_text` is true if the request got a suggestion and not an empty list."""

    initialize_ms: float
    engine_ready_ms: float
    first_answer_ms: float
    has_text: bool


def run(
    command: Sequence[str], repeats: int, on_start: Callable[[], None] = lambda: None
) -> Iterator[dict[str, object]]:
    """Yield a row for cold starts and one for warm starts."""
    with ExitStack() as stack:
        colds = []
        for number in range(repeats):
            stack.close()  # ends the engine of the last start
            runtime = stack.enter_context(runtime_directory())
            colds.append(asyncio.run(_start(command, runtime, number)))
            on_start()
        yield summarise("cold", colds)
        warms = []
        for number in range(repeats):
            warms.append(asyncio.run(_start(command, runtime, repeats + number)))
            on_start()
        yield summarise("warm", warms)


def summarise(method: str, starts: Sequence[Start]) -> dict[str, object]:
    """Return the medians of these starts as a row."""
    return {
        "method": method,
        "count": len(starts),
        "initialize_ms": round(statistics.median(start.initialize_ms for start in starts), 1),
        "engine_ready_ms": round(statistics.median(start.engine_ready_ms for start in starts), 1),
        "first_suggestion_ms": round(statistics.median(start.first_answer_ms for start in starts), 1),
        "with_text": sum(start.has_text for start in starts),
    }


async def _start(command: Sequence[str], runtime: Path, number: int) -> Start:
    began = time.perf_counter()
    async with language_server(command, runtime) as server:
        initialized = await server.initialize()
        # Each start has another text: a second start must not profit from the first one's cache.
        uri, text = "file:///startup/totals.py", TEXT.format(number=number)
        document = {"uri": uri, "languageId": LANGUAGE, "version": 1, "text": text}
        server.notify("textDocument/didOpen", {"textDocument": document})
        await wait_for_engine(server)
        ready_s = time.perf_counter()
        params = {
            "textDocument": {"uri": uri},
            "position": position_of(text, len(text)),
            "context": {"triggerKind": 1},
        }
        answer = await server.ask("textDocument/inlineCompletion", params)
    return Start(
        initialize_ms=(initialized.at_s - began) * 1e3,
        engine_ready_ms=(ready_s - began) * 1e3,
        first_answer_ms=(answer.at_s - began) * 1e3,
        has_text=bool(items_of(answer)),
    )
