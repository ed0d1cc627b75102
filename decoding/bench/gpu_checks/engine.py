"""Checks the engine on the device with the shipped pair: cancelling, short memory, and all of it over HTTP."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from decoding.bench.gpu_checks.setting import Setting, Skipped
from decoding.completion.sessions import SessionPool
from decoding.config import BUNDLED
from decoding.models.loading.model_set import ModelSet, load_models
from decoding.protocol import Address, CompletionOptions, CompletionRequest
from decoding.service.jobs import Delta, EngineState, Event, Job, JobDone
from decoding.service.worker import Worker

PROMPT = "import os\n\n\ndef area(width, height):\n    return "
NUM_TOKENS = 48
START_S = 120.0
TOO_MUCH = 1 << 44


def cancelling(setting: Setting) -> str:
    """Check that a cancelled request computes nothing more, and that the next one begins at once."""
    worker, state = _worker(_shipped(setting))
    asked = _Asked(PROMPT)
    worker.turn([asked.job])
    for _ in range(3):
        worker.turn([])
    steps = _steps(state)
    assert steps, "no step within four turns"
    asked.job.is_cancelled = True
    other = _Asked(PROMPT.replace("area", "volume"))
    worker.turn([other.job])
    assert worker.num_jobs == 1, "the cancelled request goes on"
    assert _steps(state) <= steps + 1, "it took more than a step"
    _finish(worker, other)
    return f"after {steps:g} steps, none more"


def memory_that_is_short(setting: Setting) -> str:
    """Check that idle sessions are given up, and that the request that found no memory gets its usual answer."""
    models = _shipped(setting)
    worker, state = _worker(models)
    wanted = _finish(worker, _Asked(PROMPT))
    document = CompletionOptions(session="another")
    with _short_of_memory(models):
        found = _finish(worker, _Asked("# another text\n" + PROMPT, document))
    assert state.counters().get("out_of_memory_total", 0) >= 1, "there was enough"
    assert found == _finish(worker, _Asked("# another text\n" + PROMPT, document))
    assert _finish(worker, _Asked(PROMPT)) == wanted
    return "answered, and alike"


def over_http(setting: Setting) -> str:
    """Check an engine as a process: plain and drafted answers are alike, and a dropped stream frees it."""
    _shipped(setting, is_loaded=False)
    with tempfile.TemporaryDirectory() as folder, _process(setting, Path(folder)) as began:
        return asyncio.run(_ask_over_http(Path(folder), began))


class _Asked:
    """A job, and the events that came back."""

    def __init__(self, prompt: str, options: CompletionOptions | None = None) -> None:
        request = CompletionRequest(prompt=prompt, max_tokens=NUM_TOKENS, tabcast=options or CompletionOptions())
        self.events: list[Event] = []
        self.job = Job(request, self.events.append)


def _finish(worker: Worker, asked: _Asked) -> str:
    worker.turn([asked.job])
    while worker.num_jobs:
        worker.turn([])
    last = asked.events[-1]
    assert isinstance(last, JobDone)
    assert not last.error, last.error
    return "".join(event.text for event in asked.events if isinstance(event, Delta))


def _steps(state: EngineState) -> float:
    return state.counters().get("steps_total", 0.0)


def _worker(models: ModelSet) -> tuple[Worker, EngineState]:
    state = EngineState()
    return Worker(models, SessionPool(models, max_sessions=4, budget_bytes=1 << 30), state, max_running=2), state


def _shipped(setting: Setting, *, is_loaded: bool = True) -> Any:
    if not (BUNDLED / "target" / "config.json").is_file():
        raise Skipped("the shipped pair is not there")
    return load_models(replace(setting.config, model="", draft="", quantize="none"))[0] if is_loaded else None


@contextmanager
def _short_of_memory(models: ModelSet) -> Iterator[None]:
    """Make the first new cache ask for more memory than any device has."""
    usual, is_first = models.target.new_cache, True

    def new_cache() -> Any:
        nonlocal is_first
        if is_first:
            is_first = False
            torch.empty(TOO_MUCH, dtype=torch.uint8, device=models.target.device)
            raise MemoryError  # the allocation may succeed on a system that overcommits memory
        return usual()

    models.target.new_cache = new_cache  # type: ignore[method-assign]
    yield
    del models.target.new_cache


@contextmanager
def _process(setting: Setting, folder: Path) -> Iterator[float]:
    """Start an engine and yield the time when it was started."""
    folder.chmod(0o700)
    command = [sys.executable, "-m", "decoding", "serve", "--runtime-dir", str(folder), "--device", str(setting.device)]
    began = time.perf_counter()
    with (folder / "log").open("wb") as log:
        # The check must not depend on the user's own settings.
        environment = os.environ | {"TABCAST_CONFIG": str(folder / "none.toml")}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
    try:
        yield began
    except Exception as problem:
        raise AssertionError(f"{problem!r}; the engine's log: {(folder / 'log').read_text()[-800:]}") from problem
    finally:
        process.terminate()
        process.wait(30)


async def _ask_over_http(folder: Path, began: float) -> str:
    import aiohttp  # noqa: PLC0415 - of this check alone

    while (address := Address.read(folder)) is None:
        assert time.perf_counter() - began < START_S, "no address"
        await asyncio.sleep(0.05)
    headers = {"Authorization": f"Bearer {address.token}"}
    async with aiohttp.ClientSession(headers=headers, trust_env=False) as client:
        while (health := await (await client.get(f"{address.url}/health")).json())["status"] == "loading":
            assert time.perf_counter() - began < START_S, health
            await asyncio.sleep(0.05)
        assert health["status"] == "ready", health
        url = f"{address.url}/v1/completions"
        texts = {}
        first_s = 0.0
        for method in ("plain", "auto", "lookup", "draft"):
            body = {"prompt": PROMPT, "max_tokens": NUM_TOKENS, "tabcast": {"method": method}}
            async with client.post(url, json=body) as answer:
                texts[method] = (await answer.json())["choices"][0]["text"]
            first_s = first_s or time.perf_counter() - began
        assert len(set(texts.values())) == 1, texts
        with suppress(aiohttp.ClientError):
            async with client.post(url, json={"prompt": PROMPT, "max_tokens": 500, "stream": True}) as stream:
                await stream.content.readline()
        async with client.post(url, json={"prompt": PROMPT, "max_tokens": 4}) as answer:
            assert answer.status == 200
    return f"on {health['device']}, first answer {first_s:.1f} s after the start; plain and drafted alike"
