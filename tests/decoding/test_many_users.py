"""Fifty people on one engine with a real, tiny model: all are served, each with his own text, some keys are revoked."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

from decoding.completion.sessions import SessionPool
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import CompletionRequest
from decoding.service.jobs import Delta, Job, JobDone
from decoding.service.limits import Limits
from decoding.service.worker import Worker
from decoding.storage.team_keys import new_key, revoke_key
from tests.decoding.test_team_gate import Team, serving, until

NUM_USERS = 50
NUM_REVOKED = 5
NUM_REQUESTS = 2


def prompt_of(user: int, number: int) -> str:
    return f"def function_{user}_{number}(width, height):\n    name = 'user {user}'\n    return "


def body_of(user: int, number: int) -> dict[str, Any]:
    return {"prompt": prompt_of(user, number), "max_tokens": 8, "tabcast": {"session": "same.py"}}


def alone(worker: Worker, body: dict[str, Any]) -> str:
    """What a request gets on an engine that nobody else uses."""
    texts: list[str] = []
    done = threading.Event()

    def deliver(event: object) -> None:
        if isinstance(event, Delta):
            texts.append(event.text)
        if isinstance(event, JobDone):
            done.set()

    worker.turn([Job(CompletionRequest.from_json(body), deliver)])
    while not done.is_set():
        worker.turn([])
    return "".join(texts)


async def test_fifty_people_are_served_each_with_his_own_text(llama: ModelSet, tmp_path: Path) -> None:
    reference = Worker(
        llama, SessionPool(llama, max_sessions=1, budget_bytes=0), Team(tmp_path / "alone").state, max_running=1
    )
    bodies = [[body_of(user, number) for number in range(NUM_REQUESTS)] for user in range(NUM_USERS)]
    expected = [[alone(reference, body) for body in of_user] for of_user in bodies]
    team = Team(tmp_path / "team", Limits(requests_per_minute=0, tokens_per_minute=0, concurrent=4))
    for user in range(NUM_USERS):
        team.keys[f"user{user}"] = new_key(team.path, f"user{user}")
    pool = SessionPool(llama, max_sessions=12, budget_bytes=1 << 30)
    worker = Worker(llama, pool, team.state, max_running=4)
    compute = threading.Thread(target=worker.serve, args=(team.mailbox,))
    async with serving(team):
        # A few hold the engine with long answers, until their keys are revoked in mid-stream.
        long = {"prompt": "x = 1\n" * 20, "max_tokens": 150, "n": 16, "temperature": 1.0, "stream": True}
        for user in range(NUM_REVOKED):
            team.keys[f"gone{user}"] = new_key(team.path, f"gone{user}")
        held = [
            asyncio.create_task(_stream(team.client(f"gone{user}"), {**long, "seed": user}))
            for user in range(NUM_REVOKED)
        ]
        await until(lambda: team.server.num_open == NUM_REVOKED)
        compute.start()
        try:
            asked = [asyncio.create_task(_user(team, user, of_user)) for user, of_user in enumerate(bodies)]
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            for user in range(NUM_REVOKED):
                revoke_key(team.path, f"gone{user}")
            team.gate.look(0.0)
            answers = await asyncio.gather(*asked)
            cut = await asyncio.gather(*held)
            figures = await team.figures()
        finally:
            team.mailbox.put(None)
            await asyncio.to_thread(compute.join, 60)
    assert answers == expected
    assert all("revoked" in text for text in cut)
    for user in range(NUM_USERS):
        assert figures[f'tabcast_user_requests_total{{user="user{user}",outcome="finished"}}'] == NUM_REQUESTS


async def _user(team: Team, user: int, bodies: list[dict[str, Any]]) -> list[str]:
    client, texts = team.client(f"user{user}"), []
    for body in bodies:
        async with asyncio.timeout(300), client.post("/v1/completions", json=body) as answer:
            told = await answer.json()
            assert answer.status == 200, told
            texts.append(told["choices"][0]["text"])
    return texts


async def _stream(client: Any, body: dict[str, Any]) -> str:
    async with client.post("/v1/completions", json=body) as answer:
        return json.dumps(await answer.text())
