"""What only a GPU can tell: `python -m pytest tests/gpu` there; skipped elsewhere.

The checks are those of `tabcast bench gpu-check`, which needs no pytest; tests/bench/test_gpu_check.py rehearses them.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from decoding.bench.gpu_checks import command
from decoding.bench.gpu_checks.setting import Setting
from decoding.bench.harness import random_models
from decoding.config import EngineConfig

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=["none", "fp8", "int8", "int4"])
def setting(request: pytest.FixtureRequest) -> Setting:
    config = EngineConfig(device="cuda", quantize=request.param)
    return Setting(
        models=random_models.random_pair("qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b", config, 1228), config=config
    )


@pytest.mark.parametrize("name", [name for name in command.CHECKS if not name.startswith("engine")])
def test_check(name: str, setting: Setting) -> None:
    row = command.one(name, command.CHECKS[name], setting)
    assert row["passed"] is not False, row["found"]


@pytest.mark.parametrize("name", [name for name in command.CHECKS if name.startswith("engine")])
def test_check_of_the_engine(name: str) -> None:
    config = EngineConfig(device="cuda")
    made = random_models.random_pair("qwen2.5-coder-0.5b", None, config, 600)
    row = command.one(name, command.CHECKS[name], Setting(models=made, config=config))
    assert row["passed"] is not False, row["found"]


@pytest.mark.skipif(importlib.util.find_spec("pygls") is None, reason="the language server's packages are not there")
def test_the_language_server_on_the_device(tmp_path: Path) -> None:
    """From the editor's start to a suggestion, through both processes."""
    call = [
        sys.executable,
        "-m",
        "lsp_server",
        "bench",
        "startup",
        "--device",
        "cuda",
        "--json",
        str(tmp_path / "s.json"),
    ]
    found = subprocess.run(call, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stderr[-2000:]
