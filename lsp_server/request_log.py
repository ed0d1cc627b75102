"""Keeps what became of the last requests, for the commands `why` and `stats`: reasons, times and counts, never a text.

The log stays in this process's memory. It must not know the wire or what a reason means.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from decoding.protocol import CompletionStats

MAX_ENTRIES: Final = 50
MAX_LATENCIES: Final = 2000
# The times of these requests are not counted: nobody waited for them to the end, so they don't tell how long an answer
# takes.
NOT_WAITED_FOR: Final = ("superseded", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One answered request. `at_s` is the time on the request log's clock; `engine` holds the engine's statistics."""

    request_id: int | str
    method: str
    document: str
    reason: str
    detail: str
    ms: float
    at_s: float
    engine: CompletionStats | None = None


class RequestLog:
    """The log of the last requests, with counts of all of them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: deque[Entry] = deque(maxlen=MAX_ENTRIES)
        self._latencies_ms: deque[float] = deque(maxlen=MAX_LATENCIES)
        self._reasons: Counter[str] = Counter()
        self._num_tokens = self._num_steps = 0

    def now_s(self) -> float:
        """Return the current time of the log's clock in seconds."""
        return self._clock()

    def record(self, entry: Entry) -> None:
        """Store an answered request and count it."""
        self._entries.append(entry)
        self._reasons[entry.reason] += 1
        if entry.reason not in NOT_WAITED_FOR:
            self._latencies_ms.append(entry.ms)
        if entry.engine is not None:
            self._num_tokens += entry.engine.tokens
            self._num_steps += entry.engine.steps

    def requests(self) -> list[dict[str, Any]]:
        """Return the last requests as JSON, the newest first."""
        return [_as_json(entry, self._clock()) for entry in reversed(self._entries)]

    def figures(self) -> dict[str, Any]:
        """Return counts and times of all requests as JSON."""
        latencies = sorted(self._latencies_ms)
        return {
            "requests": sum(self._reasons.values()),
            "reasons": dict(self._reasons.most_common()),
            "tokens": self._num_tokens,
            "steps": self._num_steps,
            "tokensPerStep": round(self._num_tokens / self._num_steps, 2) if self._num_steps else None,
            "latencyMs": {
                "median": round(statistics.median(latencies), 1) if latencies else None,
                "p95": round(latencies[math.ceil(0.95 * len(latencies)) - 1], 1) if latencies else None,
            },
        }


def _as_json(entry: Entry, now_s: float) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": entry.request_id,
        "method": entry.method,
        "document": entry.document,
        "reason": entry.reason,
        "detail": entry.detail,
        "ms": round(entry.ms, 1),
        "secondsAgo": round(now_s - entry.at_s, 1),
        "text": f"{entry.reason}{f' ({entry.detail})' if entry.detail else ''} after {entry.ms:.0f} ms",
    }
    if entry.engine is not None:
        told["engine"] = {
            "tokens": entry.engine.tokens,
            "steps": entry.engine.steps,
            "promptTokens": entry.engine.prompt_tokens,
            "cachedTokens": entry.engine.cached_tokens,
            "queueMs": round(entry.engine.queue_ms, 1),
            "prefillMs": round(entry.engine.prefill_ms, 1),
            "decodeMs": round(entry.engine.decode_ms, 1),
        }
    return told
