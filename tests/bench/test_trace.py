"""The trace player: planted faults are found, offsets are those of editors, and the real server has none."""

from __future__ import annotations

import gzip
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types
from rich.console import Console

from decoding.__main__ import main
from decoding.bench.harness import live_server, recorded_session
from decoding.bench.harness.data import DataError
from decoding.bench.harness.lsp_client import Answer
from decoding.bench.harness.text_units import from_units, offset_of, position_of, to_units
from decoding.bench.report import report
from decoding.bench.suites import trace, trace_judge, trace_keystrokes, trace_workload
from decoding.errors import TabcastError
from lsp_server.documents.store import DocumentStore

FRONT_END = f"--front-end={shlex.join([sys.executable, '-P', '-m', 'lsp_server'])}"
FAKE = Path(__file__).parent / "fake_server.py"


def fetch(time: int, number: int, end: str = "") -> dict[str, Any]:
    data = {"sourceId": recorded_session.FETCH, "kind": "end" if end else "start", "requestId": number}
    if end:
        return {"kind": "event", "time": time, "data": {**data, "error": end}}
    return {"kind": "documentEvent", "id": 0, "time": time, "data": {**data, "context": {"triggerKind": 0}}}


# Two edits in one event, a character of two code units, a request that the next edit makes old, and one that stays.
LOG = [
    {"kind": "header", "time": 1000},
    {"kind": "documentEncountered", "time": 1000, "id": 0, "relativePath": "src\\a b.ts"},
    {"kind": "setContent", "time": 500, "id": 0, "content": "s = '😀'\n", "v": 1},
    {"kind": "changed", "time": 1000, "id": 0, "edit": [[0, 1, "t"], [7, 7, "!"]], "v": 2},
    {"kind": "selectionChanged", "time": 99000, "id": 0, "selection": [[8, 8]]},
    fetch(1010, 0),
    {"kind": "changed", "time": 1300, "id": 0, "edit": [[8, 8, "?"]], "v": 3},
    {"kind": "selectionChanged", "time": 1300, "id": 0, "selection": [[9, 9]]},
    fetch(1301, 0, end="canceled"),
    fetch(1310, 1),
    fetch(1600, 1, end="canceled"),
]


@pytest.fixture
def session(tmp_path: Path) -> Path:
    path = tmp_path / "session.json.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        json.dump({"log": LOG}, file)
    return path


