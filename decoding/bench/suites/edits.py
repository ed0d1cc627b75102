"""Runs `tabcast bench edits`: renames and quiet changes in real files, played to the language server.

A rename is begun where the name is defined; every edit that is offered is accepted until none is, and each line that it
changes is right if it is as it has to be in the end. Behind a quiet change nothing may be offered.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from decoding.bench.harness.edit_cases import Case
from decoding.bench.harness.live_server import language_server, runtime_directory
from decoding.bench.harness.lsp_client import LspClient
from decoding.bench.harness.text_units import position_of

METHOD: Final = "textDocument/copilotInlineEdit"
MAX_OFFERS: Final = 100


@dataclass(slots=True)
class Played:
    """What became of one case: lines that were due, right and wrong, and the time of each answer."""

    case: Case
    num_due: int = 0
    num_right: int = 0
    num_wrong: int = 0
    num_offered: int = 0
    times_ms: list[float] = field(default_factory=list)


def run(
    command: Sequence[str], groups: Sequence[tuple[str, Sequence[Case]]], on_case: Callable[[], None] = lambda: None
) -> Iterator[dict[str, object]]:
    """Yield a row for each group of cases."""
    with runtime_directory() as runtime:
        for name, cases in groups:
            yield summarise(name, asyncio.run(_play(command, runtime, cases, on_case)))


def summarise(name: str, played: Sequence[Played]) -> dict[str, object]:
    """Return the row of a group: how much of what was due was found, and how much of what was shown was right."""
    due, right = sum(one.num_due for one in played), sum(one.num_right for one in played)
    wrong = sum(one.num_wrong for one in played)
    times = sorted(ms for one in played for ms in one.times_ms)
    row: dict[str, object] = {"method": name, "count": len(played)}
    if due:
        row |= {
            "due_lines": due,
            "found": round(right / due, 3),
            "found_by_case": round(sum(one.num_right / one.num_due for one in played if one.num_due) / len(played), 3),
            "precision": round(right / (right + wrong), 3) if right + wrong else None,
        }
    else:
        disturbed = Counter(one.case.kind for one in played if one.num_offered)
        row |= {"disturbed": sum(disturbed.values()), "kinds": ", ".join(f"{k} {n}" for k, n in disturbed.items())}
    row["wrong"] = wrong
    for share in (0.5, 0.95):
        row[f"p{share * 100:.0f}_ms"] = round(times[math.ceil(share * len(times)) - 1], 1) if times else None
    return row


async def _play(
    command: Sequence[str], runtime: Path, cases: Sequence[Case], on_case: Callable[[], None]
) -> list[Played]:
    folder = runtime / "workspace"
    folder.mkdir(exist_ok=True)
    played: list[Played] = []
    async with language_server(command, runtime) as server:
        await server.initialize(folder)
        for number, case in enumerate(cases):
            uri = (folder / f"case{number}{case.path.suffix}").as_uri()
            played.append(await Player(server, uri, case).play())
            on_case()
    return played


class Player:
    """One case in one document."""

    def __init__(self, server: LspClient, uri: str, case: Case) -> None:
        self._server = server
        self._uri = uri
        self._case = case
        self._text = case.text
        self._version = 1
        self._played = Played(case)

    async def play(self) -> Played:
        """Make the changes, follow what is offered, and return what became of it."""
        document = {"uri": self._uri, "languageId": self._case.language, "version": 1, "text": self._text}
        self._server.notify("textDocument/didOpen", {"textDocument": document})
        for change in self._case.changes:
            self._replace(change.at, change.end, change.new)
        await self._follow(self._case.changes[-1].at)
        self._server.notify("textDocument/didClose", {"textDocument": {"uri": self._uri}})
        return self._played

    def _replace(self, start: int, end: int, new: str) -> None:
        self._version += 1
        span = {"start": position_of(self._text, start), "end": position_of(self._text, end)}
        self._text = self._text[:start] + new + self._text[end:]
        document = {"uri": self._uri, "version": self._version}
        change = {"range": span, "text": new}
        params = {"textDocument": document, "contentChanges": [change]}
        self._server.notify("textDocument/didChange", params)

    async def _follow(self, at: int) -> None:
        wanted = self._case.wanted.split("\n")
        is_quiet = not self._case.wanted
        if not is_quiet:
            lines = zip(self._text.split("\n"), wanted, strict=True)
            self._played.num_due = sum(line != want for line, want in lines)
        for _ in range(MAX_OFFERS):
            place = position_of(self._text, at)
            document = {"uri": self._uri, "version": self._version}
            began = time.perf_counter()
            answer = await self._server.ask(METHOD, {"textDocument": document, "position": place})
            self._played.times_ms.append((time.perf_counter() - began) * 1000)
            edits = (answer.result or {}).get("edits") or []
            if not edits:
                return
            self._played.num_offered += 1
            if is_quiet or not await self._accept(edits[0], wanted):
                self._played.num_wrong += 1
                return

    async def _accept(self, edit: dict[str, Any], wanted: Sequence[str]) -> bool:
        """Apply an edit, and return whether it is right."""
        first, last = edit["range"]["start"], edit["range"]["end"]
        start, end = (_offset(self._text, place) for place in (first, last))
        num_before = self._text.count("\n")
        self._replace(start, end, edit["text"])
        lines = self._text.split("\n")
        is_right = num_before == self._text.count("\n") and lines[first["line"]] == wanted[first["line"]]
        self._played.num_right += is_right
        await self._server.ask("workspace/executeCommand", edit["command"])
        return is_right


def _offset(text: str, place: dict[str, int]) -> int:
    lines = text.split("\n")
    head = lines[place["line"]].encode("utf-16-le")[: 2 * place["character"]].decode("utf-16-le")
    return sum(len(line) + 1 for line in lines[: place["line"]]) + len(head)
