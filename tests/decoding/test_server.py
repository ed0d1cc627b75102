"""The engine as a process: who is let in, what is answered, how it begins and ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from decoding.protocol import Address, CompletionStats, Health, confidence_from_json, is_proven

PROMPT = "import os\n\n\ndef area(width, height):\n    return "


class Engine:
    """A child process and how to reach it."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path) -> None:
        self.process = process
        self.directory = directory

    @property
    def address(self) -> Address:
        found = Address.read(self.directory)
        assert found is not None
        return found

    def wait_for_address(self) -> None:
        deadline = time.monotonic() + 60
        while Address.read(self.directory) is None:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline
            time.sleep(0.02)

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(encoding="utf-8")

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.address.token}"}


@contextlib.contextmanager
def start(directory: Path, *arguments: str) -> Iterator[Engine]:
    directory.mkdir(mode=0o700, exist_ok=True)
    command = [sys.executable, "-P", "-m", "decoding", "serve", "--runtime-dir", str(directory), *arguments]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory)
    try:
        yield Engine(process, directory)
    finally:
        process.terminate()
        process.wait(60)


async def health(engine: Engine, nonce: str = "ab") -> Health:
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"{engine.address.url}/health", params={"nonce": nonce}) as answer,
    ):
        return Health.from_json(await answer.json())


async def wait_until(engine: Engine, status: str) -> Health:
    while True:
        found = await health(engine)
        if found.status != "loading":
            assert found.status == status, found.detail
            return found
        await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def running(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with start(tmp_path_factory.mktemp("engine"), "--model", str(tiny_model)) as engine:
        engine.wait_for_address()
        asyncio.run(wait_until(engine, "ready"))
        yield engine


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def post(client: aiohttp.ClientSession, engine: Engine, **body: Any) -> tuple[int, dict[str, Any]]:
    url = f"{engine.address.url}/v1/completions"
    async with client.post(url, json=body, headers=engine.headers) as answer:
        return answer.status, await answer.json()


async def test_the_answer_is_openais(client: aiohttp.ClientSession, running: Engine) -> None:
    status, body = await post(client, running, prompt=PROMPT, suffix="\n", max_tokens=12)
    assert status == 200
    assert body["object"] == "text_completion"
    (choice,) = body["choices"]
    assert choice["finish_reason"] in ("stop", "length")
    stats = CompletionStats.from_json(choice["tabcast"])
    assert 1 <= stats.steps <= stats.tokens <= 12
    assert body["usage"]["completion_tokens"] == stats.tokens
    async with client.get(f"{running.address.url}/v1/models", headers=running.headers) as answer:
        assert (await answer.json())["data"][0]["id"] == body["model"]


async def test_a_stream_is_the_same_text_in_pieces(client: aiohttp.ClientSession, running: Engine) -> None:
    _, whole = await post(client, running, prompt=PROMPT, max_tokens=20)
    body = {"prompt": PROMPT, "max_tokens": 20, "stream": True}
    chunks = []
    async with client.post(f"{running.address.url}/v1/completions", json=body, headers=running.headers) as answer:
        assert answer.content_type == "text/event-stream"
        lines = [line async for line in answer.content if line.strip()]
    assert lines[-1] == b"data: [DONE]\n"
    chunks = [json.loads(line.removeprefix(b"data: "))["choices"][0] for line in lines[:-1]]
    assert "".join(chunk["text"] for chunk in chunks) == whole["choices"][0]["text"]
    assert [bool(chunk["finish_reason"]) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


async def test_logprobs_and_confidence_are_streamed_too(client: aiohttp.ClientSession, running: Engine) -> None:
    asked = {"prompt": PROMPT, "max_tokens": 20, "logprobs": 2, "tabcast": {"confidence": True}}
    _, body = await post(client, running, **asked)
    (whole,) = body["choices"]
    assert "".join(whole["logprobs"]["tokens"]) == whole["text"]
    assert all(len(best) == 2 for best in whole["logprobs"]["top_logprobs"])
    assert sum(size for size, _ in confidence_from_json(whole["tabcast"]["confidence"])) == len(whole["text"])
    url = f"{running.address.url}/v1/completions"
    async with client.post(url, json={**asked, "stream": True}, headers=running.headers) as answer:
        lines = [line.removeprefix(b"data: ") async for line in answer.content if line.strip()]
    pieces = [json.loads(line)["choices"][0] for line in lines[:-1]]
    for name in ("tokens", "token_logprobs", "text_offset"):
        streamed = [value for piece in pieces if piece["logprobs"] for value in piece["logprobs"][name]]
        assert streamed == whole["logprobs"][name]
    _, silent = await post(client, running, prompt=PROMPT, max_tokens=3)
    assert silent["choices"][0]["logprobs"] is None
    assert "confidence" not in silent["choices"][0]["tabcast"]


async def test_n_answers_and_stop_texts(client: aiohttp.ClientSession, running: Engine) -> None:
    _, body = await post(client, running, prompt=PROMPT, max_tokens=10, n=3, temperature=1.0, seed=5)
    texts = [choice["text"] for choice in body["choices"]]
    assert len(set(texts)) == 3
    _, again = await post(client, running, prompt=PROMPT, max_tokens=10, n=3, temperature=1.0, seed=5)
    assert [choice["text"] for choice in again["choices"]] == texts
    stop = texts[0][3:6]
    _, cut = await post(client, running, prompt=PROMPT, max_tokens=10, temperature=1.0, seed=5, stop=stop)
    assert cut["choices"][0]["text"] == texts[0][: texts[0].index(stop)]
    assert cut["choices"][0]["tabcast"]["reason"] == "stop_text"


async def test_every_method_gives_the_same_tokens(client: aiohttp.ClientSession, running: Engine) -> None:
    answers = [
        (await post(client, running, prompt=PROMPT, max_tokens=30, tabcast={"method": method}))[1]["choices"][0]
        for method in ("plain", "lookup", "auto", "draft", "combine")
    ]
    assert len({tuple(answer["tabcast"]["token_ids"]) for answer in answers}) == 1
    num_tokens, stopped = len(answers[0]["tabcast"]["token_ids"]), answers[0]["finish_reason"] == "stop"
    # A stop token takes a step and is none of the answer's; where a random model writes one differs by processor.
    assert answers[0]["tabcast"]["tokens_per_step"] == round(num_tokens / (num_tokens + stopped), 3)
    assert [bool(answer["tabcast"]["notice"]) for answer in answers] == [False, False, False, True, False]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "prompt"),
        ({"prompt": 3}, "prompt: expected a string"),
        ({"prompt": "x", "n": 0}, "n: expected 1 to"),
        ({"prompt": "x", "temperature": -1}, "temperature"),
        ({"prompt": "x", "stop": 4}, "stop"),
        ({"prompt": "x", "max_tokens": 4096}, "leaves no room"),
        ({"prompt": "x", "tabcast": {"method": "magic"}}, "tabcast.method"),
        ({"prompt": "x", "tabcast": {"method": "lookup+magic"}}, "got 'magic'"),
    ],
)
async def test_bad_requests_name_the_field(
    client: aiohttp.ClientSession, running: Engine, body: dict[str, Any], message: str
) -> None:
    status, answer = await post(client, running, **body)
    assert status == 400
    assert message in answer["error"]["message"]


