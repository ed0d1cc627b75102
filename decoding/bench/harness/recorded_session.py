"""Reads a recorded editing session (VS Code's `workspaceRecording`): edits, completion requests and cancellations.

The log's order is the order in which things happened; an entry's time may be older than that of the one before, so
the clock of the result never goes back. Offsets count UTF-16 code units. Knows no server.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from decoding.bench.harness.data import DataError
from decoding.bench.harness.text_units import from_units, to_units

FETCH = "InlineCompletions.fetch"
MAX_KEY_GAP_MS = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The editor opened a document with its whole text, or set the text of an open one anew."""

    at_ms: float
    document: int
    path: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """Replacements (start, end, text) in one document, from the last to the first.

    Offsets and texts are in code units, offsets those of the text before any of the replacements.
    """

    at_ms: float
    document: int
    edits: tuple[tuple[int, int, str], ...]

    def apply(self, units: str) -> str:
        """Return the text after the edits. Raises `ValueError` if they don't lie in the text."""
        for start, end, text in self.edits:
            if not 0 <= start <= end <= len(units):
                raise ValueError(f"edit {start}-{end} outside of a text of {len(units)}")
            units = units[:start] + text + units[end:]
        return units


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """The editor asked for a completion at `offset`; `by_hand` if the user did."""

    at_ms: float
    document: int
    request: int
    offset: int
    by_hand: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """The editor no longer wanted a request's answer."""

    at_ms: float
    request: int


Event = Opened | Edited | Requested | Cancelled


def read_recording(path: Path) -> list[Event]:
    """Read all events; the first is at 0 ms. Raises `DataError` naming the entry and what was expected."""
    entries = _entries(path)
    reader = _Reader(path)
    for number, entry in enumerate(entries):
        try:
            reader.read(entry)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            kind = entry.get("kind") if isinstance(entry, dict) else entry
            raise DataError(f"{path}, log entry {number} ({kind}): not as expected ({error!r})") from None
    if not any(isinstance(event, Requested) for event in reader.events):
        raise DataError(f"{path}: the recording has no completion request (events of {FETCH!r})")
    return reader.events


def key_gaps_ms(events: Sequence[Event]) -> list[float]:
    """Return the milliseconds from each edit to the next, without pauses to think.

    Raises `DataError` if there is none.
    """
    times = [event.at_ms for event in events if isinstance(event, Edited)]
    gaps = [after - before for before, after in pairwise(times)]
    gaps = [gap for gap in gaps if 0 < gap < MAX_KEY_GAP_MS]
    if not gaps:
        raise DataError("the recording has no two edits within five seconds of each other")
    return gaps


class _Reader:
    """Keeps what entries refer to: paths, stored texts, and the cursor of each document."""

    def __init__(self, path: Path) -> None:
        self.events: list[Event] = []
        self._file = path
        self._first_ms: float | None = None
        self._now_ms = 0.0
        self._paths: dict[int, str] = {}
        self._texts: dict[int, str] = {}  # in code units
        self._stored: dict[str, str] = {}
        self._cursors: dict[int, int] = {}

    def read(self, entry: dict[str, Any]) -> None:
        kind = entry["kind"]
        if kind == "documentEncountered":
            self._paths[entry["id"]] = str(entry["relativePath"]).replace("\\", "/")
        elif kind == "setContent":
            self._open(entry, to_units(entry["content"]))
        elif kind == "storeContent":
            self._stored[entry["contentId"]] = self._texts[entry["id"]]
        elif kind == "restoreContent":
            self._open(entry, self._stored[entry["contentId"]])
        elif kind == "selectionChanged":
            if entry["selection"]:
                self._cursors[entry["id"]] = int(entry["selection"][0][1])
        elif kind == "changed":
            self._change(entry)
        elif kind in ("documentEvent", "event") and entry["data"].get("sourceId") == FETCH:
            self._fetch(entry)

    def _open(self, entry: dict[str, Any], units: str) -> None:
        document = entry["id"]
        self._texts[document] = units
        path = self._paths.get(document, f"document{document}")
        # The entry's time is when the file was read, long before it was looked at, so the present time is taken.
        self.events.append(Opened(at_ms=self._now_ms, document=document, path=path, text=from_units(units)))

    def _change(self, entry: dict[str, Any]) -> None:
        document = entry["id"]
        edits = tuple(sorted(((int(a), int(b), to_units(text)) for a, b, text in entry["edit"]), reverse=True))
        edited = Edited(at_ms=self._time(entry), document=document, edits=edits)
        self._texts[document] = edited.apply(self._texts[document])
        self.events.append(edited)

    def _fetch(self, entry: dict[str, Any]) -> None:
        data = entry["data"]
        if data["kind"] == "start":
            document = entry["id"]
            self.events.append(
                Requested(
                    at_ms=self._time(entry),
                    document=document,
                    request=int(data["requestId"]),
                    offset=min(self._cursors.get(document, 0), len(self._texts[document])),
                    by_hand=data.get("context", {}).get("triggerKind") == 1,
                )
            )
        elif data.get("error") == "canceled":
            self.events.append(Cancelled(at_ms=self._time(entry), request=int(data["requestId"])))

    def _time(self, entry: dict[str, Any]) -> float:
        if self._first_ms is None:
            self._first_ms = float(entry["time"])
        self._now_ms = max(self._now_ms, float(entry["time"]) - self._first_ms)
        return self._now_ms


def _entries(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise DataError(f"no recording {path}")
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            value = json.load(file)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path}: can't be read ({error})") from None
    log = value.get("log") if isinstance(value, dict) else None
    if not isinstance(log, list):
        raise DataError(f"{path}: expected an object with a list named 'log'")
    return iter(log)
