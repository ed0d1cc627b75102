"""Judges a language server's answers to a played recording: stale, late, twice or never; and how long they took.

An answer is stale if it doesn't fit the text that it was asked for, or if it brings a suggestion after the server has
read a later change of that document. Pure functions of what was sent and what came back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from decoding.bench.harness.live_server import Timing
from decoding.bench.harness.lsp_client import CANCELLED, Answer
from decoding.bench.harness.text_units import offset_of, to_units
from decoding.bench.metrics import accuracy
from decoding.bench.suites import trace_keystrokes

# Answers with these reasons were given without the engine.
FROM_MEMORY = ("typed through", "remembered")
Row = dict[str, object]


@dataclass(slots=True, kw_only=True)
class PlayedRequest:
    """A completion request as it was sent, and the first change of its document after it.

    `change_mark` is the id of the marking request that followed that change, sent at `next_key_s`. `kind` says what was
    done since the last request. `num_prefilled` counts the prompt tokens that the engine computed until the next event;
    None if that is unknown.
    """

    id: int
    units: str
    offset: int
    sent_s: float
    change_mark: int = 0
    next_key_s: float = float("inf")
    kind: str = trace_keystrokes.OTHER
    num_prefilled: int | None = None


@dataclass(slots=True)
class Played:
    """All that was sent; it grows while the recording is played. `lateness_ms` says how late each event was sent."""

    requests: list[PlayedRequest] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    lateness_ms: list[float] = field(default_factory=list)

    def ids(self) -> set[int]:
        """Return the ids of all requests that were sent."""
        return {*self.marks, *(request.id for request in self.requests)}


def items_of(answer: Answer) -> list[dict[str, Any]]:
    """Return the suggestions of an answer, of any form that the protocol allows."""
    result = answer.result
    return (result.get("items") or []) if isinstance(result, dict) else (result or [])


def is_stale(request: PlayedRequest, answers: dict[Any, list[Answer]]) -> bool:
    """Return whether an answer doesn't fit its text, or came after the server had read a change of it."""
    for answer in answers.get(request.id, []):
        items = items_of(answer)
        marks = answers.get(request.change_mark, []) if request.change_mark else []
        if items and any(mark.order < answer.order for mark in marks):
            return True
        if not all(_fits(item, request) for item in items):
            return True
    return False


def _fits(item: dict[str, Any], request: PlayedRequest) -> bool:
    """Return whether an editor could show an item: it agrees with the text before the cursor and behind it."""
    text = item["insertText"]
    text = to_units(text if isinstance(text, str) else text["value"])
    place = item.get("range")
    if place is None:
        return bool(text)
    start, end = offset_of(request.units, place["start"]), offset_of(request.units, place["end"])
    if start is None or end is None or not start <= request.offset <= end:
        return False
    typed, replaced = request.units[start : request.offset], request.units[request.offset : end]
    rest = iter(text[len(typed) :])
    return text.startswith(typed) and len(text) > len(typed) and all(unit in rest for unit in replaced)


def summarise(
    played: Played,
    answers: dict[Any, list[Answer]],
    facts: Mapping[str, object],
    timings: Mapping[int, Timing] | None = None,
) -> list[Row]:
    """Return a row for all requests, with the facts, those with a suggestion, from memory, and each kind of key."""
    firsts = [(request, answers[request.id][0]) for request in played.requests if request.id in answers]
    found = [(request, answer) for request, answer in firsts if answer.result is not None]
    shown = [(request, answer) for request, answer in found if items_of(answer)]
    total = len(played.requests)
    counts = {
        "stale": sum(is_stale(request, answers) for request in played.requests),
        "not_answered_once": sum(len(answers.get(number, [])) != 1 for number in played.ids()),
        "superseded": sum(answer.result is None and not answer.error for _, answer in firsts),
        "cancelled": sum(answer.error == CANCELLED for _, answer in firsts),
        "failed": sum(answer.error not in (0, CANCELLED) for _, answer in firsts),
        "late_p99_ms": round(accuracy.percentile(played.lateness_ms, 0.99), 1),
    }
    waited = _front_end([timings[request.id] for request, _ in found if timings and request.id in timings])
    reasons = {"reasons": dict(Counter(timing.reason for timing in timings.values()).most_common())} if timings else {}
    costs = [(request.kind, request.num_prefilled) for request in played.requests if request.num_prefilled is not None]
    return [
        {"method": "all requests", "count": total, **_latency(found, total), **counts, **waited, **facts, **reasons},
        {"method": "with a suggestion", "count": len(shown), **_latency(shown, len(shown))},
        *([_from_memory(found, timings)] if timings else []),
        *trace_keystrokes.rows(costs),
    ]


def _front_end(timings: Sequence[Timing]) -> dict[str, object]:
    """Return the front end's own time where it asked the engine, without the engine's time and debouncing."""
    asked = [timing for timing in timings if timing.engine_ms > 0]
    if not asked:
        return {}
    own, pauses = [timing.own_ms for timing in asked], [timing.pause_ms for timing in asked if timing.pause_ms]
    return {
        "front_end_p50_ms": round(accuracy.percentile(own, 0.5), 2),
        "front_end_p99_ms": round(accuracy.percentile(own, 0.99), 2),
        "front_end_percent": round(100 * sum(own) / sum(timing.ms for timing in asked), 1),
        "paused": len(pauses),
        "pause_p99_ms": round(accuracy.percentile(pauses, 0.99), 1) if pauses else None,
    }


def _from_memory(pairs: Sequence[tuple[PlayedRequest, Answer]], timings: Mapping[int, Timing]) -> Row:
    """Return a row for answers without the engine: their latency for the editor, and the front end's part of it."""
    pairs = [(request, answer) for request, answer in pairs if _is_from_memory(timings.get(request.id))]
    own = [timings[request.id].own_ms for request, _ in pairs]
    figures = {
        f"front_end_p{share}_ms": round(accuracy.percentile(own, share / 100), 2) if own else None
        for share in (50, 95, 99)
    }
    return {"method": "from memory", "count": len(pairs), **_latency(pairs, len(pairs)), **figures}


def _is_from_memory(timing: Timing | None) -> bool:
    return timing is not None and timing.reason in FROM_MEMORY


def _latency(pairs: Sequence[tuple[PlayedRequest, Answer]], total: int) -> dict[str, object]:
    times = [(answer.at_s - request.sent_s) * 1e3 for request, answer in pairs]
    in_time = sum(answer.at_s < request.next_key_s for request, answer in pairs)
    return {
        "answered": len(pairs),
        "before_next_key_percent": round(100 * in_time / total, 1) if total else None,
        **{
            f"p{share}_ms": round(accuracy.percentile(times, share / 100), 1) if times else None
            for share in (50, 90, 95, 99)
        },
    }
