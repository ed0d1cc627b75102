"""Reports: pages hold their pictures and need nothing else; without the plotting library they say so."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from decoding.bench.report import plots, report
from decoding.errors import TabcastError

ROWS: list[report.Row] = [
    {
        "method": "plain <fast>",
        "speedup": 1.0,
        "accepted_by_position": [],
        "ms_per_token_by_context": [[10, 4.0], [90, 4.4]],
        "ms_by_completion_length": [[1, 40.0], [64, 300.0]],
        "p50_ms": 10.0,
        "p90_ms": 20.0,
        "p95_ms": 25.0,
        "p99_ms": 60.0,
    },
    {"method": "lookup", "speedup": 1.9, "accepted_by_position": [0.8, 0.5], "ms_per_token_by_context": [[10, 2.0]]},
]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        for name, value in attrs:
            # What a page would fetch: namespaces are names, and references inside the page begin with #.
            if name in ("src", "href", "xlink:href"):
                assert (value or "").startswith("#"), (tag, name, value)


def page_of(rows: list[report.Row], path: Path) -> str:
    made = report.Report(
        suite="decode", rows=rows, model="m", machine={"device": "cpu"}, versions={}, command="c", date="d"
    )
    made.write_html(path)
    return path.read_text(encoding="utf-8")


def test_a_page_has_a_picture_for_each_subject_and_fetches_nothing(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra `bench` is not installed")
    page = page_of(ROWS, tmp_path / "r.html")
    tags = Tags()
    tags.feed(page)
    assert tags.seen.count("svg") == len(plots.PLOTS)
    assert "script" not in tags.seen
    assert not re.search(r"url\((?!#)", page)
    for title in (
        "Speed-up per method",
        "Latency distribution",
        "Acceptance by position",
        "Cost against context",
        "Cost against completion",
    ):
        assert title in page
    assert "plain &lt;fast&gt;" in page
    assert "plain <fast>" not in page


def test_subjects_that_no_row_tells_of_have_no_picture() -> None:
    pytest.importorskip("matplotlib", reason="the extra `bench` is not installed")
    assert plots.draw([{"method": "all, raw", "exact_match_whole": 3.0}]) == []
    assert len(plots.draw([{"method": "plain", "speedup": 1.0, "accepted_by_position": []}])) == 1


def test_without_the_library_the_page_has_its_table_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = page_of(ROWS, tmp_path / "r.html")
    assert "<svg" not in page
    assert "pip install matplotlib" in page
    assert "lookup" in page


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    made = report.Report(suite="decode", rows=ROWS, model="m", machine={}, versions={}, command="c", date="d")
    for write in (made.write_json, made.write_html):
        with pytest.raises(TabcastError, match=r"none/x can't be written: No such file or directory"):
            write(tmp_path / "none" / "x")
