"""A first text of the engine on this machine while a server is asked, over the wire and by its parts."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from decoding.bench.harness.slow_line import slow_line
from decoding.protocol import CompletionRequest, CompletionStats, Health
from lsp_server.completion.cache import CursorContext, Suggestion, SuggestionCache
from lsp_server.completion.first_text import with_proposal
from lsp_server.completion.in_flight import Generation
from lsp_server.completion.pace import Pace
from lsp_server.completion.settling import Settling
from lsp_server.engine.stream import Delta, EngineUnavailable, Part
from tests.lsp.conftest import FAKE_ENGINE, FakeRuntime, Servers, until
from tests.lsp.places import place_at
from tests.lsp.raw_client import URI, RawClient, did_change, did_open, inline
from tests.lsp.stand_in import StandIn, serving
from tests.lsp.test_commands import statuses

SERVE = Path(__file__).with_name("serve_hybrid.py")
REFRESH = "tabcast/refresh"
KEY = "TABCAST_TEST_KEY"


@pytest.fixture
def team(tmp_path: Path) -> Iterator[FakeRuntime]:
    """An engine of ours elsewhere, which runs already."""
    directory = tmp_path / "team" / "engine"
    directory.mkdir(parents=True, mode=0o700)
    runtime = FakeRuntime(directory)
    program = [sys.executable, "-P", str(FAKE_ENGINE), "--runtime-dir", str(directory)]
    with subprocess.Popen(program, stdin=subprocess.DEVNULL) as process:
        yield runtime
        process.kill()


@asynccontextmanager
async def editor(servers: Servers, table: dict[str, Any], *more: str, **environ: str) -> AsyncIterator[RawClient]:
    fake = " ".join([str(FAKE_ENGINE), *more])
    program = (str(SERVE), str(servers.runtime.directory), fake, json.dumps(table))
    client = await servers.start(program=program, **environ)
    await client.initialize(capabilities={"experimental": {"tabcastStatus": True, "tabcastRefresh": True}})
    await client.until_engine("ready")
    yield client
    await client.close()


async def until_both(client: RawClient) -> None:
    await client.until(lambda: statuses(client) and "first texts by" in statuses(client)[-1]["model"], "both engines")


@asynccontextmanager
async def with_team(servers: Servers, team: FakeRuntime, *more: str) -> AsyncIterator[RawClient]:
    """An editor whose file names the engine of the team, which answers late."""
    address = await until(team.address, "the engine elsewhere")
    async with slow_line(address.port, delay_s=0.02) as port:
        table = {"kind": "tabcast", "url": f"http://127.0.0.1:{port}", "api_key_env": KEY, "hybrid": True}
        async with editor(servers, table, *more, **{KEY: address.token}) as client:
            yield client


def texts(items: list[dict[str, Any]]) -> list[str]:
    return [item["insertText"] for item in items]


def refreshes(client: RawClient) -> list[str]:
    return [m["params"]["uri"] for m in client.received if m.get("method") == REFRESH]


async def test_a_first_text_is_shown_and_the_servers_takes_its_place(servers: Servers, team: FakeRuntime) -> None:
    servers.runtime.script("local(1)", weights="small")
    team.script("remote(2)", hold_after=0)
    async with with_team(servers, team) as client:
        await until_both(client)
        client.send(did_open("x = \n"), inline(1, 0, 4))
        assert texts(await client.items(1)) == ["x = local(1)"]
        why = await client.why()
        assert (why["reason"], why["detail"]) == ("first text", "by small")
        assert not refreshes(client)
        team.release()
        await client.until(lambda: refreshes(client), "a sign that another text has come")
        client.send(inline(2, 0, 4))
        assert texts(await client.items(2)) == ["x = remote(2)"]
        assert (await client.why())["detail"] == "by team"
        assert len(refreshes(client)) == 1


async def test_a_first_text_that_is_being_taken_stays(servers: Servers, team: FakeRuntime) -> None:
    servers.runtime.script("result(1)")
    team.script("result_of(2)", hold_after=0)
    async with with_team(servers, team) as client:
        await until_both(client)
        client.send(did_open("x = \n"), inline(1, 0, 4))
        assert texts(await client.items(1)) == ["x = result(1)"]
        client.send(did_change(2, "re", (0, 4), (0, 4)), inline(2, 0, 6))
        assert texts(await client.items(2)) == ["x = result(1)"]
        team.release()
        await until(lambda: team.events("done"), "the server's text")
        client.send(did_change(3, "s", (0, 6), (0, 6)), inline(3, 0, 7))
        assert texts(await client.items(3)) == ["x = result(1)"]
        client.send(did_change(4, "ult_", (0, 7), (0, 7)), inline(4, 0, 11))
        assert texts(await client.items(4)) == ["x = result_of(2)"]  # what was typed contradicts the first
        assert not refreshes(client)


async def test_a_first_text_of_which_its_engine_is_not_sure_is_not_shown(servers: Servers, team: FakeRuntime) -> None:
    servers.runtime.script("local(1)", log_probs=(-3.0, -3.0))
    team.script("remote(2)", hold_after=0)
    async with with_team(servers, team) as client:
        await until_both(client)
        client.send(did_open("x = \n"), inline(1, 0, 4))
        await until(lambda: servers.runtime.events("request") and team.events("request"), "both requests")
        await until(
            lambda: servers.runtime.events("done") or servers.runtime.events("cancelled"), "the end of the first text"
        )
        assert not client.answers_to(1)
        team.release()
        assert texts(await client.items(1)) == ["x = remote(2)"]


async def test_a_server_of_another_kind_replaces_the_first_text_too(servers: Servers) -> None:
    servers.runtime.script("local(1)")
    server = StandIn(kind="vllm", pieces=("remote", "(2)"), fault="slow")
    async with serving(server), editor(servers, {"url": server.url, "hybrid": True}) as client:
        await until_both(client)
        client.send(did_open("x = \n"), inline(1, 0, 4))
        assert texts(await client.items(1)) == ["x = local(1)"]
        server.go.set()
        await client.until(lambda: refreshes(client), "a sign that another text has come")
        client.send(inline(2, 0, 4))
        assert texts(await client.items(2)) == ["x = remote(2)"]
        assert all("proposal" not in body for body in server.bodies)


async def test_a_server_that_has_nothing_takes_the_first_text_away(servers: Servers, team: FakeRuntime) -> None:
    servers.runtime.script("local(1)")
    team.script("", hold_after=0)
    async with with_team(servers, team) as client:
        await until_both(client)
        client.send(did_open("x = \n"), inline(1, 0, 4))
        assert texts(await client.items(1)) == ["x = local(1)"]
        team.release()
        await client.until(lambda: refreshes(client), "a sign that there is nothing")
        client.send(inline(2, 0, 4))
        assert await client.items(2) == []


async def test_without_an_engine_on_this_machine_the_server_answers_alone(servers: Servers, team: FakeRuntime) -> None:
    team.script("remote(2)")
    async with with_team(servers, team, "--broken") as client:
        told = "no first texts are written on this machine"
        await client.until(lambda: told in statuses(client)[-1]["message"], "the reason")
        client.send(did_open("x = \n"), inline(1, 0, 4))
        assert texts(await client.items(1)) == ["x = remote(2)"]
        assert servers.log().count(told) == 1


async def test_the_engine_on_this_machine_answers_while_the_server_is_away(servers: Servers, team: FakeRuntime) -> None:
    servers.runtime.script("local(1)")
    team.script("remote(2)")
    async with with_team(servers, team) as client:
        await until_both(client)
        team.kill()
        client.send(did_open("x = \n"), inline(1, 0, 4))
        assert texts(await client.items(1)) == ["x = local(1)"]
        await client.until(lambda: "in place of team" in statuses(client)[-1]["model"], "the change")


def spot_at(text: str) -> CursorContext:
    return CursorContext(URI, 0, place_at(text), "python")


class Both:
    """Stands for the client of a server that verifies proposals, and keeps what it was asked."""

    author, first, takes_proposals = "team", Health(status="ready"), True

    def __init__(self) -> None:
        self.read_requests: list[CompletionRequest] = []
        self.requests: list[CompletionRequest] = []

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Part, None]:
        self.requests.append(request)
        for piece in ("a", "b"):
            yield Delta(piece, confidence=((1, 0.0),))
        yield CompletionStats(reason="stop")

    async def complete_first(self, _request: CompletionRequest) -> AsyncGenerator[Part, None]:
        raise EngineUnavailable("not asked")
        yield

    async def read(self, request: CompletionRequest) -> None:
        self.read_requests.append(request)


async def written(pieces: tuple[str, ...], go_on: asyncio.Event) -> AsyncGenerator[Part, None]:
    for piece in pieces:
        yield Delta(piece)
    await go_on.wait()
    yield CompletionStats(reason="stop")


@pytest.mark.parametrize("is_in_time", [True, False])
async def test_a_server_gets_what_is_there_of_a_first_text_in_time(is_in_time: bool) -> None:
    both, pace, go_on, spot = Both(), Pace(), asyncio.Event(), spot_at("x = |")
    first = Generation(spot, "line", written(("lo", "cal"), go_on), Settling(spot, "line"), lambda *_: None)
    pace.note_first(0.01)
    pace.note_written(10, 10, 120.0 if is_in_time else 0.1)
    if is_in_time:
        go_on.set()
    request = CompletionRequest(prompt="x = ")
    async with aclosing(with_proposal(both, both.complete, request, first, pace)) as parts:
        assert "".join([part.text async for part in parts if isinstance(part, Delta)]) == "ab"
    assert [asked.tabcast.proposal for asked in both.requests] == ["local"]
    assert [asked.tabcast.prepare for asked in both.read_requests] == ["place"]
    first.cancel()


async def test_nobody_waits_for_a_proposal_that_does_not_pay() -> None:
    both, pace, spot = Both(), Pace(), spot_at("x = |")
    first = Generation(spot, "line", written(("lo",), asyncio.Event()), Settling(spot, "line"), lambda *_: None)
    for first_s, written_s in ((0.0, 0.0), (0.0, 9.0), (5.0, 9.0)):
        pace.first_s, pace.written_s = first_s, written_s
        async with aclosing(with_proposal(both, both.complete, CompletionRequest(prompt=""), first, pace)) as parts:
            assert [part async for part in parts]
    assert [asked.tabcast.proposal for asked in both.requests] == ["", "", ""]
    assert not both.read_requests
    first.cancel()


def test_the_pace_of_a_server_does_not_depend_on_what_it_accepts() -> None:
    alone, helped = Pace(), Pace()
    alone.note_written(12, 12, 1.2)
    helped.note_written(12, 3, 0.3)
    assert alone.written_s == pytest.approx(helped.written_s)
    alone.note_written(1, 0, 0.0)  # an answer of one step tells nothing
    assert alone.written_s == pytest.approx(helped.written_s)


def test_a_first_text_gives_way_unless_it_is_being_taken() -> None:
    cache = SuggestionCache()
    first = Suggestion(spot=spot_at("x = |"), mode="line", generated="one two", text="one two", is_first=True)
    cache.add(first)
    shown = cache.find(spot_at("x = |"), "line")
    assert shown is not None
    cache.note_shown(shown, shown.text)
    other = Suggestion(spot=spot_at("x = |"), mode="line", generated="one three", text="one three")
    cache.add(other)
    cache.replace_first(first)
    for typed, rest in (("", "one three"), ("o", "ne two"), ("one ", "two"), ("one th", "ree"), ("", "one three")):
        found = cache.find(spot_at(f"x = {typed}|"), "line")
        assert found is not None
        assert found.text == rest
