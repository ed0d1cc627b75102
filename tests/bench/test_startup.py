"""The startup suite: medians, and the real product with a tiny model, whose engines are gone afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
from pathlib import Path

import pytest

from decoding.__main__ import main
from decoding.bench.harness import live_server
from decoding.bench.suites import startup
from decoding.protocol import Address

FRONT_END = f"--front-end={shlex.join([sys.executable, '-P', '-m', 'lsp_server'])}"


def test_the_row_has_medians() -> None:
    starts = [
        startup.Start(initialize_ms=ms, engine_ready_ms=2 * ms, first_answer_ms=3 * ms, has_text=ms > 100)
        for ms in (100.0, 900.0, 200.0)
    ]
    assert startup.summarise("cold", starts) == {
        "method": "cold",
        "count": 3,
        "initialize_ms": 200,
        "engine_ready_ms": 400,
        "first_suggestion_ms": 600,
        "with_text": 2,
    }


def test_the_command(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "REPEATS", 1)
    out = tmp_path / "s.json"
    model = ["--model", str(tiny_model), "--draft", "none", "--device", "cpu", "--dtype", "float32"]
    assert main(["bench", "startup", *model, FRONT_END, "--json", str(out)]) == 0
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert [row["method"] for row in rows] == ["cold", "warm"]
    assert all(0 < row["initialize_ms"] < row["engine_ready_ms"] < row["first_suggestion_ms"] for row in rows)


def test_an_engine_that_fails_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "startup", FRONT_END, "--model", str(tmp_path)]) == 2
    assert "the language server has no engine" in capsys.readouterr().err


def test_the_runtime_directory_is_removed() -> None:
    with live_server.runtime_directory() as runtime:
        assert live_server.find_engine(runtime) is None
    assert not runtime.exists()


def test_who_is_terminated_ends_in_order() -> None:
    """What a run waits for at its end is still done by its other tasks."""
    ended = []

    async def answer(asked: asyncio.Future[str]) -> None:
        await asyncio.sleep(0.1)
        asked.set_result("last")

    async def run() -> None:
        asked: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        answering = asyncio.create_task(answer(asked))
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(60)
        finally:
            ended.append(await asyncio.wait_for(asked, 60))
            await answering

    with pytest.raises(KeyboardInterrupt), live_server.runtime_directory():
        asyncio.run(run())
    assert ended == ["last"]


def test_every_engine_of_a_measurement_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[int] = []
    monkeypatch.setattr(live_server, "_stop", lambda address: stopped.append(address.port))
    for port in (1001, 1002):
        (tmp_path / str(port)).mkdir(mode=0o700)
        Address(port=port, token="t" * 40, pid=1).write(tmp_path / str(port))
    live_server.stop_engines(tmp_path)
    assert sorted(stopped) == [1001, 1002]
