"""The times of passes that earlier starts measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from decoding.config import EngineConfig
from decoding.models.loading import model_set
from decoding.models.loading.model_set import ModelSet, load_models
from decoding.models.probing.kept_times import NUM_MEASURED, measured_or_kept
from decoding.storage import policy_state


class Measured:
    """Measures other times at each call, and counts the calls."""

    def __init__(self, *times: float) -> None:
        self.times, self.calls = times, 0

    def __call__(self) -> dict[int, float]:
        self.calls += 1
        ms = self.times[min(self.calls, len(self.times)) - 1]
        return {1: ms, 8: 2 * ms}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"1234")
    return folder


def test_the_first_starts_measure_and_the_least_times_stay(llama: ModelSet, weights: Path) -> None:
    """One that was busy must not decide for good."""
    measure = Measured(5.0, 30.0, 4.0, 1.0)
    found = [measured_or_kept(llama.target, weights, "target", 2, measure)[1] for _ in range(NUM_MEASURED + 2)]
    assert found == [5.0, 5.0, 4.0, 4.0, 4.0]
    assert measure.calls == NUM_MEASURED


def test_other_files_threads_and_roles_are_measured_by_themselves(llama: ModelSet, weights: Path) -> None:
    measure = Measured(5.0)

    def starts(role: str = "target", threads: int = 2) -> int:
        before = measure.calls
        for _ in range(NUM_MEASURED + 1):
            measured_or_kept(llama.target, weights, role, threads, measure)
        return measure.calls - before

    assert [starts(), starts(), starts("draft"), starts(threads=1)] == [NUM_MEASURED, 0, NUM_MEASURED, NUM_MEASURED]
    (weights / "model.safetensors").write_bytes(b"12345")
    assert starts() == NUM_MEASURED


@pytest.mark.parametrize(
    "kept",
    [
        None,
        [],
        {"starts": 9},
        {"starts": 9, "ms": {}},
        {"starts": 9, "ms": {"8": 2.0}},
        {"starts": 9, "ms": {"1": -1.0}},
        {"starts": 9, "ms": {"1": "x", "8": 2.0}},
        {"starts": "9", "ms": {"1": 1.0, "8": 2.0}},
        {"starts": 9, "ms": {"1": 1.0, "x": 2.0}},
    ],
)
def test_what_has_another_form_is_measured(llama: ModelSet, weights: Path, kept: object) -> None:
    measure = Measured(5.0)
    measured_or_kept(llama.target, weights, "target", 2, measure)
    file = policy_state.path_of(policy_state.STEP_TIMES)
    (key,) = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({key: kept}), encoding="utf-8")
    assert measured_or_kept(llama.target, weights, "target", 2, measure)[1] == 5.0
    assert measure.calls == 2


def test_nothing_in_the_file_names_machine_or_model(llama: ModelSet, weights: Path) -> None:
    measured_or_kept(llama.target, weights, "target", 2, Measured(5.0))
    told = policy_state.path_of(policy_state.STEP_TIMES).read_text(encoding="utf-8")
    assert "weights" not in told
    assert "/" not in told


def test_a_later_start_of_an_engine_does_not_measure(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = EngineConfig(model=str(tiny_model), draft=str(tiny_model), device="cpu")
    times = [dict(load_models(config)[0].step_ms) for _ in range(NUM_MEASURED)]
    for name in ("measure_step_times", "measure_draft_times"):
        monkeypatch.setattr(model_set, name, lambda model: pytest.fail("measured again"))
    models = load_models(config)[0]
    assert all(ms <= min(found[rows] for found in times) + 1e-3 for rows, ms in models.step_ms.items())
    assert set(models.draft_step_ms) == {1, models.draft.prefill_width}  # type: ignore[union-attr]
