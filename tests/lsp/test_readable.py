"""What people read of `why` and `stats`."""

from __future__ import annotations

import pytest

from lsp_server.readable import ago, duration, stats_report, why_report

READY = {"state": "ready", "message": "", "model": "the shipped pair", "action": "", "better": ""}
NOTHING = {
    "requests": 0, "shown": 0, "displayed": 0, "accepted": 0, "partlyAccepted": 0, "shownChars": 0, "acceptedChars": 0,
    "latencyMs": {"median": None, "p95": None}, "tokensPerStep": None, "index": {"state": "off", "files": 0},
    "answered": {"local": 0, "sent": 0}, "reasons": {},
}  # fmt: skip


def request(
    reason: str, seconds: float, ms: float = 61, detail: str = "", document: str = "app.py"
) -> dict[str, object]:
    return {"document": document, "reason": reason, "detail": detail, "ms": ms, "secondsAgo": seconds}


@pytest.mark.parametrize(("seconds", "told"), [(0.4, "now"), (5.2, "5 s ago"), (130, "2 min ago"), (7300, "2 h ago")])
def test_ages_are_told_as_people_tell_them(seconds: float, told: str) -> None:
    assert ago(seconds) == told


@pytest.mark.parametrize(("ms", "told"), [(None, "-"), (0.4, "0 ms"), (330.6, "331 ms"), (2667.9, "2.7 s")])
def test_durations_are_told_as_people_tell_them(ms: float | None, told: str) -> None:
    assert duration(ms) == told


def test_repeated_cancellations_are_one_row_and_the_newest_stands_first() -> None:
    cancelled = [request("cancelled", seconds) for seconds in (3, 4, 5)]
    requests = [request("shown", 1, 2300), *cancelled, request("filtered", 90, 12, "loops", "b.py")]
    assert why_report(READY, requests) == (
        "Tabcast is ready: the shipped pair\n"
        "\n"
        "The last requests, the newest first:\n"
        "1 s ago    app.py  shown               2.3 s\n"
        "3 s ago    app.py  cancelled, 3 times\n"
        "2 min ago  b.py    filtered: loops     12 ms"
    )


def test_before_the_first_request_there_is_the_state_alone() -> None:
    failed = {**READY, "state": "failed", "message": "no model", "action": "run doctor"}
    assert why_report(failed, []) == "Tabcast is failed: no model\nrun doctor\n\nNothing was asked yet."


def test_statistics_are_a_table_in_words() -> None:
    figures = {
        **NOTHING,
        "requests": 12,
        "shown": 6,
        "displayed": 5,
        "accepted": 2,
        "partlyAccepted": 1,
        "shownChars": 200,
        "acceptedChars": 50,
        "latencyMs": {"median": 41.2, "p95": 1330.6},
        "tokensPerStep": 2.345,
        "answered": {"local": 3, "sent": 9, "ahead": 0},
        "reasons": {"shown": 6, "cancelled": 6},
    }
    assert stats_report(figures) == (
        "requests             12\n"
        "suggestions          6\n"
        "accepted             2 of 5 (40%), 1 more in part\n"
        "characters accepted  50 of 200 (25%)\n"
        "time, half of them   41 ms\n"
        "time, 95 of 100      1.3 s\n"
        "tokens a step        2.3\n"
        "code indexed         0 files, off\n"
        "\n"
        "Answered:\n"
        "  from memory    3\n"
        "  by the engine  9\n"
        "\n"
        "What became of the requests:\n"
        "  shown      6\n"
        "  cancelled  6"
    )
    assert stats_report(NOTHING).startswith("requests             0\n")
