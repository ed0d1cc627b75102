"""Clients of other servers: llama.vim's and llama.vscode's `/infill`, and prompts that Zed lays out itself.

The requests have the shapes that these clients send.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from decoding.protocol import Address, CompletionOptions, CompletionRequest, CompletionStats, ProtocolError
from decoding.service.gates import TokenGate
from decoding.service.http_server import EngineServer
from decoding.service.infill import read_infill
from decoding.service.jobs import ChoiceDone, Delta, EngineState, Job, JobDone, Mailbox
from decoding.service.rendered import unrendered

WANTED = ["content", "timings/prompt_n", "timings/prompt_ms", "timings/predicted_n", "truncated", "tokens_cached"]
LLAMA_VIM: dict[str, Any] = {
    "id_slot": 0,
    "input_prefix": "import os\n\n",
    "input_suffix": "\n\nprint(home())\n",
    "input_extra": [{"filename": "other.py", "text": "HOME = 1\n", "time": 12.5}],
    "prompt": "def home():\n    return os.env",
    "n_predict": 128,
    "stop": ["\n\n"],
    "n_indent": 4,
    "top_k": 40,
    "top_p": 0.90,
    "samplers": ["top_k", "top_p", "infill"],
    "stream": False,
    "cache_prompt": True,
    "t_max_prompt_ms": 500,
    "t_max_predict_ms": 1000,
    "response_fields": WANTED,
}
LLAMA_VIM_RING: dict[str, Any] = {
    **{key: LLAMA_VIM[key] for key in ("id_slot", "input_extra", "stream", "cache_prompt")},
    "input_prefix": "",
    "input_suffix": "",
    "prompt": "",
    "n_predict": 0,
    "temperature": 0.0,
    "samplers": [],
    "t_max_prompt_ms": 1,
    "t_max_predict_ms": 1,
    "response_fields": [""],
}
LLAMA_VSCODE: dict[str, Any] = {
    "id_slot": 0,
    "input_prefix": "a\n",
    "input_suffix": "\nb",
    "input_extra": [{"text": "x = 1", "time": 1, "filename": "x.py"}],
    "prompt": "    y = ",
    "n_predict": 128,
    "n_cmpl": 3,
    "top_k": 40,
    "top_p": 0.99,
    "stream": False,
    "samplers": ["top_k", "top_p", "infill"],
    "cache_prompt": True,
    "n_indent": 4,
    "t_max_prompt_ms": 500,
    "t_max_predict_ms": 2500,
}


class Served:
    """A server on a port, whose compute thread is the test."""

    def __init__(self, listener: socket.socket, client: aiohttp.ClientSession) -> None:
        self.address = Address(port=listener.getsockname()[1], token="0123456789abcdef" * 2, pid=1)
        self.mailbox = Mailbox()
        self.state = EngineState()
        self.state.update(status="ready", model="m", context_tokens=4096)
        self.server = EngineServer(TokenGate(self.address), self.mailbox, self.state, lambda: None)
        self.client = client

    def post(self, path: str, body: dict[str, Any]) -> asyncio.Task[aiohttp.ClientResponse]:
        headers = {"Authorization": f"Bearer {self.address.token}"}
        return asyncio.ensure_future(self.client.post(self.address.url + path, json=body, headers=headers))

    async def job(self) -> Job:
        job = (await asyncio.to_thread(self.mailbox.take, wait=True))[0]
        assert job is not None
        return job


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        async with aiohttp.ClientSession() as client:
            served = Served(listener, client)
            runner = web.AppRunner(served.server.application(), handler_cancellation=True, shutdown_timeout=0.1)
            await runner.setup()
            await web.SockSite(runner, listener).start()
            yield served
            await runner.cleanup()


async def test_llama_vim_gets_its_text_and_its_figures(served: Served) -> None:
    asking = served.post("/infill", LLAMA_VIM)
    job = await served.job()
    assert job.request == CompletionRequest(
        prompt="import os\n\ndef home():\n    return os.env",
        suffix="\n\nprint(home())\n",
        max_tokens=128,
        top_k=40,
        top_p=0.9,
        stop=("\n\n",),
        tabcast=job.request.tabcast,
    )
    assert [(file.path, file.text) for file in job.request.tabcast.context] == [("other.py", "HOME = 1\n")]
    stats = CompletionStats(
        tokens=4, steps=2, prompt_tokens=30, cached_tokens=10, prefill_ms=5.0, decode_ms=8.0, reason="stop_text"
    )
    for event in (Delta(0, "iron"), Delta(0, '["HOME"]'), ChoiceDone(0, stats), JobDone()):
        job.deliver(event)
    answer = await (await asking).json()
    assert answer == {
        "content": 'iron["HOME"]',
        "timings/prompt_n": 20,
        "timings/prompt_ms": 5.0,
        "timings/predicted_n": 4,
        "truncated": False,
        "tokens_cached": 10,
    }


async def test_who_only_warms_the_cache_is_answered_at_once(served: Served) -> None:
    for body in (LLAMA_VIM_RING, {**LLAMA_VSCODE, "n_predict": 0}):
        response = await served.post("/infill", body)
        assert response.status == 200
        await response.json()
    assert served.mailbox.take(wait=False) == []


async def test_llama_vscode_gets_several_texts(served: Served) -> None:
    asking = served.post("/infill", LLAMA_VSCODE)
    job = await served.job()
    assert job.request.n == 3
    for choice, text in enumerate(("1", "2", "3")):
        job.deliver(Delta(choice, text))
        job.deliver(ChoiceDone(choice, CompletionStats(reason="stop")))
    job.deliver(JobDone())
    answers = await (await asking).json()
    assert [answer["content"] for answer in answers] == ["1", "2", "3"]
    assert {answer["stop_type"] for answer in answers} == {"eos"}


async def test_an_answer_ends_with_a_line_when_its_time_is_over(served: Served) -> None:
    asking = served.post("/infill", {**LLAMA_VIM, "t_max_predict_ms": 1, "response_fields": ["content"]})
    job = await served.job()
    await asyncio.sleep(0.002)
    job.deliver(Delta(0, "first"))
    job.deliver(Delta(0, " line\nsec"))
    assert await (await asking).json() == {"content": "first line\nsec"}
    assert job.is_cancelled


async def test_a_stream_in_llama_cpps_form(served: Served) -> None:
    asking = served.post("/infill", {**LLAMA_VIM, "stream": True, "response_fields": None})
    job = await served.job()
    stats = CompletionStats(tokens=2, steps=1, reason="length")
    for event in (Delta(0, "a"), Delta(0, "b"), ChoiceDone(0, stats), JobDone()):
        job.deliver(event)
    lines = (await (await asking).text()).split("\n\n")
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    assert [(event["content"], event["stop"]) for event in events] == [("a", False), ("b", False), ("", True)]
    assert events[-1]["stop_type"] == "limit"


async def test_failures_and_nonsense_are_told(served: Served) -> None:
    asking = served.post("/infill", LLAMA_VIM)
    (await served.job()).deliver(JobDone("no memory", 507))
    assert (await asking).status == 507
    for body in ({**LLAMA_VIM, "input_extra": "x"}, {**LLAMA_VIM, "n_predict": "many"}, {"input_prefix": 1}):
        assert (await served.post("/infill", body)).status == 400
    served.state.update(status="loading")
    assert (await served.post("/infill", LLAMA_VIM)).status == 503


async def test_props_tell_model_and_window(served: Served) -> None:
    headers = {"Authorization": f"Bearer {served.address.token}"}
    async with served.client.get(f"{served.address.url}/props", headers=headers) as response:
        props = await response.json()
    assert props["model_alias"] == "m"
    assert props["default_generation_settings"]["n_ctx"] == 4096
    async with served.client.get(f"{served.address.url}/props") as response:
        assert response.status == 401


async def test_zeds_prompt_is_taken_apart(served: Served) -> None:
    stop = ["<|endoftext|>", "<|file_separator|>", "<|fim_pad|>", "<fim_prefix>", "<PRE>", "[PREFIX]", ";"]
    prompt = "<|fim_prefix|>def add(a, b):\n    return <|fim_suffix|>\n\nprint(add(1, 2))<|fim_middle|>"
    asking = served.post(
        "/v1/completions", {"model": "m", "prompt": prompt, "max_tokens": 64, "temperature": 0.2, "stop": stop}
    )
    job = await served.job()
    assert job.request.prompt == "def add(a, b):\n    return "
    assert job.request.suffix == "\n\nprint(add(1, 2))"
    assert job.request.stop == (";",)
    job.deliver(Delta(0, "a + b"))
    job.deliver(ChoiceDone(0, CompletionStats(reason="stop")))
    job.deliver(JobDone())
    assert (await (await asking).json())["choices"][0]["text"] == "a + b"


@pytest.mark.parametrize(
    "prompt",
    [
        "<PRE> before  <SUF>behind <MID>",
        "<fim_prefix>before <fim_suffix>behind<fim_middle>",
        "<fim_suffix>behind<fim_prefix>before <fim_middle>",
        "<｜fim▁begin｜>before <｜fim▁hole｜>behind<｜fim▁end｜>",
        "[SUFFIX]behind[PREFIX]before ",
        "<|code_prefix|>before <|code_suffix|>behind<|code_middle|>",
    ],
)
def test_the_forms_of_zed_and_others(prompt: str) -> None:
    found = unrendered(CompletionRequest(prompt=prompt))
    assert (found.prompt.rstrip(), found.suffix) == ("before", "behind")


@pytest.mark.parametrize(
    "request_",
    [
        CompletionRequest(prompt="x = '<|fim_prefix|>'\ny = '<|fim_suffix|>' + '<|fim_middle|>'"),
        CompletionRequest(prompt="<|fim_prefix|>a<|fim_suffix|>b"),
        CompletionRequest(prompt="<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>", suffix="c"),
        CompletionRequest(prompt="<fim_prefix>a<fim_suffix>b<fim_middle>", tabcast=CompletionOptions(path="fim.py")),
    ],
)
def test_other_prompts_stay_as_they_are(request_: CompletionRequest) -> None:
    assert unrendered(request_) is request_


@pytest.mark.parametrize("seed", [-1, 7])
def test_numbers_of_llama_cpp_are_understood(seed: int) -> None:
    asked = read_infill({**LLAMA_VIM, "n_predict": -1, "seed": seed, "temperature": 5, "top_k": -1, "stop": [""]})
    assert asked.request is not None
    assert asked.request.seed == (None if seed == -1 else 7)
    assert (asked.request.max_tokens, asked.request.temperature, asked.request.top_k) == (128, 2.0, 0)
    assert asked.request.stop == ()
    with pytest.raises(ProtocolError, match="n_predict"):
        read_infill({**LLAMA_VIM, "n_predict": 1.5})
