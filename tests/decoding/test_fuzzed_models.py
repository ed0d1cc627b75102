"""Thousands of spoiled model files: each is described, or refused by one sentence, in bounded memory and time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny_models import make_model

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the process that reads them is bounded as on Linux")


def fuzz(path: Path, count: int) -> dict[str, dict[str, int]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzzing", str(path), "0", str(count)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"ended by {done.returncode}, and {path} is the last one: {done.stderr[-2000:]}"
    found: dict[str, dict[str, int]] = json.loads(done.stdout)
    return found


def test_no_spoiled_gguf_file_does_harm(tmp_path: Path) -> None:
    found = fuzz(tmp_path / "x.gguf", 10_000)
    assert sum(found["refused"].values()) > 5000
    assert sum(found["read"].values()) > 1000
    assert len(found["refused"]) == 8  # each way to spoil a file is noticed


def test_no_spoiled_json_file_of_a_folder_does_harm(tmp_path: Path) -> None:
    found = fuzz(make_model(tmp_path / "model", "llama"), 2000)
    assert sum(found["refused"].values()) > 800
    assert sum(found["read"].values()) > 300
