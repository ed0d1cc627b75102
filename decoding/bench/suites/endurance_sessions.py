"""Runs `tabcast bench endurance --hours`: editors that come and go, kills of the engine, other models, and pauses.

One editor after another types this package's own sources into a language server. Now and then the engine is killed,
or nobody types for a while; every other editor works without the draft model, which is another engine. Each session
gives a row: what was answered, and the memory of both processes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from decoding.bench.harness.live_server import (
    ask_why,
    find_engine,
    language_server,
    memory_mb,
    runtime_directory,
    wait_for_engine,
)
from decoding.bench.harness.lsp_client import LspClient
from decoding.bench.harness.text_units import position_of
from decoding.bench.suites.trace_judge import items_of
from decoding.protocol import Address

log = logging.getLogger(__name__)

LANGUAGE = "python"
SESSION_S = 600.0
MIN_SESSIONS = 4
KEY_GAPS_S = (0.03, 0.3)
PAUSES_S = (1.0, 60.0)
SHARE_KILLS, SHARE_PAUSES, SHARE_CANCELLED = 0.004, 0.004, 0.05
SETTLED_S = 120.0


@dataclass(slots=True)
class _Editor:
    """One document, typed key by key, and what became of each request."""

    server: LspClient
    runtime: Path
    text: str
    number: int
    rng: random.Random
    cursor: int = 0
    version: int = 1
    asked: list[int] = field(default_factory=list)
    num_kills: int = 0
    num_pauses: int = 0

    @property
    def uri(self) -> str:
        """The document's name."""
        return f"file:///endurance/file{self.number}.py"

    def open(self) -> None:
        """Open the document with its first half."""
        self.cursor = len(self.text) // 2
        document = {"uri": self.uri, "languageId": LANGUAGE, "version": 1, "text": self.text[: self.cursor]}
        self.server.notify("textDocument/didOpen", {"textDocument": document})

    def press(self) -> None:
        """Type some characters, or go back to the middle where the text ends, and ask."""
        place = position_of(self.text, self.cursor)
        typed = self.text[self.cursor : self.cursor + self.rng.randrange(1, 5)]
        start, end = place, place
        if not typed:
            self.cursor = len(self.text) // 2
            start = position_of(self.text, self.cursor)
        self.cursor += len(typed)
        self.version += 1
        change = {"range": {"start": start, "end": end}, "text": typed}
        document = {"uri": self.uri, "version": self.version}
        self.server.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [change]})
        where = {"textDocument": {"uri": self.uri}, "position": position_of(self.text, self.cursor)}
        params = {**where, "context": {"triggerKind": 2}}
        self.asked.append(self.server.request("textDocument/inlineCompletion", params))
        if self.rng.random() < SHARE_CANCELLED:
            self.server.notify("$/cancelRequest", {"id": self.asked[-1]})

    def disturb(self) -> float:
        """Kill the engine now and then; return for how long nobody types."""
        dice = self.rng.random()
        address = find_engine(self.runtime)
        if dice < SHARE_KILLS and address is not None:
            _kill(address)
            self.num_kills += 1
        if dice > 1 - SHARE_PAUSES:
            self.num_pauses += 1
            return self.rng.uniform(*PAUSES_S)
        return self.rng.uniform(*KEY_GAPS_S)


def run(
    command: Sequence[str], hours: float, texts: Sequence[str], on_session: Callable[[], None] = lambda: None
) -> Iterator[dict[str, object]]:
    """Yield a row for each session until the hours are over. Raises `TabcastError` if a server or an engine ends."""
    rng = random.Random(1)  # noqa: S311 - no secrets
    ends_s = time.monotonic() + hours * 3600
    session_s = min(SESSION_S, hours * 3600 / MIN_SESSIONS)
    number = 0
    with runtime_directory() as runtime:
        while time.monotonic() < ends_s:
            arguments = ("--draft", "none") if number % 2 else ()
            seconds = min(session_s, ends_s - time.monotonic())
            row = asyncio.run(_sit([*command, *arguments], runtime, rng.choice(texts), number, seconds))
            log.info("%s", row)  # if a long run is killed, these lines are left
            on_session()
            yield row
            number += 1


async def _sit(command: Sequence[str], runtime: Path, text: str, number: int, seconds: float) -> dict[str, object]:
    async with language_server(command, runtime) as server:
        await server.initialize()
        editor = _Editor(server, runtime, text, number, random.Random(number))  # noqa: S311 - no secrets
        editor.open()
        await wait_for_engine(server)
        ends_s = time.monotonic() + seconds
        editor.press()
        while (left_s := ends_s - time.monotonic()) > 0:
            await asyncio.sleep(min(editor.disturb(), left_s))
            editor.press()
        await server.settle(editor.asked, SETTLED_S)
        await ask_why(server)  # what would have been answered twice has come by now
        return _row(editor, number)


def _row(editor: _Editor, number: int) -> dict[str, object]:
    answers = [editor.server.answers.get(one, []) for one in editor.asked]
    is_right = all(len(found) == 1 for found in answers)
    address = find_engine(editor.runtime)
    return {
        "method": f"session {number + 1}{', without a draft' if number % 2 else ''}",
        "count": len(answers),
        "unanswered": sum(not found for found in answers),
        "answered_twice": sum(len(found) > 1 for found in answers),
        "with_text": sum(bool(found and items_of(found[0])) for found in answers),
        "kills": editor.num_kills,
        "pauses": editor.num_pauses,
        "server_mb": memory_mb(editor.server.pid),
        "engine_mb": memory_mb(address.pid) if address is not None else None,
        "passed": is_right,
    }


def _kill(address: Address) -> None:
    with suppress(ProcessLookupError):
        os.kill(address.pid, signal.SIGKILL)
