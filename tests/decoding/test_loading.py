"""What loading tells while it goes on, and what it leaves behind in the process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from decoding.config import EngineConfig
from decoding.errors import ModelError
from decoding.models.folder import model_config, tokenizer_files
from decoding.models.loading import model_set
from decoding.models.loading.model_set import load_models
from decoding.service import worker
from decoding.service.jobs import EngineState, Mailbox


def test_progress_is_told_before_the_work(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    measure = model_set.measure_step_times
    monkeypatch.setattr(model_set, "measure_step_times", lambda model: told.append("measured") or measure(model))  # type: ignore[func-returns-value]
    load_models(EngineConfig(model=str(tiny_model), device="cpu"), lambda share, what: told.append(what))
    assert told.index("measuring a step of each") < told.index("measured")


@pytest.mark.parametrize("kernels", ["auto", "torch"])
def test_torch_keeps_its_threads_where_a_drafter_needs_them(
    ahead_folders: dict[str, str], monkeypatch: pytest.MonkeyPatch, kernels: str
) -> None:
    """The parallel draft may be computed by torch although the target is not."""
    settings = {**ahead_folders, "heads": "none"}
    models, probe = load_models(EngineConfig(**settings, device="cpu"))  # type: ignore[arg-type]
    drafter, _ = load_models(EngineConfig(**settings, device="cpu", kernels=kernels))  # type: ignore[arg-type]
    monkeypatch.setattr(worker, "load_models", lambda *_: (replace(models, parallel=drafter.parallel), probe))
    counts: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    mailbox = Mailbox()
    mailbox.put(None)
    worker.run(EngineConfig(**settings), mailbox, EngineState())  # type: ignore[arg-type]
    assert counts == ([1] if kernels == "auto" else [])


def test_each_folder_is_read_once(ahead_folders: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    for module in (model_config, tokenizer_files):
        real = module.read_json
        monkeypatch.setattr(
            module, "read_json", lambda path, real=real, **bounds: read.append(path) or real(path, **bounds)
        )
    settings = {**ahead_folders, "draft": ahead_folders["parallel"]}
    settings["parallel"] = "none"
    load_models(EngineConfig(**settings, device="cpu"))  # type: ignore[arg-type]
    names = [path for path in read if path.name in ("config.json", "tokenizer.json")]
    assert len(names) == len(set(names)) == 4


def test_too_little_memory_is_told_in_a_sentence(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(model_set, "load_decoder", fail)
    with pytest.raises(ModelError, match="too little memory"):
        load_models(EngineConfig(model=str(tiny_model), device="cpu"))


def test_what_nobody_foresaw_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("num_things")

    monkeypatch.setattr(worker, "load_models", fail)
    state = EngineState()
    worker.run(EngineConfig(), Mailbox(), state)
    health = state.health
    assert health.status == "failed"
    assert "KeyError" not in health.detail
    assert "log" in health.detail
