"""When an idle engine has its draft learn, and when it stops that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from decoding.config import EngineConfig
from decoding.service.learner import BUSY_S, IDLE_S, MIN_NEW_ANSWERS, Learner
from decoding.storage.adaptation import AdaptationFolder, AnswerLog


class Process:
    """A child that ends when it is told to."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = list(command)
        self.returncode: int | None = None
        self.is_terminated = False

    def poll(self) -> int | None:
        return self.returncode

    def terminate(self) -> None:
        self.is_terminated = True


@pytest.fixture
def config(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineConfig:
    monkeypatch.setenv("TABCAST_ONLINE_DIR", str(tmp_path / "online"))
    return EngineConfig(model=str(tiny_model), draft=str(tiny_model), online=True)


@pytest.fixture
def started() -> list[Process]:
    return []


@pytest.fixture
def learner(config: EngineConfig, tmp_path: Path, started: list[Process]) -> Learner:
    def start(command: Sequence[str], _directory: Path) -> Process:
        started.append(Process(command))
        return started[-1]

    return Learner(config, tmp_path, start)  # type: ignore[arg-type]


def _write(config: EngineConfig, first: int, count: int) -> None:
    assert config.draft_path is not None
    ring = AnswerLog(AdaptationFolder.of(config.model_path, config.draft_path))
    for i in range(first, first + count):
        ring.note([i] * 40, [i] * 5)
    ring.flush()


def test_it_learns_when_idle_and_there_is_enough(
    config: EngineConfig, learner: Learner, started: list[Process]
) -> None:
    learner.look(IDLE_S)
    _write(config, 0, MIN_NEW_ANSWERS - 1)
    learner.look(IDLE_S)
    assert not started
    _write(config, 1000, 1)
    learner.look(IDLE_S - 1)
    assert not started
    learner.look(IDLE_S)
    learner.look(IDLE_S + 1)
    assert len(started) == 1
    assert started[0].command[1:6] == ["-P", "-m", "decoding", "train", "online"]


def test_it_gives_way_and_begins_again(config: EngineConfig, learner: Learner, started: list[Process]) -> None:
    _write(config, 0, MIN_NEW_ANSWERS)
    learner.look(IDLE_S)
    learner.look(BUSY_S - 1)
    assert started[0].is_terminated
    learner.look(IDLE_S)
    assert len(started) == 2
    learner.close()
    assert started[1].is_terminated


def test_what_failed_is_not_tried_again_before_there_is_more(
    config: EngineConfig, learner: Learner, started: list[Process]
) -> None:
    _write(config, 0, MIN_NEW_ANSWERS)
    learner.look(IDLE_S)
    started[0].returncode = 1
    learner.look(IDLE_S + 1)
    learner.look(IDLE_S + 2)
    assert len(started) == 1
    _write(config, 1000, MIN_NEW_ANSWERS)
    learner.look(IDLE_S)
    assert len(started) == 2


def test_it_never_learns_unless_it_is_switched_on(config: EngineConfig, tmp_path: Path) -> None:
    _write(config, 0, MIN_NEW_ANSWERS)

    def start(*_: object) -> Process:
        raise AssertionError

    off = EngineConfig(model=config.model, draft=config.draft)
    Learner(off, tmp_path, start).look(IDLE_S)  # type: ignore[arg-type]


def test_learning_that_can_not_begin_ends_no_engine(
    config: EngineConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def start(_command: Sequence[str], _directory: Path) -> Process:
        raise OSError(28, "No space left on device")

    learner = Learner(config, tmp_path, start)  # type: ignore[arg-type]
    _write(config, 0, MIN_NEW_ANSWERS)
    for _ in range(2):
        learner.look(IDLE_S)
    assert "No space left" in caplog.text
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
    learner.close()
