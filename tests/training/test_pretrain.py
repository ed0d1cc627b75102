"""Runs that learn, repeat, are interrupted, run out of disk, and end decayed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from decoding.training import checkpoint, corpus, pretrain, samples
from decoding.training.checkpoint import TrainingError
from decoding.training.samples import SampleFormat
from decoding.training.schedule import EARLY_DECAY_STEPS, RunLength, Schedule
from tests.training.conftest import new_small_model


def _train(
    form: SampleFormat,
    files: list[corpus.SourceFile],
    path: Path,
    length: RunLength,
    *,
    loss_of: pretrain.Loss | None = None,
) -> tuple[pretrain.Result, LlamaForCausalLM]:
    model = new_small_model(form)
    feed = samples.Samples(files, form, row_len=64, seed=1)
    recipe = pretrain.Recipe(length=length, num_rows=2)
    return pretrain.run(model, feed, recipe, path, loss_of=loss_of or pretrain.next_token_loss), model


def test_the_loss_falls_and_the_same_seed_gives_the_same_weights(
    form: SampleFormat, files: list[corpus.SourceFile], tmp_path: Path
) -> None:
    first = pretrain.held_out_loss(new_small_model(form), files, form)[0]
    _, one = _train(form, files, tmp_path / "one.pt", RunLength(steps=60))
    _, two = _train(form, files, tmp_path / "two.pt", RunLength(steps=60))
    assert pretrain.held_out_loss(one, files, form)[0] < first - 1
    for ours, theirs in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_an_interrupted_run_goes_on_to_the_same_weights(
    form: SampleFormat, files: list[corpus.SourceFile], tmp_path: Path
) -> None:
    """The signal of Ctrl-C comes in the middle of a step."""
    steps = 0

    def interrupted(model: LlamaForCausalLM, ids: torch.Tensor) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 11:
            os.kill(os.getpid(), signal.SIGINT)
        return pretrain.next_token_loss(model, ids)

    path = tmp_path / "run.pt"
    with pytest.raises(TrainingError, match="interrupted at step 11"):
        _train(form, files, path, RunLength(steps=30), loss_of=interrupted)
    result, parts = _train(form, files, path, RunLength(steps=30))
    assert result.num_steps == 30
    assert result.is_finished
    _, whole = _train(form, files, tmp_path / "whole.pt", RunLength(steps=30))
    for ours, theirs in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_stretch_ends_undecayed_and_the_next_goes_on(
    form: SampleFormat, files: list[corpus.SourceFile], tmp_path: Path
) -> None:
    length = RunLength(steps=3, stretch_minutes=1e-9)
    ends = [_train(form, files, tmp_path / "run.pt", length)[0] for _ in range(4)]
    assert [(end.num_steps, end.is_finished) for end in ends] == [(1, False), (2, False), (3, False), (3, True)]


def test_a_loss_that_is_no_number_stops_the_run_and_says_where(
    form: SampleFormat, files: list[corpus.SourceFile], tmp_path: Path
) -> None:
    _train(form, files, tmp_path / "run.pt", RunLength(steps=3))
    before = (tmp_path / "run.pt").read_bytes()
    with pytest.raises(TrainingError, match=r"the loss is nan at step 3.*holds the state before"):
        _train(form, files, tmp_path / "run.pt", RunLength(steps=9), loss_of=lambda *_: torch.tensor(float("nan")))
    assert (tmp_path / "run.pt").read_bytes() == before


def test_a_full_disk_leaves_the_last_checkpoint(
    form: SampleFormat, files: list[corpus.SourceFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.pt"
    _train(form, files, path, RunLength(steps=2))
    before = path.read_bytes()

    def full(state: object, file: Path) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(TrainingError, match=r"No space left.*the one before stands"):
        _train(form, files, path, RunLength(steps=4))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.glob("run*")] == ["run.pt"]


def test_a_checkpoint_of_another_model_is_refused(form: SampleFormat, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "run.pt", checkpoint.Progress(step=1), new_small_model(form), [])
    with pytest.raises(TrainingError, match="no checkpoint of this model"):
        checkpoint.load(tmp_path / "run.pt", new_small_model(form, width=64), [])


@pytest.mark.parametrize("cut", [0, 100, -100])
def test_a_checkpoint_that_is_cut_short_is_refused(form: SampleFormat, tmp_path: Path, cut: int) -> None:
    path = tmp_path / "run.pt"
    checkpoint.save(path, checkpoint.Progress(step=1), new_small_model(form), [])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(TrainingError, match="no checkpoint of this model") as caught:
        checkpoint.load(path, new_small_model(form), [])
    assert "\n" not in str(caught.value)


def test_a_text_is_no_checkpoint(form: SampleFormat, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not weights\n", encoding="utf-8")
    with pytest.raises(TrainingError, match="no checkpoint of this model"):
        checkpoint.load(tmp_path / "notes.txt", new_small_model(form), [])


@pytest.mark.parametrize(
    ("length", "times", "expected"),
    [
        (RunLength(steps=1000), [(0, 0), (39, 0), (500, 0), (800, 0), (1000, 0)], [1 / 40, 1, 1, 0.5, 0]),
        (RunLength(minutes=10), [(99, 0), (99, 300), (99, 480), (99, 600), (99, 900)], [1, 1, 0.5, 0, 0]),
        (RunLength(steps=1000, minutes=10), [(100, 480), (800, 60), (1000, 60), (500, 600)], [0.5, 0.5, 0, 0]),
    ],
)
def test_the_rate_follows_whatever_is_over_first(
    length: RunLength, times: list[tuple[int, float]], expected: list[float]
) -> None:
    schedule = Schedule(length)
    assert [schedule.rate(step, spent_s) for step, spent_s in times] == pytest.approx(expected)


def test_a_stop_file_makes_the_run_decay_and_end(tmp_path: Path) -> None:
    schedule = Schedule(RunLength(minutes=100, stop_file=tmp_path / "STOP"))
    assert schedule.rate(100, 60) == 1
    (tmp_path / "STOP").touch()
    rates = [schedule.rate(100 + step, 60) for step in range(0, EARLY_DECAY_STEPS + 1, EARLY_DECAY_STEPS // 4)]
    assert rates == pytest.approx([1, 0.75, 0.5, 0.25, 0])
