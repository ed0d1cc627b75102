"""Implements the gate of a team's engine: keys with names and limits, figures for each, and a log without text.

Keys are read anew when their file changes. A key that is gone ends at once, with the requests under way for it.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from decoding.errors import ConfigError
from decoding.protocol import Health
from decoding.service.gates import COMPLETIONS, RIGHT_OF, Refused, Visit, bearer, check_no_page
from decoding.service.jobs import JobDone
from decoding.service.limits import Budget, Limits
from decoding.storage.team_keys import TeamKey, find_key, read_keys

log = logging.getLogger(__name__)

REVOKED: Final = "this key was revoked"
RETRY_S: Final = 5
# chosen: the bounds of Prometheus' histogram of the time to the first text.
BUCKETS_S: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0)


class KeyRing:
    """The keys of a file as it is now. A file that can't be read lets nobody in until it can be read again."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises `ConfigError`."""
        self._path = path
        self._seen = self._look()
        self.keys = read_keys(path)
        self.problem = ""

    def refresh(self) -> bool:
        """Read the file again if it has changed; return whether it had."""
        if (seen := self._look()) == self._seen:
            return False
        self._seen = seen
        try:
            self.keys, self.problem = read_keys(self._path), ""
        except ConfigError as error:
            log.error("nobody new is let in: %s", error)
            self.problem = str(error)
        return True

    def _look(self) -> tuple[int, ...]:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - once a request
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode, found.st_ctime_ns


