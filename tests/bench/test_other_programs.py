"""How much of the processor other programs took during a measurement."""

from __future__ import annotations

import pytest

from decoding.bench import commands
from decoding.bench.metrics import other_programs
from decoding.bench.metrics.other_programs import OtherPrograms


@pytest.mark.parametrize(("busy_s", "own_s", "percent"), [(20.0, 20.0, 0.0), (20.0, 15.0, 25.0), (10.0, 11.0, 0.0)])
def test_what_is_not_ours_is_others(
    busy_s: float, own_s: float, percent: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([(100.0, 500.0, 7.0), (110.0, 500.0 + busy_s, 7.0 + own_s)])
    monkeypatch.setattr(other_programs, "_now", lambda: next(moments))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert OtherPrograms().percent() == percent


def test_a_report_tells_of_a_busy_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    others = OtherPrograms()
    for percent, told in ((None, False), (1.0, False), (37.5, True)):
        monkeypatch.setattr(OtherPrograms, "percent", lambda _, percent=percent: percent)
        assert bool(commands._busy(others)) is told
    assert "37.5 %" in commands._busy(others)["busy"]
    assert commands._busy(None) == {}


def test_where_it_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_programs, "_now", lambda: None)
    assert OtherPrograms().percent() is None