async def test_strangers_are_refused(client: aiohttp.ClientSession, running: Engine) -> None:
    url = f"{running.address.url}/v1/completions"
    cases = [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Bearer \u00e4"}, 401),
        ({**running.headers, "Host": "evil.example"}, 403),
        ({**running.headers, "Origin": "http://localhost"}, 403),
    ]
    for headers, expected in cases:
        async with client.post(url, data=b"{}", headers=headers) as answer:
            assert answer.status == expected, headers
    async with client.get(f"{running.address.url}/health", headers={"Origin": "null"}) as answer:
        assert answer.status == 403
    async with client.post(url, data=b"not json", headers=running.headers) as answer:
        assert answer.status == 400


async def test_the_proof_shows_who_knows_the_token(running: Engine) -> None:
    assert is_proven(running.address, "ab", await health(running, "ab"))
    assert not is_proven(running.address, "cd", await health(running, "ab"))
    stranger = Address(port=running.address.port, token="other" * 10, pid=1)
    assert not is_proven(stranger, "ab", await health(running, "ab"))


async def _counters(client: aiohttp.ClientSession, engine: Engine) -> dict[str, float]:
    async with client.get(f"{engine.address.url}/metrics", headers=engine.headers) as answer:
        rows = (line.rsplit(" ", 1) for line in (await answer.text()).splitlines())
        return {name: float(value) for name, value in rows}


async def test_a_client_that_goes_away_ends_its_request(client: aiohttp.ClientSession, running: Engine) -> None:
    before = (await _counters(client, running)).get("tabcast_requests_cancelled_total", 0)
    body = {"prompt": PROMPT * 3, "max_tokens": 200, "temperature": 1.0, "n": 16, "stream": True}
    async with client.post(f"{running.address.url}/v1/completions", json=body, headers=running.headers) as answer:
        await answer.content.readline()
    while (await _counters(client, running)).get("tabcast_requests_cancelled_total", 0) == before:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def test_the_newest_request_of_a_document_wins(client: aiohttp.ClientSession, running: Engine) -> None:
    long = {"prompt": PROMPT, "max_tokens": 200, "temperature": 1.0, "n": 16, "tabcast": {"session": "a.py"}}
    before = (await _counters(client, running)).get("tabcast_requests_total", 0)
    older = asyncio.create_task(post(client, running, **long))
    other = asyncio.create_task(post(client, running, **{**long, "n": 1, "tabcast": {"session": "b.py"}}))
    while (await _counters(client, running)).get("tabcast_requests_total", 0) < before + 2:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    _, newer = await post(client, running, prompt=PROMPT, max_tokens=5, tabcast={"session": "a.py"})
    assert newer["choices"][0]["tabcast"]["reason"] != "superseded"
    assert (await older)[1]["choices"][0]["tabcast"]["reason"] == "superseded"
    assert (await other)[1]["choices"][0]["tabcast"]["reason"] != "superseded"


