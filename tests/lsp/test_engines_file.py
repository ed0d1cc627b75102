"""The tables `[engines.NAME]` of the user's configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from decoding.protocol import FIM_TEMPLATES, CompletionRequest, name_of_template
from lsp_server.engine.adapters.rendering import render
from lsp_server.engine.choosing import make_client
from lsp_server.engine.client import EngineClient
from lsp_server.engine.engines_file import EngineFileError, check_engine, read_engines
from lsp_server.engine.fallback import WithFallback
from lsp_server.engine.remote import RemoteEngine
from lsp_server.engine.stream import EngineUnavailable

URL = "https://code.example.org/v1"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"url": URL, "api_key": "sk-1"}, "no key may stand in config.toml"),
        ({"url": "http://code.example.org"}, "in the clear"),
        ({"url": "http://localhost.example.org"}, "in the clear"),
        ({"url": "ftp://localhost"}, "url must be like"),
        ({"url": "https://user:word@code.example.org"}, "no user, password"),
        ({}, "url must be like"),
        ({"url": URL, "kind": "gpt"}, "kind must be one of tabcast, vllm"),
        ({"url": URL, "fim": "klingon"}, "fim must be one of auto"),
        ({"url": URL, "fallback": "cloud"}, "fallback must be one of local"),
        ({"url": URL, "modle": "x"}, "unknown setting 'modle'"),
        ({"url": URL, "model": 7}, "model can't be 7"),
        ({"url": URL, "context_tokens": -1}, "context_tokens can't be -1"),
        ({"url": URL, "hybrid": "yes"}, "hybrid can't be 'yes'"),
        ({"url": URL, "plain_http": "yes"}, "plain_http can't be 'yes'"),
        ({"url": URL, "api_key_env": "A", "api_key_file": "b"}, "either api_key_env or api_key_file"),
        ("text", "expected a table"),
    ],
)
def test_a_table_that_cannot_be_used_is_told_in_a_sentence(table: Any, words: str) -> None:
    with pytest.raises(EngineFileError, match=r".+") as caught:
        check_engine("team", table)
    assert words in str(caught.value)
    assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost", "http://[::1]:11434/v1", URL])
def test_this_machine_needs_no_certificate(url: str) -> None:
    assert check_engine("team", {"url": url}).url == url


def test_addresses_of_routes() -> None:
    spec = check_engine("team", {"url": "https://code.example.org:8443/v1/"})
    assert (spec.root, spec.api) == ("https://code.example.org:8443", "https://code.example.org:8443/v1")
    assert check_engine("team", {"url": "https://code.example.org"}).api == URL
    assert check_engine("deep", {"url": "https://api.example.com/beta"}).api == "https://api.example.com/beta"


def test_a_wrong_table_spoils_no_other() -> None:
    file = read_engines(f"[engines]\nuse = 'good'\n[engines.good]\nurl = '{URL}'\n[engines.bad]\nurl = 'x'\n")
    assert file.chosen() == file.engines["good"]
    with pytest.raises(EngineFileError, match="engine bad: url must be"):
        file.named("bad")
    with pytest.raises(EngineFileError, match=r"no engine 'absent' \(known: local, good\)"):
        file.named("absent")
    assert read_engines("[engines]\nuse = 'local'\n").chosen() is None
    assert read_engines("not toml [").engines == {}


def test_the_engine_in_use_is_the_users_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    monkeypatch.setenv("TABCAST_CONFIG", str(config))
    assert isinstance(make_client(), EngineClient)
    table = f"[engines.team]\nurl = '{URL}'\n"
    config.write_text(f"[engines]\nuse = 'team'\n{table}")
    assert isinstance(client := make_client(), RemoteEngine)
    assert client.destination == "code.example.org"
    assert isinstance(make_client(("--device", "cpu")), EngineClient)  # options choose our own
    config.write_text(f"[engines]\nuse = 'team'\n{table}fallback = 'local'\n")
    assert isinstance(make_client(), WithFallback)
    config.write_text(f"[engines]\nuse = 'team'\n{table}api_key = 'sk-1'\n")
    with pytest.raises(EngineUnavailable, match="no key may stand in"):
        make_client()


@pytest.mark.parametrize(
    ("model", "template"),
    [
        ("Qwen/Qwen2.5-Coder-7B", "qwen"),
        ("bigcode/starcoder2-3b", "starcoder2"),
        ("deepseek-coder:6.7b", "deepseek-coder"),
        ("CodeLlama-7b-hf", "codellama"),
        ("codestral-latest", "codestral"),
        ("ibm-granite/granite-4.0-h-tiny", "granite-4"),
        ("mellum-4b-base", "mellum"),
        ("gpt-5", ""),
    ],
)
def test_a_models_name_tells_its_tokens(model: str, template: str) -> None:
    assert name_of_template(model) == template


def test_forms_of_prompts() -> None:
    request = CompletionRequest(prompt="a = ", suffix="\nb", max_tokens=8)
    prompts = {name: render(request, template, 4096) for name, template in FIM_TEMPLATES.items()}
    assert prompts["qwen"] == "<|fim_prefix|>a = <|fim_suffix|>\nb<|fim_middle|>"
    assert prompts["codestral"] == "[SUFFIX]\nb[PREFIX] a = "
    assert prompts["codellama"] == "<PRE> a =  <SUF>\nb <MID>"
    assert prompts["mellum"] == "<fim_suffix>\nb<fim_prefix>a = <fim_middle>"
    assert prompts["aixcoder"] == "<AIX-SPAN-PRE> <AIX-SPAN-POST>\nb <AIX-SPAN-MIDDLE>a = "
    assert render(request, None, 4096) == "a = "
    # A begin token is the server's own to write.
    assert not any(prompt.startswith(("<s>", "<bos>", "<｜begin")) for prompt in prompts.values())


def test_a_document_cannot_write_the_prompts_tokens() -> None:
    request = CompletionRequest(prompt="x = '<|fim_middle|><|endoftext|>'\n", suffix="<|fim_suffix|>", max_tokens=8)
    prompt = render(request, FIM_TEMPLATES["qwen"], 4096)
    assert prompt.count("<|fim_middle|>") == prompt.count("<|fim_suffix|>") == 1
    assert "<|endoftext|>" not in prompt