def play(session: Path, mode: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    trace.run([sys.executable, str(FAKE), mode], recorded_session.read_recording(session), 2.0, rows)
    assert [row["method"] for row in rows] == ["all requests", "with a suggestion"]
    return rows[0]


def test_the_recording_is_read_in_its_order(session: Path) -> None:
    events = recorded_session.read_recording(session)
    assert [type(event).__name__ for event in events] == [
        *("Opened", "Edited", "Requested", "Edited", "Cancelled", "Requested", "Cancelled")
    ]
    assert [event.at_ms for event in events] == [0, 0, 10, 300, 301, 310, 600]
    opened, first = events[0], events[1]
    assert isinstance(opened, recorded_session.Opened)
    assert isinstance(first, recorded_session.Edited)
    assert opened.path == "src/a b.ts"
    assert from_units(first.apply(to_units(opened.text))) == "t = '😀!'\n"
    assert [event.offset for event in events if isinstance(event, recorded_session.Requested)] == [8, 9]


def test_an_honest_server_has_no_faults(session: Path) -> None:
    row = play(session, "honest")
    assert (row["count"], row["answered"], row["stale"], row["not_answered_once"]) == (2, 2, 0, 0)
    assert row["p50_ms"] <= row["p99_ms"]
    assert "opened as python" in row["settings"]


@pytest.mark.parametrize(("mode", "stale"), [("stale", 1), ("misfit", 2)])
def test_stale_answers_are_found(session: Path, monkeypatch: pytest.MonkeyPatch, mode: str, stale: int) -> None:
    monkeypatch.setattr(trace, "PATIENCE_S", 2.0)  # the last request of "stale" is never answered
    assert play(session, mode)["stale"] == stale


@pytest.mark.parametrize(("mode", "count"), [("silent", 1), ("twice", 1)])
def test_requests_that_are_not_answered_once_are_found(
    session: Path, monkeypatch: pytest.MonkeyPatch, mode: str, count: int
) -> None:
    monkeypatch.setattr(trace, "PATIENCE_S", 2.0)
    assert play(session, mode)["not_answered_once"] == count


def test_cancellations_are_sent_for_what_is_unanswered(session: Path) -> None:
    row = play(session, "slow")
    assert (row["cancelled"], row["answered"], row["not_answered_once"], row["p50_ms"]) == (2, 0, 0, None)


def test_a_server_that_ends_is_an_error(session: Path) -> None:
    with pytest.raises(TabcastError, match="the language server ended: planted"):
        play(session, "dies")


def test_what_fits_and_what_is_stale() -> None:
    request = trace_judge.PlayedRequest(id=5, units="f(a)\n", offset=2, sent_s=0, change_mark=6, next_key_s=1)

    def is_stale(text: str, start: int, end: int, order: int = 1) -> bool:
        where = {"start": {"line": 0, "character": start}, "end": {"line": 0, "character": end}}
        answer = Answer(at_s=0.5, order=order, result=[{"insertText": text, "range": where}])
        return trace_judge.is_stale(request, {5: [answer], 6: [Answer(at_s=0.6, order=2)]})

    assert not is_stale("f(x, ", 0, 2)
    assert not is_stale("b, a)", 2, 4)
    assert is_stale("f(x", 0, 2, order=3)  # the server had read the change
    assert is_stale("g(x", 0, 2)  # another text stands before the cursor
    assert is_stale("f(", 0, 2)  # nothing new
    assert is_stale("b, c]", 2, 4)  # takes away what it doesn't bring
    assert is_stale("x", 3, 4)  # not at the cursor
    assert is_stale("x", 2, 9)  # behind the line's end


def test_an_answer_behind_the_next_key_is_not_in_time() -> None:
    requests = [trace_judge.PlayedRequest(id=i, units="", offset=0, sent_s=1.0, next_key_s=1.2) for i in range(4)]
    answers = {
        0: [Answer(at_s=1.1, order=1, result={"items": []})],
        1: [Answer(at_s=1.3, order=2, result={"items": [{"insertText": "x"}]})],
        2: [Answer(at_s=1.1, order=3)],  # superseded: null
        3: [Answer(at_s=1.1, order=4, error=-32800)],
    }
    everything, suggestions = trace_judge.summarise(trace_judge.Played(requests), answers, {"prefilled": 7})
    assert (everything["answered"], everything["before_next_key_percent"], everything["prefilled"]) == (2, 25, 7)
    assert (everything["superseded"], everything["cancelled"], everything["not_answered_once"]) == (1, 1, 0)
    assert (everything["p50_ms"], everything["p99_ms"]) == (100, 300)
    assert (suggestions["count"], suggestions["before_next_key_percent"]) == (1, 0)


def test_the_front_ends_share_is_read_from_its_log() -> None:
    log = (
        "12:00:00,1 INFO x: request 0: shown in 10.00 ms, engine 9.00 ms\n"
        "12:00:00,2 INFO x: the engine is ready\n"
        "12:00:00,3 INFO x: request 1: typed through in 0.30 ms, engine 0.00 ms\n"
        "12:00:00,4 INFO x: request 2: shown in 80.00 ms, engine 27.00 ms, pause 50.00 ms\n"
    )
    requests = [trace_judge.PlayedRequest(id=i, units="", offset=0, sent_s=1.0) for i in range(3)]
    answers = {i: [Answer(at_s=1.1, order=i, result={"items": []})] for i in range(3)}
    row, _, memory = trace_judge.summarise(trace_judge.Played(requests), answers, {}, live_server.request_timings(log))
    assert (row["front_end_p50_ms"], row["front_end_p99_ms"], row["front_end_percent"]) == (1, 3, 4.4)
    assert (row["paused"], row["pause_p99_ms"], row["reasons"]) == (1, 50, {"shown": 2, "typed through": 1})
    assert (memory["method"], memory["count"], memory["p99_ms"], memory["front_end_p99_ms"]) == (
        *("from memory", 1, 100, 0.3),
    )


def test_a_heavier_session_is_the_same_one_in_longer_files(session: Path) -> None:
    events = recorded_session.read_recording(session)
    larger = trace_workload.enlarge(events, num_lines=50, num_open=3)
    others, rest = larger[:3], larger[3:]
    assert all(isinstance(other, recorded_session.Opened) and other.text.count("\n") > 100 for other in others)
    assert len({other.document for other in others if isinstance(other, recorded_session.Opened)} - {0}) == 3
    texts = []
    for played in (events, rest):
        units = ""
        for event in played:
            if isinstance(event, recorded_session.Opened):
                units = to_units(event.text)
            elif isinstance(event, recorded_session.Edited):
                units = event.apply(units)
            elif isinstance(event, recorded_session.Requested):
                texts.append((units[event.offset - 3 : event.offset], units.count("\n")))
    assert [head for head, _ in texts[:2]] == [head for head, _ in texts[2:]]
    assert [num - 50 for _, num in texts[2:]] == [num for _, num in texts[:2]]
    assert trace_workload.enlarge(events) == events


def test_no_file_is_written_outside_of_the_workspace(tmp_path: Path) -> None:
    folder = tmp_path / "workspace"
    folder.mkdir()
    player = trace.Player(cast(Any, None), "python", folder=folder)
    for path, is_inside in (("a/b.py", True), ("../c.py", False), (str(tmp_path / "d.py"), False)):
        uri = player._place(recorded_session.Opened(at_ms=0, document=0, path=path, text="x"))
        assert uri.startswith(folder.as_uri()) == is_inside
    assert [file.name for file in tmp_path.rglob("*.py")] == ["b.py"]


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (("f()", 2), ("f(a)", 3), trace_keystrokes.WITHIN_LINE),
        (("f", 1), ("f()", 2), trace_keystrokes.TEXT_BEHIND),  # the editor closed the bracket
        (("f()", 2), ("f()", 3), trace_keystrokes.TEXT_BEHIND),  # the closing bracket was typed over
        (("f", 1), ("f\n  ", 4), trace_keystrokes.OTHER),
        (("fg", 2), ("f", 1), trace_keystrokes.OTHER),
        (("f", 1), ("f", 1), trace_keystrokes.OTHER),
        (("f\ng", 1), ("f\ngh", 4), trace_keystrokes.OTHER),
        (None, ("f", 1), trace_keystrokes.OTHER),
    ],
)
def test_kinds_of_keys(before: tuple[str, int] | None, after: tuple[str, int], kind: str) -> None:
    assert trace_keystrokes.kind_of(before, after) == kind


