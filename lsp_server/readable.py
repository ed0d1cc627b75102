"""Words what the commands `why` and `stats` report as short tables for people; knows no editor and no document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

MINUTE_S: Final = 60
HOUR_S: Final = 3600
SECOND_MS: Final = 1000
# These come by the dozen while somebody types, and tell nothing one by one.
FOLDED: Final = ("cancelled", "superseded", "stale")
SOURCES: Final = {
    "local": "from memory",
    "joined": "by a request under way",
    "sent": "by the engine",
    "ahead": "asked for ahead",
    "first": "by the local model at first",
}


def ago(seconds: float) -> str:
    """Return how long ago something was, as people say it."""
    if seconds < 1:
        return "now"
    if seconds < MINUTE_S:
        return f"{seconds:.0f} s ago"
    if seconds < HOUR_S:
        return f"{seconds / MINUTE_S:.0f} min ago"
    return f"{seconds / HOUR_S:.0f} h ago"


def duration(ms: float | None) -> str:
    """Return a time in milliseconds, or in seconds if it is longer than one."""
    if ms is None:
        return "-"
    return f"{ms:.0f} ms" if ms < SECOND_MS else f"{ms / SECOND_MS:.1f} s"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines whose columns stand below one another."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def why_report(status: Mapping[str, Any], requests: Sequence[Mapping[str, Any]]) -> str:
    """Return the engine's state and what became of the last requests, the newest first, repeated ones in one row."""
    told = status["message"] or status["model"]
    head = [f"Tabcast is {status['state']}: {told}" if told else f"Tabcast is {status['state']}"]
    head += [line for line in (status["action"], status["better"]) if line]
    if not requests:
        return "\n".join([*head, "", "Nothing was asked yet."])
    return "\n".join([*head, "", "The last requests, the newest first:", *table(list(_folded(requests)))])


def _folded(requests: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    for (document, reason), same in groupby(requests, lambda told: (told["document"], told["reason"])):
        rows = list(same)
        if reason in FOLDED and len(rows) > 1:
            yield ago(rows[0]["secondsAgo"]), document, f"{reason}, {len(rows)} times", ""
            continue
        for told in rows:
            what = f"{reason}: {told['detail']}" if told["detail"] else reason
            yield ago(told["secondsAgo"]), document, what, duration(told["ms"])


def stats_report(figures: Mapping[str, Any]) -> str:
    """Return how much was suggested and accepted, and how fast it came; what is nothing is left out."""
    latency, steps = figures["latencyMs"], figures["tokensPerStep"]
    accepted = _share(figures["accepted"], figures["displayed"] or figures["shown"])
    rows = [
        ("requests", str(figures["requests"])),
        ("suggestions", str(figures["shown"])),
        ("accepted", f"{accepted}{_more(figures['partlyAccepted'], 'in part')}"),
        ("characters accepted", _share(figures["acceptedChars"], figures["shownChars"])),
        ("time, half of them", duration(latency["median"])),
        ("time, 95 of 100", duration(latency["p95"])),
        ("tokens a step", "-" if steps is None else f"{steps:.1f}"),
        ("code indexed", f"{figures['index']['files']} files, {figures['index']['state']}"),
    ]
    answered = [(SOURCES.get(name, name), str(count)) for name, count in figures["answered"].items() if count]
    reasons = [(name, str(count)) for name, count in figures["reasons"].items()]
    parts = [table(rows)]
    parts += [["Answered:", *_indented(answered)]] if answered else []
    parts += [["What became of the requests:", *_indented(reasons)]] if reasons else []
    return "\n\n".join("\n".join(part) for part in parts)


def _indented(rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"  {line}" for line in table(rows)]


def _share(part: float, whole: float) -> str:
    return f"{part:g} of {whole:g}{f' ({part / whole:.0%})' if whole else ''}"


def _more(count: int, what: str) -> str:
    return f", {count} more {what}" if count else ""
