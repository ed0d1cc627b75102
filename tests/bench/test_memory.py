"""Peak memory of a call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from decoding.bench.metrics import memory


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells resident memory so")
def test_memory_that_is_given_back_counts() -> None:
    def call() -> None:
        np.ones(40_000_000, dtype=np.uint8)

    found = memory.peak_growth_mb(call, torch.device("cpu"))
    assert found is not None
    assert 30 < found < 80


def test_where_it_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "resident_bytes", lambda: None)
    calls: list[int] = []
    assert memory.peak_growth_mb(lambda: calls.append(1), torch.device("cpu")) is None
    assert calls == [1]
