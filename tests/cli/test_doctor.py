"""`tabcast doctor`, and that no subcommand runs code from the folder it is called in."""

import json
import sys
from pathlib import Path

import pytest

from lsp_server.cli import doctor
from lsp_server.cli.doctor_engines import engine_findings
from tests.cli.conftest import Run
from tests.lsp.stand_in import StandIn, serving


def test_json_has_one_form(tabcast: Run) -> None:
    result = tabcast("doctor", "--json")
    checks = json.loads(result.stdout)
    assert all(set(check) == {"name", "ok", "detail", "advice"} for check in checks)
    assert {"tabcast", "configuration", "server log", "torch", "engine"} <= {check["name"] for check in checks}
    if sys.platform == "linux":
        assert [check["detail"].endswith("GiB available") for check in checks if check["name"] == "memory"] == [True]
    assert result.returncode == (0 if all(check["ok"] for check in checks) else 1)


def test_text_names_what_to_do(tabcast: Run, environment: dict[str, str]) -> None:
    config = Path(environment["TABCAST_CONFIG"])
    config.write_text("this is no TOML", encoding="utf-8")
    result = tabcast("doctor")
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("FAIL") and str(config) in line)
    assert "->" in lines[row + 1]


@pytest.mark.skipif(sys.platform == "win32", reason="stands for Neovim by a shell script")
@pytest.mark.parametrize(("version", "is_told"), [("v0.10.4", True), ("v0.11.0", False), ("v0.12.4", False)])
def test_a_neovim_that_the_plugin_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, is_told: bool
) -> None:
    nvim = tmp_path / "nvim"
    nvim.write_text(f"#!/bin/sh\necho NVIM {version}\n", encoding="utf-8")
    nvim.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = doctor._editors()
    assert found.detail == f"NVIM {version}"
    assert ("0.11 or later" in found.advice) == is_told


@pytest.mark.parametrize("arguments", [["doctor", "--json"], ["models", "list"], ["engine", "status"]])
def test_a_hostile_folder_runs_nothing(tabcast: Run, tmp_path: Path, arguments: list[str]) -> None:
    folder = tmp_path / "hostile"
    (folder / "decoding").mkdir(parents=True)
    trap = f"open({str(tmp_path / 'caught')!r}, 'w')\n"
    for name in ("torch.py", "sitecustomize.py", "json.py", "decoding/__init__.py", "decoding/__main__.py"):
        (folder / name).write_text(trap, encoding="utf-8")
    tabcast(*arguments, cwd=folder)
    assert not (tmp_path / "caught").exists()


async def test_the_servers_of_the_file_are_named_and_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    monkeypatch.setenv("TABCAST_CONFIG", str(config))
    assert await engine_findings() == []
    async with serving(StandIn(kind="vllm", pieces=("first", " + second"))) as server:
        table = f"url = '{server.url}'"
        config.write_text(
            f"[engines]\nuse = 'team'\n[engines.team]\n{table}\nhybrid = true\n"
            "[engines.gone]\nurl = 'http://127.0.0.1:9'\n[engines.odd]\nurl = 'nonsense'\n"
        )
        found = {finding["name"]: finding for finding in await engine_findings()}
        assert found["engine team"]["ok"]
        assert found["engine team"]["detail"].startswith("in use: vllm, qwen2.5-coder-7b at 127.0.0.1, a line after")
        assert "first texts from this machine" in found["engine team"]["detail"]
        assert found["engine gone"]["ok"]  # nobody uses it
        assert "not in use: nothing answers at" in found["engine gone"]["detail"]
        assert "url must be like" in found["engine odd"]["detail"]
        server.fault = 401
        config.write_text(f"[engines]\nuse = 'team'\n[engines.team]\n{table}\n")
        (refused,) = await engine_findings()
        assert not refused["ok"]
        assert "key" in refused["detail"]
        assert "engine use local" in refused["advice"]
    config.write_text("[engines]\nuse = 'lost'\n")
    (lost,) = await engine_findings()
    assert not lost["ok"]
