"""`tabcast engine add|list|test|use`: the servers of the user's file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from lsp_server.cli import engines
from lsp_server.cli.errors import CommandError
from lsp_server.engine.choosing import known_engines
from tests.cli.conftest import Run, error_line
from tests.lsp.stand_in import StandIn, serving


@pytest.fixture
def config(environment: dict[str, str]) -> Path:
    return Path(environment["TABCAST_CONFIG"])


def use(config: Path, table: str) -> None:
    """Write a file that has one server, and that is in use."""
    config.write_text(f"[engines]\nuse = 'team'\n[engines.team]\n{table}\n")


async def beside(tabcast: Run, *arguments: object) -> CompletedProcess[str]:
    """Run a command while a server of this process answers it."""
    return await asyncio.to_thread(tabcast, *arguments)


def test_an_engine_is_added_listed_and_used(tabcast: Run, config: Path) -> None:
    config.write_text("# mine\n[engine]\nthreads = 2\n")
    options = (
        "--url",
        "https://code.example.org/v1",
        "--kind",
        "vllm",
        "--model",
        "coder",
        "--api-key-env",
        "TEAM_KEY",
    )
    assert tabcast("engine", "add", "team", *options, "--fallback", "local").returncode == 0
    assert "* local" in tabcast("engine", "list").stdout
    assert tabcast("engine", "use", "team").returncode == 0
    listed = json.loads(tabcast("engine", "list", "--json").stdout)
    assert listed["use"] == "team"
    assert listed["engines"][0]["model"] == "coder"
    assert listed["engines"][0]["used"] is True
    assert "* team: https://code.example.org/v1 (vllm, coder)" in tabcast("engine", "list").stdout
    text = config.read_text()
    assert text.startswith("# mine\n[engine]\nthreads = 2\n")
    again = tabcast("engine", "add", "team", "--url", "http://127.0.0.1:8000", "--json")
    assert json.loads(again.stdout) == {"added": "team", "config": str(config)}
    assert "TEAM_KEY" not in config.read_text()
    assert json.loads(tabcast("engine", "use", "local", "--json").stdout)["use"] == "local"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("add", "team", "--url", "http://code.example.org"), "in the clear"),
        (("add", "local", "--url", "http://127.0.0.1"), "can't be an engine's name"),
        (("add", "a.b", "--url", "http://127.0.0.1"), "can't be an engine's name"),
        (("add", "team", "--url", "https://x.org", "--kind", "gpt"), "kind must be one of"),
        (("use", "team"), "no engine 'team' (known: local)"),
        (("test", "team"), "no engine 'team' (known: local)"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line(
    tabcast: Run, config: Path, arguments: tuple[str, ...], words: str
) -> None:
    result = tabcast("engine", *arguments)
    assert result.returncode == 2
    assert words in error_line(result)
    assert not config.exists()


def test_a_key_in_the_file_is_told_and_not_shown(tabcast: Run, config: Path) -> None:
    config.write_text("[engines.team]\nurl = 'https://x.org'\napi_key = 'sk-1'\n")
    for arguments in (("list",), ("list", "--json"), ("test", "team"), ("use", "team")):
        result = tabcast("engine", *arguments)
        assert "no key may stand in config.toml" in result.stdout + result.stderr
        assert "sk-1" not in result.stdout + result.stderr


async def test_a_test_tells_what_answers_and_what_is_missing(tabcast: Run, config: Path) -> None:
    async with serving(StandIn(kind="vllm", pieces=("first", " + second"))) as server:
        use(config, f"url = '{server.url}'")
        told = await beside(tabcast, "engine", "test", "team")
        assert "kind      vllm\nmodel     qwen2.5-coder-7b\nprompt    qwen's tokens, laid out here\n" in told.stdout
        assert "answer    first + second" in told.stdout
        assert "missing" not in told.stdout
        server.fault = 401
        failed = await beside(tabcast, "engine", "test", "team")
        assert failed.returncode == 1
        assert "it wants a key" in error_line(failed)
    async with serving(StandIn(kind="mistral", model="unheard-of")) as server:
        use(config, f"url = '{server.url}'\ncontext_tokens = 4096")
        told = await beside(tabcast, "engine", "test", "team", "--json")
        answer = json.loads(told.stdout)
        assert (answer["ok"], answer["kind"], answer["fim"], answer["text"]) == (True, "mistral", "server", "print(1)")
        assert [line.partition(":")[0].partition(",")[0] for line in answer["missing"]] == [
            "log-probabilities",
            "nothing is asked ahead",
        ]


async def test_complete_asks_the_engine_in_use(tabcast: Run, config: Path, tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text("x = \n")
    async with serving(StandIn(kind="llama.cpp", pieces=("alpha", "(beta)"))) as server:
        use(config, f"url = '{server.url}'")
        told = await beside(tabcast, "complete", file, "--line", 1, "--column", 5)
        assert told.stdout == "alpha(beta)\n", told.stderr
        server.fault = 429
        assert "limit is reached" in error_line(await beside(tabcast, "complete", file, "--line", 1, "--column", 5))


async def test_a_server_that_never_ends_its_line_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It keeps the connection alive, so that nothing but the time tells."""
    config = tmp_path / "config.toml"
    monkeypatch.setenv("TABCAST_CONFIG", str(config))
    monkeypatch.setattr(engines, "TEST_TIMEOUT_S", 0.5)
    async with serving(StandIn(kind="vllm", fault="slow")) as server:
        use(config, f"url = '{server.url}'")
        with pytest.raises(CommandError, match=r"engine team: no line came within"):
            await engines._test(known_engines().named("team"), as_json=False)
