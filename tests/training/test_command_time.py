"""How a command of so many minutes shares them out: the promise holds, and something is always made."""

from __future__ import annotations

import pytest

from decoding.training.command_time import MEASURED_AGAIN, CommandTime


class _Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize(("loading_s", "measuring_s", "trained_min"), [(60, 10, 8.3), (0, 0, 10), (570, 10, 2.5)])
def test_training_gets_what_loading_and_measuring_leave(
    loading_s: float, measuring_s: float, trained_min: float
) -> None:
    clock = _Clock()
    time = CommandTime(10, clock)
    clock.now_s += loading_s
    with time.measuring():
        clock.now_s += measuring_s
    spent_min = (loading_s + measuring_s * (1 + MEASURED_AGAIN)) / 60
    assert time.minutes_to_train() == pytest.approx(max(2.5, 10 - spent_min))
    assert time.minutes_to_train() == pytest.approx(trained_min, abs=0.04)
    assert not time.is_over
    assert time.is_half_over() == (clock.now_s >= 300)
    clock.now_s = 600
    assert time.is_over


def test_a_short_command_measures_less_and_one_without_a_limit_everything() -> None:
    assert [CommandTime(minutes).few(12) for minutes in (1, 5, 60, None)] == [2, 6, 12, 12]
    assert CommandTime(None).minutes_to_train() is None
    assert not CommandTime(None).is_over