def test_the_cost_of_keys_by_kind() -> None:
    costs = [
        (trace_keystrokes.WITHIN_LINE, 1),
        (trace_keystrokes.WITHIN_LINE, 9),
        (trace_keystrokes.WITHIN_LINE, 2),
        (trace_keystrokes.OTHER, 80),
    ]
    rows = {row["method"]: row for row in trace_keystrokes.rows(costs)}
    assert set(rows) == {trace_keystrokes.WITHIN_LINE, trace_keystrokes.OTHER}
    within = rows[trace_keystrokes.WITHIN_LINE]
    assert (within["count"], within["prefilled_tokens_median"], within["prefilled_tokens_p90"]) == (3, 2, 9)


@given(st.lists(st.sampled_from(["a", "\n", "\r\n", "é", "😀"])), st.data())
def test_positions_are_the_servers(pieces: list[str], draw: st.DataObject) -> None:
    text = "".join(pieces)
    start, end = sorted(draw.draw(st.integers(0, len(pieces))) for _ in range(2))
    units = to_units(text)
    first, last = (len(to_units("".join(pieces[:number]))) for number in (start, end))
    assert [offset_of(units, position_of(units, offset)) for offset in (first, last)] == [first, last]
    store = DocumentStore("utf-16")
    store.open(types.TextDocumentItem(uri="a", language_id="python", version=1, text=text))
    positions = [types.Position(**position_of(units, offset)) for offset in (first, last)]
    change = types.TextDocumentContentChangePartial(range=types.Range(*positions), text="Z")
    identity = types.VersionedTextDocumentIdentifier(uri="a", version=2)
    store.change(types.DidChangeTextDocumentParams(text_document=identity, content_changes=[change]))
    snapshot = store.snapshot("a")
    assert snapshot is not None
    edited = recorded_session.Edited(at_ms=0, document=0, edits=((first, last, "Z"),))
    assert snapshot.text == from_units(edited.apply(units))


