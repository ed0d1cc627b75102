"""A real llama.cpp server, where `TABCAST_LLAMA_SERVER` has the command that starts one with a model.

The command is completed by a port: `TABCAST_LLAMA_SERVER="llama-server -m qwen2.5-coder.gguf"`.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.lsp.test_remote_engine import LINE, client_of, parts_of, text_in

COMMAND = shlex.split(os.environ.get("TABCAST_LLAMA_SERVER", ""))
START_S = 180

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(not COMMAND, reason="TABCAST_LLAMA_SERVER names no command that starts a server"),
]


def asked(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--host", "127.0.0.1", "--port", str(port), "-c", "2048", "-np", "1", "-t", "2", "--slots", "--metrics"]
    log = tmp_path_factory.mktemp("llama") / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen([*COMMAND, *options], stdout=output, stderr=subprocess.STDOUT)
    end = time.monotonic() + START_S
    try:
        while True:
            assert process.poll() is None, log.read_text(errors="replace")[-2000:]
            assert time.monotonic() < end, "the server did not start"
            try:
                if "ok" in asked(f"http://127.0.0.1:{port}/health"):
                    break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("fim", ["qwen", "server"])
async def test_it_is_found_out_and_completes_a_line(server: str, fim: str) -> None:
    async with client_of(server, fim=fim) as client:
        health = await client.ensure()
        assert (client.facts.kind, health.context_tokens) == ("llama.cpp", 2048)
        parts = await parts_of(client, LINE)
        again = await parts_of(client, LINE)
    assert text_in(parts)
    assert "\n" not in text_in(parts)
    assert text_in(again) == text_in(parts)
    assert parts[-1].reason in ("line", "stop", "length")
    assert all(log_prob <= 0 for part in parts[:-1] for _, log_prob in part.confidence)


@pytest.mark.parametrize("fim", ["qwen", "server"])
async def test_a_half_word_is_written_again(server: str, fim: str) -> None:
    request = replace(LINE, prompt="items = []\nitems.app", suffix="\nprint(items)\n")
    async with client_of(server, fim=fim) as client:
        parts = await parts_of(client, request)
    assert text_in(parts).startswith("end(")
    assert sum(size for part in parts[:-1] for size, _ in part.confidence) == len(text_in(parts))


async def test_closing_the_stream_frees_its_slot(server: str) -> None:
    endless = replace(LINE.tabcast, line_mode="free")
    long = replace(LINE, max_tokens=1500, tabcast=endless, prompt="numbers = [1, 2, 3, ")
    async with client_of(server, fim="none") as client:
        stream = client.complete(long)
        await anext(stream)
        await stream.aclose()
        end = time.monotonic() + 60
        while '"is_processing":true' in (await asyncio.to_thread(asked, f"{server}/slots")).replace(" ", ""):
            assert time.monotonic() < end, "the server works on"
            await asyncio.sleep(0.1)