class TeamGate:
    """Lets in who has a key, as far as its limits go."""

    def __init__(self, path: Path, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the keys. Raises `ConfigError`."""
        self._ring = KeyRing(path)
        self._limits = limits
        self._clock = clock
        self._budgets: dict[str, Budget] = {}
        self._visits: dict[str, set[Visit]] = {}
        self._figures = UserFigures()
        self.is_closing = False

    def look(self, _idle_s: float) -> None:
        """End the requests of keys that were revoked. Called every now and then, and at each request."""
        if not self._ring.refresh() or self._ring.problem:
            return
        known = {key.sha256 for key in self._ring.keys}
        for owner in self._budgets.keys() - known:
            del self._budgets[owner]
            for visit in self._visits.get(owner, ()):
                visit.end_early(JobDone(REVOKED, status=401))
        for key in self._ring.keys:
            if key.sha256 in self._budgets:
                self._budgets[key.sha256].change(self._limits.of(key))

    def admit(self, request: web.Request) -> Visit:
        """Let in who has a key that opens this route, and something left of its limits."""
        key = self._key_of(request)
        if self.is_closing:
            raise Refused(503, "stopping", "the engine is about to end", RETRY_S)
        if RIGHT_OF.get(request.path, COMPLETIONS) != key.right:
            self._figures.count(key.name, "invalid")
            raise Refused(403, "forbidden", "this key isn't for that")
        budget = self._budgets.setdefault(key.sha256, Budget(self._limits.of(key), self._clock))
        if key.right == COMPLETIONS and (too_much := budget.begin()) is not None:
            self._figures.count(key.name, "limited")
            log.info("user=%s outcome=limited retry_s=%d", key.name, too_much.retry_s)
            raise Refused(429, "rate_limit_exceeded", too_much.reason, too_much.retry_s)
        visit = Visit(owner=key.sha256, name=key.name, on_work=budget.charge)
        self._visits.setdefault(key.sha256, set()).add(visit)
        return visit

    def leave(self, visit: Visit, request: web.Request, status: int) -> None:
        """Count and log the request. What is logged are figures and known words."""
        self._visits[visit.owner].discard(visit)
        if not self._visits[visit.owner]:
            del self._visits[visit.owner]
        if request.path in RIGHT_OF:
            return
        if (budget := self._budgets.get(visit.owner)) is not None:
            budget.end()
        outcome, seconds = visit.outcome(status), time.perf_counter() - visit.began
        self._figures.count(visit.name, outcome)
        if visit.job is None:
            return
        self._figures.note(visit)
        first_ms = -1 if visit.first_s is None else visit.first_s * 1e3
        log.info(
            "user=%s outcome=%s first_ms=%.0f ms=%.0f read=%d written=%d",
            visit.name, outcome, first_ms, seconds * 1e3, visit.num_read, visit.num_written,
        )  # fmt: skip

    def health(self, request: web.Request, health: Health) -> dict[str, Any]:
        """Tell whether it serves; who has a key is told of what."""
        check_no_page(request)
        if self.is_closing:
            raise Refused(503, "stopping", "the engine is about to end", RETRY_S)
        if "Authorization" not in request.headers:
            return {"status": health.status, "protocol": health.protocol}
        self._key_of(request)
        return {**health.to_json(), "proof": ""}

    def metrics(self) -> list[str]:
        """Return the figures of each user, who is named by a label."""
        names = {key.sha256: key.name for key in self._ring.keys}
        num_open = {names[owner]: len(visits) for owner, visits in self._visits.items() if owner in names}
        return self._figures.lines(num_open)

    def _key_of(self, request: web.Request) -> TeamKey:
        check_no_page(request)
        self.look(0.0)
        if self._ring.problem:
            raise Refused(503, "keys", "the engine can't read its keys: its log tells why", RETRY_S)
        key = find_key(self._ring.keys, bearer(request).decode("utf-8", "surrogateescape"))
        if key is None:
            self._figures.num_strangers += 1
            raise Refused(401, "unauthorized", "the key is missing, wrong or revoked")
        return key


class UserFigures:
    """Counts for each user what Prometheus is told."""

    def __init__(self) -> None:
        self.num_strangers = 0
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._tokens: Counter[tuple[str, str]] = Counter()
        self._firsts: dict[str, list[int]] = {}
        self._first_s: dict[str, float] = {}

    def count(self, name: str, outcome: str) -> None:
        """Count a request by its outcome."""
        self._outcomes[name, outcome] += 1

    def note(self, visit: Visit) -> None:
        """Count the work for a completion."""
        self._tokens[visit.name, "read"] += visit.num_read
        self._tokens[visit.name, "written"] += visit.num_written
        if (first_s := visit.first_s) is not None:
            counts = self._firsts.setdefault(visit.name, [0] * (len(BUCKETS_S) + 1))
            for place, bound in enumerate((*BUCKETS_S, float("inf"))):
                counts[place] += first_s <= bound
            self._first_s[visit.name] = self._first_s.get(visit.name, 0.0) + first_s

    def lines(self, num_open: dict[str, int]) -> list[str]:
        """Return the figures in the form of Prometheus, with the requests that are under way."""
        first = "tabcast_user_first_text_seconds"
        rows = [f"tabcast_refused_strangers_total {self.num_strangers}", "# TYPE tabcast_user_requests_total counter"]
        rows += [
            f'tabcast_user_requests_total{{user="{name}",outcome="{outcome}"}} {number}'
            for (name, outcome), number in sorted(self._outcomes.items())
        ]
        rows.append("# TYPE tabcast_user_tokens_total counter")
        rows += [
            f'tabcast_user_tokens_total{{user="{name}",kind="{kind}"}} {number}'
            for (name, kind), number in sorted(self._tokens.items())
        ]
        rows.append("# TYPE tabcast_user_requests_open gauge")
        rows += [f'tabcast_user_requests_open{{user="{name}"}} {number}' for name, number in sorted(num_open.items())]
        rows.append(f"# TYPE {first} histogram")
        for name, counts in sorted(self._firsts.items()):
            bounds = [*(f"{bound:g}" for bound in BUCKETS_S), "+Inf"]
            rows += [f'{first}_bucket{{user="{name}",le="{b}"}} {n}' for b, n in zip(bounds, counts, strict=True)]
            rows.append(f'{first}_sum{{user="{name}"}} {self._first_s[name]:.6f}')
            rows.append(f'{first}_count{{user="{name}"}} {counts[-1]}')
        return rows