def test_the_command_with_the_real_server(tiny_model: Path, session: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.json"
    model = ["--model", str(tiny_model), "--draft", "none", "--device", "cpu", "--dtype", "float32"]
    assert main(["bench", "trace", *model, FRONT_END, "--data", str(session), "--json", str(out)]) == 0
    row, _, _, *by_kind = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert (row["count"], row["stale"], row["not_answered_once"], row["failed"]) == (2, 0, 0, 0)
    assert row["answered"] + row["superseded"] + row["cancelled"] == 2
    assert row["engine_requests"] >= 1
    assert row["prefilled_tokens_per_request"] > 0
    assert sum(kind["count"] for kind in by_kind) >= 1
    assert 0 < row["front_end_percent"] < 100
    if Path("/proc/self/status").exists():
        assert min(row["server_mb_start"], row["engine_mb_end"]) > 10


def test_many_figures_of_few_rows_stand_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"method": "all requests", "count": 403, "stale": 0, "p50_ms": 58.0, "p99_ms": 461.9, "settings": "fast"}
    made = report.Report(suite="trace", rows=[row], model="", machine={}, versions={})
    made.show(Console(width=40))
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["│", "p99", "ms", "│", "461.9", "│"] for line in lines)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "can't be read"),
        ("[]", "expected an object with a list named 'log'"),
        ('{"log": [{"kind": "changed", "id": 3, "time": 1, "edit": []}]}', "log entry 0 (changed)"),
        (json.dumps({"log": [*LOG[:3], {**LOG[3], "edit": [[0, 99, ""]]}]}), "log entry 3 (changed)"),
        (json.dumps({"log": LOG[:4]}), "has no completion request"),
        ('{"log": [7]}', "log entry 0 (7)"),
    ],
)
def test_bad_recordings_are_explained(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "session.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        recorded_session.read_recording(path)
    assert message in str(caught.value)


def test_bad_options(session: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["bench", "trace", "--data", str(session)]) == 2
    assert "run it by the command" in capsys.readouterr().err
    assert main(["bench", "trace", FRONT_END, "--data", str(tmp_path / "nowhere")]) == 2
    assert "no recording" in capsys.readouterr().err
    assert main(["bench", "trace", FRONT_END, "--data", str(session), "--minutes", "0.0001"]) == 2
    assert "no completion request in the first 0.0001 minutes" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["bench", "trace", FRONT_END, "--data", str(session), "--speed", "0"])


@pytest.mark.skipif("TABCAST_EVAL_DIR" not in os.environ, reason="TABCAST_EVAL_DIR names no evaluation files")
def test_the_published_recording_is_read() -> None:
    folder = Path(os.environ["TABCAST_EVAL_DIR"]) / "edit-recording"
    events = recorded_session.read_recording(next(folder.glob("*.json.gz")))
    assert sum(isinstance(event, recorded_session.Edited) for event in events) == 3247
    assert sum(isinstance(event, recorded_session.Requested) for event in events) == 3033
    assert sum(isinstance(event, recorded_session.Cancelled) for event in events) == 1745
