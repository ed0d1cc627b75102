"""A team's engine the whole way: a process with TLS and keys, asked by the front end that names it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from decoding.protocol import CompletionOptions, CompletionRequest, CompletionStats
from decoding.storage.team_keys import new_key, revoke_key
from lsp_server.engine.engines_file import check_engine
from lsp_server.engine.model_choice import EngineSpec
from lsp_server.engine.remote import RemoteEngine
from lsp_server.engine.stream import Delta, EngineUnavailable
from tests.certificates import make_certificate

SECRET = "the_secret_of_the_text"
LINE = CompletionRequest(
    prompt=f"def {SECRET}(width, height):\n    return ",
    suffix="\n",
    max_tokens=12,
    tabcast=CompletionOptions(path="a.py", session="a.py", language="python"),
)
# So long that no test outlasts it: 16 answers, each sampled and of many tokens.
LONG = CompletionRequest(prompt=SECRET, max_tokens=200, n=16, temperature=1.0, seed=1)


class TeamEngine:
    """The process, its keys, and where it listens."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.arguments = arguments
        self.keys = folder / "keys.json"
        self.certificate, self.key = folder / "server.crt", folder / "server.pem"
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")

    def give(self, name: str, **limits: Any) -> Path:
        """Make a key, and return the file in which its user keeps it."""
        file = self.folder / f"{name}.key"
        file.write_text(new_key(self.keys, name, **limits))
        file.chmod(0o600)
        return file

    def start(self) -> None:
        """Start it, at the port of before if there was one, and wait until it listens."""
        command = [sys.executable, "-P", "-m", "decoding", "team-serve", "--keys", str(self.keys)]
        command += ["--certificate", str(self.certificate), "--key", str(self.key), "--port", str(self.port)]
        before = len(self.log) if (self.folder / "log").exists() else 0
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )
        deadline = time.monotonic() + 120
        while (found := re.search(r"listening on https://127\.0\.0\.1:(\d+)", self.log[before:])) is None:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.port = int(found[1])

    def end(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(60)


@contextmanager
def running(folder: Path, model: Path, *arguments: str) -> Iterator[TeamEngine]:
    engine = TeamEngine(folder, "--model", str(model), "--draft", "none", *arguments)
    make_certificate(folder)
    engine.give("someone")
    engine.start()
    try:
        yield engine
    finally:
        engine.end()


@pytest.fixture(scope="module")
def engine(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TeamEngine]:
    with running(tmp_path_factory.mktemp("team"), tiny_model) as engine:
        yield engine


class Clock:
    """Passes when it is told to, so that no test waits for a server to be left alone."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def front_end(engine: TeamEngine, key: Path, **table: Any) -> AsyncIterator[tuple[RemoteEngine, Clock]]:
    values = {"kind": "tabcast", "url": f"https://127.0.0.1:{engine.port}/v1", "api_key_file": str(key)}
    spec = check_engine("team", {**values, "ca_file": str(engine.certificate), **table})
    clock = Clock()
    client = RemoteEngine(spec, EngineSpec(arguments=(), directory=Path("absent")), clock=clock)
    try:
        yield client, clock
    finally:
        await client.close()


async def answer_of(client: RemoteEngine, request: CompletionRequest = LINE) -> tuple[str, CompletionStats]:
    await client.wait_ready()
    async with aclosing(client.complete(request)) as parts:
        found = [part async for part in parts]
    stats = found[-1]
    assert isinstance(stats, CompletionStats)
    return "".join(part.text for part in found if isinstance(part, Delta)), stats


async def failure(client: RemoteEngine, request: CompletionRequest = LINE) -> EngineUnavailable:
    with pytest.raises(EngineUnavailable) as caught:
        await answer_of(client, request)
    return caught.value


@asynccontextmanager
async def figures_of(engine: TeamEngine) -> AsyncIterator[Any]:
    """A function that reads the engine's figures, with a key that opens them alone."""
    file = engine.folder / "prometheus.key"
    key = file.read_text() if file.exists() else engine.give("prometheus", right="metrics").read_text()
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as http:

        async def read(name: str) -> float:
            async with http.get(f"https://127.0.0.1:{engine.port}/metrics", ssl=False) as answer:
                rows = (line.rpartition(" ") for line in (await answer.text()).splitlines())
                return {row[0]: row[2] for row in rows}.get(name, 0.0)  # type: ignore[return-value]

        yield lambda name: _number(read(name))


async def _number(text: Any) -> float:
    return float(await text)


async def test_people_with_keys_get_equal_text_and_caches_of_their_own(engine: TeamEngine) -> None:
    async with (
        front_end(engine, engine.give("anna")) as (anna, _),
        front_end(engine, engine.give("berta")) as (berta, _),
    ):
        first, cold = await answer_of(anna)
        again, warm = await answer_of(anna)
        other, others = await answer_of(berta)
    assert first == again == other
    assert warm.cached_tokens > 0
    assert cold.cached_tokens == others.cached_tokens == 0


async def test_a_stream_that_is_closed_ends_the_work(engine: TeamEngine) -> None:
    async with front_end(engine, engine.give("clara")) as (client, _), figures_of(engine) as figure:
        await client.wait_ready()
        async with aclosing(client.complete(LONG)) as parts:
            await anext(parts)
        async with asyncio.timeout(60):
            while not await figure('tabcast_user_requests_total{user="clara",outcome="cancelled"}'):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        async with asyncio.timeout(60):
            while await figure("tabcast_requests_cancelled_total") < 1:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def test_a_wrong_key_and_an_unknown_certificate_are_told(engine: TeamEngine, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.key"
    wrong.write_text("tabcast-wrong")
    wrong.chmod(0o600)
    async with front_end(engine, wrong) as (client, _):
        error = await failure(client)
    assert str(error) == f"engine team: the key in {wrong} is refused"
    other, _ = make_certificate(tmp_path, "other")
    async with front_end(engine, wrong, ca_file=str(other)) as (client, _):
        assert "doesn't fit ca_file" in str(await failure(client))
    async with front_end(engine, wrong, url=f"http://127.0.0.1:{engine.port}/v1") as (client, _):
        assert "engine team" in str(await failure(client))
    assert "tabcast-wrong" not in engine.log


async def test_a_key_that_is_revoked_ends_the_stream_and_the_next_request(engine: TeamEngine) -> None:
    key = engine.give("doris")
    async with front_end(engine, key) as (client, clock):
        await client.wait_ready()
        async with aclosing(client.complete(LONG)) as parts:
            await anext(parts)
            revoke_key(engine.keys, "doris")
            with pytest.raises(EngineUnavailable):
                [part async for part in parts]
        clock.now_s += 1000
        assert str(await failure(client)) == f"engine team: the key in {key} is refused"


async def test_a_limit_is_told_and_the_engine_left_alone_for_as_long_as_it_says(engine: TeamEngine) -> None:
    key = engine.give("emily", concurrent=1)
    async with front_end(engine, key) as (busy, _), front_end(engine, key) as (client, clock):
        await busy.wait_ready()
        async with aclosing(busy.complete(LONG)) as parts:
            await anext(parts)
            error = await failure(client)
        assert "HTTP 429" in str(error)
        assert error.retry_s == 1
        assert not client.may_be_asked
        clock.now_s += 10  # a refusal is left alone for ten seconds at least
        assert client.may_be_asked


async def test_the_log_has_names_and_no_texts_or_keys(engine: TeamEngine) -> None:
    key = engine.give("frida")
    async with front_end(engine, key) as (client, _):
        await answer_of(client)
    deadline = time.monotonic() + 60
    while "user=frida outcome=finished" not in engine.log:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert SECRET not in engine.log
    assert key.read_text() not in engine.log


async def test_an_engine_that_is_started_anew_is_found_again(tiny_model: Path, tmp_path: Path) -> None:
    """And a signal lets it finish what it writes; what is asked meanwhile is refused."""
    with running(tmp_path, tiny_model) as engine:
        async with front_end(engine, engine.give("anna")) as (client, clock):
            before, _ = await answer_of(client)
            await _finishes_its_answer(engine, client)
            assert engine.process is not None
            assert await asyncio.to_thread(engine.process.wait, 60) == 0
            assert (await failure(client)).code in ("lost", "absent")
            await asyncio.to_thread(engine.start)
            clock.now_s += 1000
            after, stats = await answer_of(client)
            assert (after, stats.cached_tokens) == (before, 0)
            async with aclosing(client.complete(LONG)) as parts:
                await anext(parts)
                async with asyncio.timeout(60):
                    while engine.process.poll() is None:
                        engine.process.send_signal(signal.SIGTERM)
                        await asyncio.sleep(0.2)
        assert engine.log.count("stopped") == 2


async def _finishes_its_answer(engine: TeamEngine, client: RemoteEngine) -> None:
    assert engine.process is not None
    request = CompletionRequest(prompt=SECRET, max_tokens=60, n=2, temperature=1.0, seed=3)
    async with aclosing(client.complete(request)) as parts:
        await anext(parts)
        engine.process.send_signal(signal.SIGTERM)
        last = [part async for part in parts][-1]
    assert isinstance(last, CompletionStats)
    assert last.reason in ("stop", "length")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--host", "0.0.0.0"], 2, "in the clear"),
        (["--host", "::"], 2, "in the clear"),
        (["--certificate", "absent.crt"], 2, "both --certificate and --key"),
        (["--certificate", "absent.crt", "--key", "absent.pem"], 2, "can't be read"),
        (["--certificate", "server.pem", "--key", "server.pem"], 2, "no PEM files of a certificate"),
        (["--certificate", "server.crt", "--key", "other.pem"], 2, "don't belong together"),
        (["--certificate", "server.crt", "--key", "open.pem"], 2, "chmod 600"),
        (["--certificate", "server.crt", "--key", "locked.pem"], 2, "without a password"),
        (["--keys", "absent.json"], 2, "there is no keys file"),
        (["--keys", "empty.json"], 2, "has nobody's key"),
        (["--keys", "open.json"], 2, "chmod 600"),
        (["--host", "203.0.113.7", "--behind-proxy"], 2, "no address of this machine"),
        (["--port", "taken"], 4, "is in use by another program"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_can_not_be_served_is_told_in_one_line(
    tmp_path: Path, arguments: list[str], code: int, told: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from decoding.__main__ import main

    monkeypatch.chdir(tmp_path)
    for name in ("server", "other"):
        make_certificate(tmp_path, name)
    (tmp_path / "open.pem").write_bytes((tmp_path / "server.pem").read_bytes())
    command = ["openssl", "rsa", "-aes256", "-passout", "pass:word", "-in", "server.pem", "-out", "locked.pem"]
    subprocess.run(command, check=True, capture_output=True)
    new_key(tmp_path / "keys.json", "anna")
    new_key(tmp_path / "open.json", "anna")
    (tmp_path / "open.json").chmod(0o644)
    new_key(tmp_path / "empty.json", "anna", right="metrics")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        given = [str(port) if argument == "taken" else argument for argument in arguments]
        keys = [] if "--keys" in given else ["--keys", "keys.json"]
        port_of = [] if "--port" in given else ["--port", "0"]
        os.umask(0o022)
        assert main(["team-serve", *given, *keys, *port_of]) == code
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("tabcast: ")
    assert told in said
