"""Fixtures for the command line's tests: the command as a user runs it, with a runtime directory of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(private_runtime: None) -> dict[str, str]:
    """What the command sees; `private_runtime` gave this process a runtime directory of its own."""
    return {**os.environ, "COLUMNS": "100"}


@pytest.fixture
def tabcast(environment: dict[str, str], tmp_path: Path) -> Run:
    """Run `tabcast ARGUMENTS` in an empty folder."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()

    def run(*arguments: object, cwd: Path = folder) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "lsp_server", *map(str, arguments)],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )

    return run


@pytest.fixture
def engine_options(tiny_model: Path) -> list[str]:
    """Options that choose a tiny random model without a draft."""
    return ["--model", str(tiny_model), "--draft", "none", "--device", "cpu"]


def error_line(result: subprocess.CompletedProcess[str]) -> str:
    """The one line that a failed command wrote for its user."""
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("tabcast: ")
    return result.stderr.removeprefix("tabcast: ").strip()