def test_files_are_private_and_the_log_is_silent_about_texts(running: Engine) -> None:
    assert stat.S_IMODE(running.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((running.directory / "engine.json").stat().st_mode) == 0o600
    assert running.address.token not in running.log
    assert "area" not in running.log


def test_a_second_engine_says_so(running: Engine) -> None:
    with start_second(running.directory) as (code, message):
        assert code == 3
        assert "running" in message
        assert message.count("\n") == 1


@contextlib.contextmanager
def start_second(directory: Path, *arguments: str) -> Iterator[tuple[int, str]]:
    command = [sys.executable, "-P", "-m", "decoding", "serve", "--runtime-dir", str(directory), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    yield done.returncode, done.stderr


def test_a_port_in_use_says_so(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with start_second(tmp_path / "run", "--port", str(port)) as (code, message):
            assert code == 4
            assert message == f"tabcast: port {port} is in use by another program\n"


def _remove_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _remove_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _remove_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_remove_config, "config.json is missing"),
        (_remove_tokenizer, "tokenizer.json is missing"),
        (_remove_weights, "pytorch_model.bin is not safetensors"),
        (_cut_weights, "cut short"),
    ],
)
def test_a_broken_model_folder_is_told_in_one_line(tiny_model: Path, tmp_path: Path, spoil: Any, message: str) -> None:
    import shutil

    from decoding.config import EngineConfig
    from decoding.errors import ModelError
    from decoding.models.loading.model_set import load_models

    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    load_models(EngineConfig(model=str(folder), device="cpu"))
    spoil(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load_models(EngineConfig(model=str(folder), device="cpu"))
    assert "\n" not in str(caught.value)


async def test_a_missing_model_is_a_state_and_an_exit_code(tmp_path: Path) -> None:
    with start(tmp_path / "run", "--model", str(tmp_path / "nowhere")) as engine:
        engine.wait_for_address()
        found = await wait_until(engine, "failed")
        assert "there is no model at" in found.detail
        async with aiohttp.ClientSession() as client:
            status, body = await post(client, engine, prompt="x")
            assert status == 503
            assert body["error"]["code"] == "failed"
            async with client.post(f"{engine.address.url}/v1/tabcast/stop", headers=engine.headers) as answer:
                assert answer.status == 200
        assert engine.process.wait(60) == 5
        assert Address.read(engine.directory) is None


def test_an_idle_engine_exits(tiny_model: Path, tmp_path: Path) -> None:
    with start(tmp_path / "run", "--model", str(tiny_model), "--idle-minutes", "0.03") as engine:
        assert engine.process.wait(60) == 0
        assert not (engine.directory / "engine.json").exists()


def test_a_port_that_was_asked_for_keeps_its_token(tiny_model: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tokens = set()
    for _ in range(2):
        with start(tmp_path / "run", "--model", str(tiny_model), "--port", str(port)) as engine:
            engine.wait_for_address()
            assert engine.address.port == port
            tokens.add(engine.address.token)
            os.kill(engine.process.pid, signal.SIGTERM)
            assert engine.process.wait(60) == 0
    assert len(tokens) == 1


def test_nothing_from_the_working_directory_runs(tmp_path: Path) -> None:
    for name in ("torch.py", "decoding.py", "aiohttp.py", "sitecustomize.py"):
        (tmp_path / name).write_text("raise SystemExit('the workspace ran')\n", encoding="utf-8")
    command = [sys.executable, "-P", "-m", "decoding", "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


async def test_a_killed_engines_successor_goes_on_with_what_was_kept_on_disk(
    client: aiohttp.ClientSession, tiny_model: Path, tmp_path: Path
) -> None:
    lines = [f"value_{i} = compute({i}, other_{i % 7})\n" for i in range(8)]
    asked = {"prompt": "".join(lines[:7]), "suffix": "\n" + lines[7], "max_tokens": 8, "tabcast": {"path": "a.py"}}
    trunk = {"session": "a.py", "path": "a.py", "prepare": "trunk", "keep": True}
    arguments = ("--model", str(tiny_model))
    with start(tmp_path / "first", *arguments) as engine:
        engine.wait_for_address()
        assert (await wait_until(engine, "ready")).cache_on_disk_mb == 0
        _, cold = await post(client, engine, **asked)
        await post(client, engine, prompt="".join(lines), tabcast=trunk)
        async with asyncio.timeout(60):
            while (await health(engine)).cache_on_disk_mb == 0:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        engine.process.kill()
        engine.process.wait(60)
    with start(tmp_path / "second", *arguments) as engine:
        engine.wait_for_address()
        assert (await wait_until(engine, "ready")).cache_on_disk_mb > 0
        _, warm = await post(client, engine, **asked)
    before, after = (CompletionStats.from_json(body["choices"][0]["tabcast"]) for body in (cold, warm))
    assert before.cached_tokens == 0
    assert after.cached_tokens >= 64
    assert after.token_ids == before.token_ids
