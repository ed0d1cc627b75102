"""What `why` and `stats` tell of the last requests."""

from __future__ import annotations

import pytest

from lsp_server.request_log import Entry, RequestLog


def journal_of(*latencies_ms: float) -> RequestLog:
    log = RequestLog()
    for number, ms in enumerate(latencies_ms):
        log.record(Entry(request_id=number, method="", document="a.py", reason="shown", detail="", ms=ms, at_s=0.0))
    return log


@pytest.mark.parametrize(
    ("latencies_ms", "median", "p95"),
    [
        ([], None, None),
        ([7], 7, 7),
        ([30, 10], 20, 30),
        ([10, 20, 30], 20, 30),
        ([*range(1, 21)], 10.5, 19),
        ([*range(1, 101)], 50.5, 95),
    ],
)
def test_median_and_95th_percentile(latencies_ms: list[float], median: float | None, p95: float | None) -> None:
    assert journal_of(*latencies_ms).figures()["latencyMs"] == {"median": median, "p95": p95}
