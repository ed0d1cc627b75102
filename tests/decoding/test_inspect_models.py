"""What `tabcast doctor` says of a machine: the memory that can be had, and what nobody has tried."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from decoding.cli import inspect_models
from decoding.config import EngineConfig
from decoding.errors import ModelError
from decoding.models import cuda
from decoding.models.loading.memory import GIB

GPU_PAGE = Path(__file__).parents[2] / "docs" / "gpu.md"


def rows(monkeypatch: pytest.MonkeyPatch, device: str) -> dict[str, inspect_models.Row]:
    """Of a machine with that device, on which no model can be loaded."""

    def refuse(_config: EngineConfig) -> None:
        raise ModelError("no model")

    monkeypatch.setattr(inspect_models, "choose_device", lambda _: (torch.device(device), torch.float32))
    monkeypatch.setattr(inspect_models, "load_models", refuse)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3 * GIB, 4 * GIB))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a card")
    return {row["name"]: row for row in inspect_models.doctor(EngineConfig())}


@pytest.mark.skipif(sys.platform == "win32", reason="the system doesn't tell it")
def test_memory_is_what_a_new_process_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect_models, "free_bytes", lambda device: int(7.2 * GIB) if device.type == "cpu" else None)
    row = rows(monkeypatch, "cpu")["memory"]
    assert row["detail"].startswith("7.2 of ")
    assert row["detail"].endswith(" GiB available")


def test_what_no_gpu_has_run_is_called_experimental_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "GPU" not in rows(monkeypatch, "cpu")
    told = rows(monkeypatch, "cuda")
    assert told["device"]["detail"].startswith("a card")
    assert told["GPU"]["detail"] == cuda.EXPERIMENTAL
    monkeypatch.setattr(cuda, "EXPERIMENTAL", "")
    assert "GPU" not in rows(monkeypatch, "cuda")


def test_the_page_about_gpus_says_so_as_long_as_the_program_does() -> None:
    head = GPU_PAGE.read_text(encoding="utf-8").split("\n\n")[1]
    assert ("experimental" in head.lower()) == bool(cuda.EXPERIMENTAL)
