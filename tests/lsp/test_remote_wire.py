"""A language server whose user's file names a server elsewhere, over the wire."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from decoding.protocol import CompletionRequest, Health
from lsp_server.engine.client import EngineClient
from lsp_server.engine.engines_file import check_engine
from lsp_server.engine.fallback import WithFallback
from lsp_server.engine.remote import RemoteEngine
from lsp_server.engine.stream import Delta, EngineUnavailable
from tests.lsp.conftest import FakeRuntime, Servers, until
from tests.lsp.raw_client import RawClient, did_open, inline
from tests.lsp.stand_in import StandIn, serving
from tests.lsp.test_commands import run, statuses

PROGRAM = ("-m", "lsp_server", "lsp")
SECRET = "sk-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKL"
REQUEST = CompletionRequest(prompt="x = ")


def messages(client: RawClient) -> list[str]:
    return [m["params"]["message"] for m in client.received if m.get("method") == "window/showMessage"]


async def test_the_user_is_told_once_where_text_goes_and_secrets_stay(servers: Servers, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        "[engines]\nuse = 'team'\n[engines.team]\nurl = 'http://code.example.org/v1'\nplain_http = true\n"
    )
    async with serving(StandIn(kind="vllm", pieces=("alpha", "(beta)"))) as server:
        environment = {"TABCAST_CONFIG": str(config), "http_proxy": server.url, "TABCAST_LOG": "debug"}
        client = await servers.start(program=PROGRAM, **environment)
        await client.initialize(capabilities={"experimental": {"tabcastStatus": True}})
        await client.until_engine("ready")
        client.send(did_open(f'API_KEY = "{SECRET}"\nx = \n'), inline(1, 1, 4))
        assert [item["insertText"] for item in await client.items(1)] == ["x = alpha(beta)"]
        await client.until(lambda: statuses(client), "the status")
        assert statuses(client)[-1]["destination"] == "code.example.org"
        told = [message for message in messages(client) if "code.example.org" in message]
        assert len(told) == 1
        assert "API_KEY" in server.bodies[0]["prompt"]
        assert not any(SECRET in body["prompt"] for body in server.bodies)
        assert SECRET not in servers.log()
        await client.close()


async def test_what_is_wrong_with_a_server_is_one_message(servers: Servers, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    async with serving(StandIn(kind="vllm", key="right")) as server:
        config.write_text(f"[engines]\nuse = 'team'\n[engines.team]\nurl = '{server.url}'\n")
        client = await servers.start(program=PROGRAM, TABCAST_CONFIG=str(config))
        await client.initialize(capabilities={"experimental": {"tabcastStatus": True}})
        client.send(did_open("x = \n"))
        for number in range(3):
            client.send(inline(number + 1, 0, 4))
            assert await client.items(number + 1) == []
        failed = [status for status in statuses(client) if status["state"] == "failed"]
        assert len(failed) == 1
        assert failed[0]["message"].startswith("engine team: it wants a key")
        assert failed[0]["action"].startswith("run 'tabcast engine test team'")
        assert servers.log().count("it wants a key") == 1
        config.write_text("[engines]\nuse = 'team'\n[engines.team]\nurl = 'nonsense'\n")
        await run(client, "restartEngine")  # reads the file anew
        await client.until(lambda: "url must be like" in statuses(client)[-1]["message"], "the other reason")
        await client.close()


async def text_of(client: WithFallback) -> str:
    async with aclosing(client.complete(REQUEST)) as parts:
        return "".join([part.text async for part in parts if isinstance(part, Delta)])


async def test_the_engine_of_this_machine_answers_while_the_server_is_away(
    runtime: FakeRuntime, make_client: Callable[..., EngineClient], caplog: pytest.LogCaptureFixture
) -> None:
    runtime.script("local")
    states: list[Health] = []
    now_s = [0.0]
    async with serving(StandIn(kind="vllm", pieces=("remote",), fault=500)) as server:
        remote = RemoteEngine(check_engine("team", {"url": server.url}), runtime.spec, clock=lambda: now_s[0])
        client = WithFallback(remote, make_client(), states.append)
        assert (await client.wait_ready()).status == "ready"
        with pytest.raises(EngineUnavailable):  # no other engine runs yet: the session wakes one
            await text_of(client)
        await client.ensure()
        health = await client.wait_ready()
        assert health.held.endswith("in place of team")
        assert "HTTP 500" in health.detail
        assert await text_of(client) == "local"
        assert caplog.text.count("the engine on this machine answers") == 1
        server.fault = ""
        now_s[0] += 60
        await text_of(client)  # looks for the server in the background
        await until(lambda: not client._reason, "the server")
        assert await text_of(client) == "remote"
        server.fault = 500  # now that the other one runs, nobody waits for it
        assert await text_of(client) == "local"
        assert states[-1].held.endswith("in place of team")
        await client.close()
