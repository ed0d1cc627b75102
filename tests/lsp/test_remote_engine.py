"""Servers of the user's configuration file, played by stand-ins: each dialect, and what goes wrong with them."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientConnectorDNSError
from aiohttp.client_reqrep import ConnectionKey

from decoding.protocol import CompletionOptions, CompletionRequest, CompletionStats, ContextFile, Health
from lsp_server.engine.client import EngineClient
from lsp_server.engine.engines_file import check_engine
from lsp_server.engine.model_choice import EngineSpec
from lsp_server.engine.remote import RemoteEngine
from lsp_server.engine.remote_trouble import worded_for
from lsp_server.engine.stream import Delta, EngineUnavailable, Part
from tests.certificates import make_certificate
from tests.lsp.conftest import FakeRuntime, until
from tests.lsp.stand_in import ROUTES, StandIn, serving

KINDS = tuple(ROUTES)
LINE = CompletionRequest(
    prompt="def f():\n    ",
    suffix="\nf()\n",
    max_tokens=16,
    tabcast=CompletionOptions(
        path="f.py", line_mode="line", confidence=True, context=(ContextFile(path="a.py", text="A = 1\n"),)
    ),
)
LOCAL = EngineSpec(arguments=(), directory=Path("absent"))


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def client_of(url: str, on_health: Callable[[Health], None] | None = None, **table: Any) -> AsyncIterator[Any]:
    clock = Clock()
    client = RemoteEngine(check_engine("team", {"url": url, **table}), LOCAL, on_health, clock=clock)
    client.clock = clock  # type: ignore[attr-defined]
    try:
        yield client
    finally:
        await client.close()


async def parts_of(client: RemoteEngine, request: CompletionRequest = LINE) -> list[Part]:
    async with aclosing(client.complete(request)) as parts:
        return [part async for part in parts]


def text_in(parts: list[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Delta))


async def failure(client: RemoteEngine) -> EngineUnavailable:
    with pytest.raises(EngineUnavailable) as caught:
        await parts_of(client)
    return caught.value


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_is_found_out_asked_and_read(kind: str) -> None:
    async with serving(StandIn(kind=kind)) as server, client_of(f"{server.url}/v1") as client:
        health = await client.ensure()
        parts = await parts_of(client)
    assert (health.status, client.facts.kind) == ("ready", kind)
    assert text_in(parts) == "print(1)"
    assert isinstance(parts[-1], CompletionStats)
    assert parts[-1].reason == "line"
    assert server.paths[-1] == ROUTES[kind]
    assert health.context_tokens == (0 if kind == "openai" else 8192)
    scored = [pair for part in parts if isinstance(part, Delta) for pair in part.confidence]
    assert scored == ([] if kind == "mistral" else [(6, -0.5), (2, -0.5)])


async def test_prompts_are_in_the_tokens_of_the_model() -> None:
    wanted = (
        "<|file_sep|>a.py\nA = 1\n<|file_sep|>f.py\n<|fim_prefix|>def f():\n    <|fim_suffix|>\nf()\n<|fim_middle|>"
    )
    for kind in ("vllm", "llama.cpp", "ollama"):
        async with serving(StandIn(kind=kind)) as server, client_of(server.url) as client:
            await parts_of(client)
        body = server.bodies[0]
        assert body["prompt"] == wanted
        stops = body["options"]["stop"] if kind == "ollama" else body["stop"]
        assert stops[:2] == ["\n", "<|endoftext|>"]
        assert len(stops) <= 4 or kind != "vllm"
        assert "suffix" not in body
        assert body.get("raw") is (True if kind == "ollama" else None)


async def test_other_servers_lay_out_prefix_and_suffix_themselves() -> None:
    for kind in ("sglang", "openai", "mistral"):
        async with serving(StandIn(kind=kind)) as server, client_of(server.url) as client:
            await parts_of(client)
        assert (server.bodies[0]["prompt"], server.bodies[0]["suffix"]) == ("def f():\n    ", "\nf()\n")
    async with serving(StandIn(kind="llama.cpp", model="unheard-of")) as server, client_of(server.url) as client:
        await parts_of(client)
    body = server.bodies[0]
    assert server.paths[-1] == "/infill"
    assert (body["input_prefix"], body["input_suffix"]) == ("def f():\n    ", "\nf()\n")
    assert body["input_extra"] == [{"filename": "a.py", "text": "A = 1\n"}]


async def test_a_prompt_keeps_to_the_servers_window() -> None:
    long = "".join(f"value_{number} = {number}\n" for number in range(2000))
    request = CompletionRequest(prompt=long, suffix=long, max_tokens=16)
    async with serving(StandIn(kind="vllm", context_tokens=512)) as server, client_of(server.url) as client:
        await parts_of(client, request)
    prompt = server.bodies[0]["prompt"]
    assert len(prompt) < 512 * 3
    assert "value_1999 = 1999\n<|fim_suffix|>value_0 = 0\n" in prompt


async def test_an_engine_of_tabcast_elsewhere(
    runtime: FakeRuntime, make_client: Callable[..., EngineClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.script("value", context_tokens=2048)
    await make_client().ensure()
    address = runtime.address()
    assert address is not None
    monkeypatch.setenv("TEAM_KEY", address.token)
    for kind in ("", "tabcast"):
        async with client_of(address.url, kind=kind, api_key_env="TEAM_KEY") as client:
            health = await client.ensure()
            assert (health.status, client.facts.kind, health.proof) == ("ready", "tabcast", "")
            assert text_in(await parts_of(client)) == "value"
    body = runtime.events("request")[-1]["body"]
    assert body["tabcast"]["context"] == [{"path": "a.py", "text": "A = 1\n"}]


@pytest.mark.parametrize(
    ("kind", "words"),
    [("tabcast", "no engine of Tabcast; correct its kind"), ("ollama", "or is of another kind"), ("mistral", "kind")],
)
async def test_a_server_that_is_not_what_its_kind_says(kind: str, words: str) -> None:
    table = {"kind": kind, "model": "qwen2.5-coder-7b"}
    async with serving(StandIn(kind="vllm")) as server, client_of(server.url, **table) as client:
        assert words in str(await failure(client))


@pytest.mark.parametrize("kind", KINDS)
async def test_closing_the_stream_ends_the_servers_work(kind: str) -> None:
    async with serving(StandIn(kind=kind, fault="slow")) as server, client_of(server.url) as client:
        await client.ensure()
        asking = asyncio.create_task(parts_of(client))
        await until(lambda: server.bodies, "the request")
        asking.cancel()
        await until(lambda: server.num_cut, "the end of the server's work")
        server.fault = ""
        assert text_in(await parts_of(client)) == "print(1)"


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (401, "refused", "wants a key"),
        (403, "refused", "lets nobody in"),
        (404, "refused", "another kind"),
        (429, "refused", "limit is reached"),
        (500, "failed", "HTTP 500"),
        (400, "refused", "is its kind right?"),
        ("redirect", "refused", "elsewhere"),
        ("cut", "lost", "broke off"),
        ("error", "lost", "broke off"),
        ("nonsense", "protocol", "can't be understood"),
        ("plain", "protocol", "can't be understood"),
        ("endless", "protocol", "can't be understood"),
    ],
)
async def test_a_failure_is_one_sentence_and_the_server_is_left_alone(fault: Any, code: str, words: str) -> None:
    states: list[Health] = []
    async with serving(StandIn(kind="vllm", fault=fault)) as server, client_of(server.url, states.append) as client:
        error = await failure(client)
        assert error.code == code
        assert words in str(error)
        assert str(error).startswith("engine team: ")
        assert "SECRET" not in str(error)
        num_asked = len(server.paths)
        again = await failure(client)
        assert (str(again), again.code) == (str(error), "backing off")
        assert len(server.paths) == num_asked
        assert (states[-1].status in ("absent", "failed"), states[-1].detail) == (True, str(error))
        server.fault = ""
        client.clock.now_s += 20
        assert text_in(await parts_of(client)) == "print(1)"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("fault", "code"),
    [("cut", "lost"), ("error", "lost"), *((fault, "protocol") for fault in ("nonsense", "plain", "endless", "empty"))],
)
async def test_a_stream_that_goes_wrong_is_one_sentence_in_every_dialect(kind: str, fault: str, code: str) -> None:
    async with serving(StandIn(kind=kind, fault=fault)) as server, client_of(server.url) as client:
        error = await failure(client)
    assert (error.code, str(error).startswith("engine team: "), "SECRET" in str(error)) == (code, True, False)


@pytest.mark.parametrize(
    ("kind", "status", "said", "told"),
    [
        ("llama.cpp", 501, "Infill is not supported by this model: suffix token is missing.", "fim = 'none'"),
        ("ollama", 400, "registry.ollama.ai/library/phi does not support insert", "name the model's tokens by fim"),
        ("openai", 400, "suffix is not supported with this model SECRET", "name the model's tokens by fim"),
    ],
)
async def test_a_model_that_does_not_fill_in_the_middle(kind: str, status: int, said: str, told: str) -> None:
    stand_in = StandIn(kind=kind, model="phi", fault=status, words=said)
    async with serving(stand_in) as server, client_of(server.url) as client:
        error = str(await failure(client))
        assert told in error
        assert "SECRET" not in error
    async with serving(StandIn(kind=kind, model="phi")) as server, client_of(server.url, fim="none") as client:
        assert text_in(await parts_of(client)) == "print(1)"
        assert "suffix" not in server.bodies[-1]


async def test_a_host_that_is_not_there() -> None:
    key = ConnectionKey("code.example.org", 443, True, True, None, None, None)
    error = ClientConnectorDNSError(key, OSError("Name or service not known"))
    spec = check_engine("team", {"url": "https://code.example.org/v1"})
    assert str(worded_for(spec, error)) == "engine team: there is no host code.example.org"


async def test_the_server_says_how_long_it_wants_to_be_left_alone() -> None:
    async with serving(StandIn(kind="vllm", fault=429, retry_after="120")) as server, client_of(server.url) as client:
        await failure(client)
        client.clock.now_s += 100
        assert (await failure(client)).code == "backing off"
        client.clock.now_s += 21
        server.fault = ""
        assert text_in(await parts_of(client)) == "print(1)"


async def test_a_kept_connection_that_the_server_closed_is_no_failure() -> None:
    async with serving(StandIn(kind="vllm")) as server, client_of(server.url) as client:
        await parts_of(client)
        session = client._connection._session
        kept = [proto for entries in session.connector._conns.values() for proto, _ in entries]
        for proto in kept:  # as if the other side had closed it just now
            proto.transport.close()
        assert text_in(await parts_of(client)) == "print(1)"


async def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with client_of(f"http://127.0.0.1:{port}") as client:
        error = await failure(client)
    assert (error.code, str(error)) == ("absent", f"engine team: nothing answers at http://127.0.0.1:{port}")


async def test_a_server_that_says_nothing_counts_as_gone() -> None:
    async with serving(StandIn(kind="vllm", fault="slow")) as server, client_of(server.url) as client:
        await client.ensure()
        for number in range(2):
            asking = asyncio.create_task(parts_of(client))
            await until(lambda number=number: len(server.bodies) > number, "the request")
            client.clock.now_s += 5
            asking.cancel()
            await asyncio.wait([asking])
        assert "in time" in str(await failure(client))


async def test_what_a_server_cannot_do_is_not_asked() -> None:
    ahead = CompletionRequest(prompt="x", tabcast=CompletionOptions(priority="idle"))
    read = CompletionRequest(prompt="x", tabcast=CompletionOptions(priority="idle", prepare="place"))
    for kind, request in (("openai", ahead), ("vllm", read)):
        async with serving(StandIn(kind=kind)) as server, client_of(server.url) as client:
            with pytest.raises(EngineUnavailable) as caught:
                await parts_of(client, request)
            assert (caught.value.code, server.bodies) == ("superseded", [])
            assert text_in(await parts_of(client)) == "print(1)"


@pytest.mark.parametrize("kind", ["vllm", "openai", "llama.cpp", "ollama", "mistral"])
async def test_another_answer_is_sampled(kind: str) -> None:
    """Servers of others have one greedy answer."""
    async with serving(StandIn(kind=kind)) as server, client_of(server.url) as client:
        await parts_of(client, CompletionRequest(prompt="x"))
        await parts_of(client, CompletionRequest(prompt="x", tabcast=CompletionOptions(choice=1)))
        assert ["0.6" in str(body) for body in server.bodies] == [False, True]


async def test_the_model_must_be_there() -> None:
    async with serving(StandIn(kind="vllm")) as server, client_of(server.url, model="other") as client:
        assert str(await failure(client)) == "engine team: it has no model 'other'; it has qwen2.5-coder-7b"


async def test_keys_go_to_the_server_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = "sk-very-secret-0123456789"
    file = tmp_path / "key"
    file.write_text(key + "\n")
    file.chmod(0o600)
    monkeypatch.setenv("TEAM_KEY", key)
    async with serving(StandIn(kind="vllm", key=key)) as server:
        for table in ({"api_key_env": "TEAM_KEY"}, {"api_key_file": str(file)}):
            async with client_of(server.url, **table) as client:
                assert text_in(await parts_of(client)) == "print(1)"
                shown = [repr(client), repr(client.engine), repr(client._connection), caplog.text]
                assert not any(key in text for text in shown)
        monkeypatch.setenv("TEAM_KEY", "wrong")
        async with client_of(server.url, api_key_env="TEAM_KEY") as client:
            assert str(await failure(client)) == "engine team: the key in TEAM_KEY is refused"
            monkeypatch.setenv("TEAM_KEY", key)  # a new key is read with the next attempt
            client.clock.now_s += 20
            assert text_in(await parts_of(client)) == "print(1)"
        async with client_of(server.url) as client:
            assert "wants a key" in str(await failure(client))


@pytest.mark.skipif(os.name != "posix", reason="there are no such modes")
async def test_a_key_that_others_can_read_or_that_is_missing_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEAM_KEY", raising=False)
    file = tmp_path / "key"
    file.write_text("sk-x")
    file.chmod(0o644)
    async with serving(StandIn(kind="vllm")) as server:
        for table, words in (
            ({"api_key_file": str(file)}, f"'chmod 600 {file}' keeps them out"),
            ({"api_key_file": str(tmp_path / "absent")}, "can't be read"),
            ({"api_key_env": "TEAM_KEY"}, "TEAM_KEY, its key, is not set"),
        ):
            async with client_of(server.url, **table) as client:
                assert words in str(await failure(client))
        assert server.paths == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, with its key, that nobody else knows."""
    certificate, file = make_certificate(tmp_path_factory.mktemp("tls"))
    file.write_text(file.read_text() + certificate.read_text())
    return file


async def test_certificates_are_checked(certificate: Path, tmp_path: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    async with serving(StandIn(kind="vllm"), tls=tls) as server:
        async with client_of(server.url) as client:
            assert "is not trusted; name its authority by ca_file" in str(await failure(client))
        assert server.paths == []
        async with client_of(server.url, ca_file=str(certificate.with_suffix(".crt"))) as client:
            assert text_in(await parts_of(client)) == "print(1)"
        (tmp_path / "empty.pem").write_text("none")
        async with client_of(server.url, ca_file=str(tmp_path / "empty.pem")) as client:
            assert "holds no certificate" in str(await failure(client))


async def test_a_proxy_serves_other_machines_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(StandIn(kind="vllm")) as server, serving(StandIn(kind="vllm")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        async with client_of(server.url) as client:
            assert text_in(await parts_of(client)) == "print(1)"
        assert proxy.paths == []
        async with client_of("http://code.example.org", plain_http=True) as client:
            assert text_in(await parts_of(client)) == "print(1)"
        assert proxy.paths
