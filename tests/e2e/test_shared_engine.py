"""The front end's starter and the real engine together: one engine for all, open to other clients."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from decoding.protocol import Address

TABCAST = [sys.executable, "-P", "-m", "lsp_server"]


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*TABCAST, *arguments], capture_output=True, text=True, timeout=120, check=False, env=env)


@pytest.fixture(scope="module")
def environment(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What `tabcast engine env` prints, of an engine that runs for all tests that only ask it."""
    folder = tmp_path_factory.mktemp("shared")
    chosen = {"TABCAST_RUNTIME_DIR": folder, "TABCAST_MODEL": tiny_model, "TABCAST_CONFIG": folder / "config.toml"}
    variables = {**os.environ, **{name: str(value) for name, value in chosen.items()}, "TABCAST_DRAFT": "none"}
    assert run("engine", "start", env=variables).returncode == 0
    lines = run("engine", "env", env=variables).stdout.splitlines()
    yield dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))
    run("engine", "stop", env=variables)


def test_ten_starts_at_once_leave_one_engine(real_engine_model: Path) -> None:
    starters = [
        subprocess.Popen([*TABCAST, "engine", "start", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(10)
    ]
    outputs = [(*starter.communicate(timeout=120), starter.returncode) for starter in starters]
    assert {code for _, _, code in outputs} <= {0, 3}, outputs
    # Who looked when it was running already is told so; who looked before shares it.
    (pid,) = {json.loads(report)["pid"] for report, _, code in outputs if code == 0}
    assert all(f"pid {pid}".encode() in error for _, error, code in outputs if code == 3)
    assert len(list(Path(os.environ["TABCAST_RUNTIME_DIR"]).glob("*/engine.json"))) == 1
    assert run("engine", "stop").returncode == 0
    assert not list(Path(os.environ["TABCAST_RUNTIME_DIR"]).glob("*/engine.json"))


def test_a_killed_engine_leaves_a_stale_address_that_harms_nobody(real_engine_model: Path) -> None:
    first = json.loads(run("engine", "start", "--json").stdout)
    os.kill(first["pid"], 9)
    (file,) = Path(os.environ["TABCAST_RUNTIME_DIR"]).glob("*/engine.json")
    assert Address.read(file.parent) is not None
    second = json.loads(run("engine", "start", "--json").stdout)
    assert second["pid"] != first["pid"]
    assert run("engine", "stop").returncode == 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_as_the_readme_shows(environment: dict[str, str]) -> None:
    command = ["curl", "-s", "-H", f"@{environment['OPENAI_HEADER_FILE']}", "-H", "Content-Type: application/json"]
    body = json.dumps({"prompt": "def add(a, b):\n    return", "suffix": "\n", "max_tokens": 8})
    url = f"{environment['OPENAI_BASE_URL']}/completions"
    answer = subprocess.run([*command, url, "-d", body], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(answer.stdout)["choices"][0]["tabcast"]["tokens"] > 0


def test_the_openai_library(environment: dict[str, str]) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=environment["OPENAI_BASE_URL"], api_key=environment["OPENAI_API_KEY"])
    prompt = "def add(a, b):\n    return"
    whole = client.completions.create(model="any", prompt=prompt, suffix="\n", max_tokens=12)
    stream = client.completions.create(model="any", prompt=prompt, suffix="\n", max_tokens=12, stream=True)
    assert whole.choices[0].text == "".join(chunk.choices[0].text for chunk in stream)
    assert client.models.list().data[0].id == whole.model
    with pytest.raises(openai.BadRequestError, match="max_tokens"):
        client.completions.create(model="any", prompt=prompt, max_tokens=10**6)
