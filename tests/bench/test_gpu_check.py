"""The checks of `tabcast bench gpu-check`, rehearsed without a GPU: that they pass, and that they can fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from decoding.__main__ import main
from decoding.bench.gpu_checks import command, models
from decoding.bench.gpu_checks.setting import Setting
from decoding.bench.harness import random_models
from decoding.config import EngineConfig
from decoding.models.cuda.decoder import CudaDecoder
from decoding.models.cuda.recording import Replay
from tests.conftest import HAS_BUNDLED

CONFIG = EngineConfig(device="cpu", dtype="float32", kernels="rehearsed", threads=1)


@pytest.fixture(scope="module")
def setting() -> Iterator[Setting]:
    threads = torch.get_num_threads()
    yield Setting(models=random_models.random_pair("tiny", "smaller", CONFIG, 320), config=CONFIG)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", command.CHECKS)
def test_each_check_passes(name: str, setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    if name.startswith("engine") and not HAS_BUNDLED:
        pytest.skip("the shipped pair is not there")
    monkeypatch.setenv("TABCAST_KERNELS", "rehearsed")
    monkeypatch.setattr(models, "NUM_TOKENS", 5)
    row = command.one(name, command.CHECKS[name], setting)
    assert row["passed"], row["found"]


def test_a_recording_that_goes_wrong_is_found(setting: Setting) -> None:
    class Stale:
        """Repeats nothing: what was recorded first stays."""

        def record(self, run: Replay) -> Replay:
            run()
            return lambda: None

    target = setting.models.target
    assert isinstance(target, CudaDecoder)
    wrong = CudaDecoder(target.shape, target._weights, target.operations, Stale(), chunk=target.chunk)
    wrong.capabilities = wrong.capabilities.at_width(target.capabilities.step_width)
    broken = replace(setting, models=replace(setting.models, target=wrong))
    row = command.one("replay", models.replay_equals_computing, broken)
    assert row["passed"] is False
    assert "FAILED: step at" in row["found"]


def test_a_check_that_breaks_stops_no_other(setting: Setting) -> None:
    def breaks(_: Setting) -> str:
        raise ValueError("a bug")

    row = command.one("broken", breaks, setting)
    assert row["passed"] is False
    assert "ValueError: a bug" in row["found"]


def test_without_a_gpu_it_refuses_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("decoding.bench.commands._load", lambda *_: pytest.fail("loaded"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["bench", "gpu-check"]) == 2
    assert capsys.readouterr().err.startswith("tabcast: torch finds no GPU here, so there is nothing to check")


def test_the_command_fails_with_its_checks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(_: Setting) -> str:
        raise AssertionError("wrong bits")

    monkeypatch.setattr(command, "CHECKS", {"good": lambda _: "fine", "bad": fails})
    monkeypatch.setenv("TABCAST_KERNELS", "rehearsed")
    arguments = ["bench", "gpu-check", "--device", "cpu", "--dtype", "float32", "--shape", "tiny"]
    assert main([*arguments, "--draft-shape", "smaller"]) == 1
    shown = capsys.readouterr().out
    assert "bad: FAILED: wrong bits" in shown
    assert "good: fine" in shown
    assert main([*arguments, "--draft-shape", "smaller", "--checks", "good"]) == 0
