"""Many users on one engine, played from a recording: what counts as served, and who is refused."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from pathlib import Path

import pytest

from decoding.bench.harness import recorded_session
from decoding.bench.suites import load
from decoding.bench.suites.load import Asked, User
from decoding.errors import TabcastError
from decoding.protocol import CompletionStats
from decoding.service.jobs import ChoiceDone, Delta, Job, JobDone
from decoding.service.limits import Limits
from tests.bench.test_trace import LOG
from tests.decoding.test_team_gate import LIMITS, Team, serving

NEVER_MS = 3_600_000.0


def asked(prompt: str, at_ms: float, until_ms: float = NEVER_MS) -> Asked:
    return Asked(at_ms=at_ms, until_ms=until_ms, body={"prompt": prompt, "stream": True, "max_tokens": 4})


def answer(team: Team, seen: list[Job]) -> None:
    """Answer each request at once, except those that ask for silence; until the end is told."""
    while True:
        for job in team.mailbox.take(wait=True):
            if job is None:
                return
            seen.append(job)
            if job.request.prompt != "silence":
                job.deliver(Delta(0, "text"))
                job.deliver(ChoiceDone(0, CompletionStats(reason="stop")))
                job.deliver(JobDone())


async def play(team: Team, requests: list[Asked], users: list[User], keys: list[str], speed: float = 1.0) -> list[Job]:
    seen: list[Job] = []
    compute = threading.Thread(target=answer, args=(team, seen))
    async with serving(team):
        compute.start()
        try:
            await load._play(team.url, keys, None, requests, users, speed, lambda: None)
        finally:
            team.mailbox.put(None)
            await asyncio.to_thread(compute.join, 60)
    return seen


def test_a_request_is_wanted_until_its_user_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "session.json.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        json.dump({"log": LOG}, file)
    first, second = load.requests_of(recorded_session.read_recording(path))
    assert (first.at_ms, first.until_ms) == (10, 300)  # the next key comes
    assert (second.at_ms, second.until_ms) == (310, 5310)  # none comes any more
    assert first.body["prompt"].startswith("t = ")
    assert first.body["tabcast"]["session"] == "src/a b.ts"


async def test_what_comes_in_time_is_served_by_user(tmp_path: Path) -> None:
    team = Team(tmp_path)
    users = [User("one"), User("two")]
    requests = [asked("a", 0), asked("silence", 1, 5000), asked("b", 2)]
    jobs = await play(team, requests, users, [team.keys["anna"], team.keys["berta"]])
    assert len(jobs) == 6
    assert len({job.owner for job in jobs}) == 2
    assert sum(job.is_cancelled for job in jobs if job.request.prompt == "silence") == 2
    for user in users:
        row = user.row()
        assert (row["count"], row["served_percent"], row["refused"]) == (3, 66.7, 0)
        assert 0 < float(str(row["p50_ms"])) <= float(str(row["p95_ms"]))


async def test_limits_are_counted_and_a_wrong_key_ends_it(tmp_path: Path) -> None:
    team = Team(tmp_path / "few", Limits(requests_per_minute=1, tokens_per_minute=0, concurrent=0))
    user = User("one")
    await play(team, [asked("a", 0), asked("b", 1)], [user], [team.keys["anna"]])
    assert (user.num_refused, len(user.first_ms)) == (1, 1)
    with pytest.raises(TabcastError, match="refuses the key"):
        await play(Team(tmp_path / "wrong", LIMITS), [asked("a", 0)], [User("one")], ["wrong"])


def test_users_begin_at_places_of_their_own() -> None:
    requests = [asked(name, 100.0 * number, 100.0 * number + 50) for number, name in enumerate("abc")]
    moved = load._from_place(requests, 1)
    assert [found.body["prompt"] for found in moved] == ["b", "c", "a"]
    assert [found.at_ms for found in moved] == [100, 200, 1200]
    assert User("nobody").row()["p95_ms"] is None


def test_a_file_of_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("one\n\ntwo\n")
    assert load.keys_of(path) == ["one", "two"]
    path.write_text("\n")
    with pytest.raises(TabcastError, match="holds no keys"):
        load.keys_of(path)
    with pytest.raises(TabcastError, match="can't be read"):
        load.keys_of(tmp_path / "absent")
