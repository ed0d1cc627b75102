"""The replay suite: typing worked out by hand with suggestions from a script, the recording's clock, the command."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from decoding.__main__ import main
from decoding.bench.harness import data, recorded_session
from decoding.bench.suites import replay
from decoding.bench.suites.suggestions import FrontEnd, Suggester
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import ScoredToken

FRONT_END = [sys.executable, "-P", "-m", "lsp_server"]
GOLD = "total = add(a, b)"
ROW = {
    "id": "r-1",
    "repo": "some/repo",
    "commit": "c1",
    "path": "shop.py",
    "kind": "code",
    "before_prefix": "def f(a, b):\n",
    "before_suffix": "    return total\n",
    "added": "    total = a\n",
    "recent_files": [{"path": "other.py", "blob": "b1"}],
}


def scripted(texts: dict[int, str], ms: float = 0.0) -> Callable[[int], replay.ReplayedOffer]:
    return lambda position: replay.ReplayedOffer(text=texts.get(position, ""), ms=ms)


def test_without_suggestions_every_character_is_a_key() -> None:
    typing = replay.type_out(GOLD, scripted({}), replay.MODES["whole"])
    assert (typing.num_typed, typing.num_completed, len(typing.offers)) == (17, 0, 17)
    assert (typing.completed_percent, typing.saved_percent, typing.kept_rates) == (0, 0, [])


def test_a_whole_suggestion_is_one_key() -> None:
    typing = replay.type_out(GOLD, scripted({2: GOLD[2:]}), replay.MODES["whole"])
    assert (typing.num_typed, typing.num_completed, typing.accept_keys) == (2, 15, 1)
    assert typing.completed_percent == pytest.approx(100 * 15 / 17)
    assert typing.saved_percent == pytest.approx(100 * (1 - 3 / 17))
    assert (len(typing.offers), typing.kept_rates) == (3, [1.0])


def test_what_goes_on_with_the_screen_is_not_asked_again() -> None:
    # Wrong from "sub" on: typed through up to there, asked again only behind it.
    typing = replay.type_out(GOLD, scripted({0: "total = sub(a)"}), replay.MODES["whole"])
    assert typing.num_typed == 17
    assert len(typing.offers) == 1 + len(GOLD) - len("total = a")


def test_words_and_lines_are_accepted_by_themselves() -> None:
    offered = {0: "total = add(b)\n    return"}
    words = replay.type_out(GOLD, scripted(offered), replay.MODES["first word"])
    # "total" and " add" by one key each; " =" and "(" are too short to be accepted; "b" is wrong.
    assert (words.num_completed, words.accept_keys, words.num_accepted) == (9, 2, 1)
    lines = replay.type_out("x = 1\ny = 2", scripted({0: "x = 1\ny = 3"}), replay.MODES["first line"])
    assert (lines.num_completed, lines.accept_keys) == (5, 1)
    whole = replay.type_out("x = 1\ny = 2", scripted({0: "x = 1\ny = 3"}), replay.MODES["whole"])
    assert whole.num_completed == 0


def test_short_suggestions_are_not_accepted() -> None:
    assert replay.type_out("abx", scripted({1: "bx"}), replay.MODES["whole"]).num_completed == 0
    assert replay.type_out("abxy", scripted({1: "bxy"}), replay.MODES["whole"]).num_completed == 3


def test_a_late_suggestion_does_not_count() -> None:
    late = replay.type_out(GOLD, scripted({0: GOLD}, ms=100), replay.MODES["whole"], [100.0] * len(GOLD))
    assert (late.num_completed, late.kept_rates, len(late.offers)) == (0, [], len(GOLD))
    in_time = replay.type_out(GOLD, scripted({0: GOLD}, ms=100), replay.MODES["whole"], [100.5] * len(GOLD))
    assert (in_time.num_completed, in_time.num_typed) == (len(GOLD), 0)


def test_the_rows_figures() -> None:
    rows = [
        data.ReplayRow(
            name=str(i), repository=f"r{i}", commit="c", path="x.py", kind="code", prefix="", suffix="", gold="abcd\n",
            open_files=(),
        )
        for i in range(2)
    ]  # fmt: skip

    def suggest(row: data.ReplayRow, position: int) -> replay.ReplayedOffer:
        text = "abcd" if row.repository == "r0" and position == 0 else ""
        return replay.ReplayedOffer(text=text, ms=50, num_tokens=6, num_steps=2)

    done = list(replay.replay(rows, suggest, [40.0]))
    found = {str(row["method"]): row for row in replay.summarise(done, "scripted")}
    assert found["whole, r0"]["completed_percent"] == 100
    assert found["whole, r1"]["completed_percent"] == 0
    everything = found["whole, all"]
    assert everything["completed_percent"] == 50
    assert everything["keystrokes_saved_percent"] == 37.5
    assert (everything["accepts_per_100_shown"], everything["kept_percent"]) == (100, 100)
    assert (everything["asked"], everything["shown"], everything["tokens_per_step"]) == (5, 1, 3)
    assert found["whole, all, clock"]["completed_percent"] == 0
    assert found["whole, all, clock"]["p50_ms"] == 50


def test_what_is_shown_is_judged_where_it_stands() -> None:
    row = data.ReplayRow(
        name="r", repository="r", commit="c", path="x.py", kind="code", prefix="def f(a):\n", suffix="print(f(1))\n",
        gold="    return a\n", open_files=(),
    )  # fmt: skip
    texts = {0: "    return b", 5: "eturn)", 11: " + <|x|>"}

    def suggest(_row: data.ReplayRow, position: int) -> replay.ReplayedOffer:
        return replay.ReplayedOffer(text=texts.get(position, ""), ms=0)

    (done,) = replay.replay([row], suggest, [40.0], ["<|x|>"])
    typing = done["whole", False]
    # At first the function has no body, so that nothing can be told; then `r` alone stands there.
    assert [verdict.parses for verdict in typing.verdicts] == [None]
    found = replay.summarise([done], "")
    assert next(found)["parse_told"] == 0
    texts.pop(0)
    (done,) = replay.replay([row], suggest, [40.0], ["<|x|>"])
    judged = done["whole", False].verdicts
    assert [(verdict.parses, verdict.leaks) for verdict in judged] == [(False, False), (False, True)]
    row_of = next(iter(replay.summarise([done], "")))
    assert (row_of["parses_percent"], row_of["leaks_percent"], row_of["loops_percent"]) == (0, 50, 0)
    other = replace(row, path="x.txt")
    (done,) = replay.replay([other], suggest, [40.0])
    assert {verdict.parses for verdict in done["whole", False].verdicts} == {None}


def test_the_last_line_end_stands_there_already(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROW), encoding="utf-8")
    assert replay.place(data.read_replay(path)[0]) == ("    total = a", "\n    return total\n")


def test_suggestions_come_from_the_core_and_the_front_ends_filters(
    pair: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROW), encoding="utf-8")
    row = data.read_replay(path)[0]
    with closing(FrontEnd(FRONT_END, min_confidence=0)) as front_end:
        assert front_end.shown("a.py", "x = ", "\ny = 2\n", "1\ny = 2\n") == "1"
        assert front_end.shown("a.js", "f = ", "\n", "new Map();") == "new Map();"
        shown = Suggester(pair, front_end, 8)(row, 10)
        with monkeypatch.context() as patch:
            patch.setattr(front_end, "shown", lambda path, prefix, suffix, text, tokens: text)
            raw = Suggester(pair, front_end, 8)(row, 10)
        assert shown.text == front_end.shown(row.path, row.prefix + row.gold[:10], "\n" + row.suffix, raw.text)
    assert 1 <= raw.num_steps <= raw.num_tokens <= 16


@pytest.mark.parametrize(
    ("path", "prefix", "suffix", "mode", "max_tokens"),
    [
        ("shop.py", "def f(a, b):\n    ", "\n", "block", 100),
        ("shop.py", "total = (\n    ", "\n)\n", "line", 48),
        ("lib/shop.go", "func f() {\n\t", "\n}\n", "block", 100),
        ("shop.py", "password = 'hunter2'\nx = ", "\n", "line", 48),
    ],
)
def test_what_is_asked_is_what_an_editor_asks(
    tmp_path: Path, path: str, prefix: str, suffix: str, mode: str, max_tokens: int
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps(ROW), encoding="utf-8")
    row = replace(data.read_replay(rows)[0], path=path)
    with closing(FrontEnd(FRONT_END)) as front_end:
        request = front_end.request(row, prefix, suffix, 100)
        assert front_end.request(row, "", "\n", 100) is None  # an empty document
    assert request is not None
    assert (request.tabcast.line_mode, request.max_tokens) == (mode, max_tokens)
    assert (request.tabcast.path, request.tabcast.repo) == (path, "repo")
    assert request.prompt == prefix.replace("hunter2", "*" * 7)
    assert request.suffix == suffix


def test_the_command(tiny_model: Path, tmp_path: Path) -> None:
    out, rows = tmp_path / "r.json", tmp_path / "rows.jsonl"
    rows.write_text(json.dumps(ROW), encoding="utf-8")
    (tmp_path / "rows-context.jsonl").write_text(json.dumps({"blob": "b1", "text": "a = 1\n"}), encoding="utf-8")
    model = ["--model", str(tiny_model), "--draft", "none", "--device", "cpu", "--max-tokens", "4"]
    front_end = f"--front-end={shlex.join(FRONT_END)}"
    assert main(["bench", "replay", *model, "--data", str(rows), front_end, "--json", str(out)]) == 0
    report = json.loads(out.read_text(encoding="utf-8"))
    assert [row["method"] for row in report["rows"][:3]] == [f"{mode}, some/repo" for mode in replay.MODES]
    assert len(report["rows"]) == 6
    assert all(row["settings"].startswith("suggestions as an editor shows them") for row in report["rows"])


def test_the_gaps_of_a_recording(tmp_path: Path) -> None:
    times = [1000, 1100, 1130, 9000, 9250]
    log: list[dict[str, object]] = [{"kind": "setContent", "id": 0, "time": 0, "content": "", "v": 1}]
    log += [{"kind": "changed", "id": 0, "time": time, "edit": [[0, 0, "a"]]} for time in times]
    fetch = {"sourceId": recorded_session.FETCH, "kind": "start", "requestId": 0}
    log.append({"kind": "documentEvent", "id": 0, "time": 9300, "data": fetch})
    path = tmp_path / "session.json"
    path.write_text(json.dumps({"log": log}), encoding="utf-8")
    assert recorded_session.key_gaps_ms(recorded_session.read_recording(path)) == [100, 30, 250]


@pytest.mark.parametrize(
    ("field", "instead", "message"),
    [
        ("added", {}, "row 1: field 'added' should be a text, it is missing"),
        ("repo", {"repo": 7}, "row 1: field 'repo' should be a text, found int"),
        ("recent_files", {"recent_files": ["a.py"]}, "row 1: field 'recent_files' should be a list of objects"),
        ("added", {"added": "\n"}, "no row inserts anything"),
    ],
)
def test_bad_rows_are_named(
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    field: str,
    instead: dict[str, object],
    message: str,
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({**{key: ROW[key] for key in ROW if key != field}, **instead}), encoding="utf-8")
    assert main(["bench", "replay", "--model", str(tiny_model), "--device", "cpu", "--data", str(path)]) == 2
    assert message in capsys.readouterr().err


def test_context_comes_from_the_front_ends_sources(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROW), encoding="utf-8")
    foo = ("a/c.py", "class Foo:\n    x: int\n")
    row = replace(data.read_replay(path)[0], path="a/b.py", prefix="from a.c import Foo\n\nFoo", open_files=(foo,))
    with closing(FrontEnd(FRONT_END, sources=["imports"])) as front_end:
        assert [(file.path, file.text) for file in front_end.files(row, 1024)] == [foo]
    with closing(FrontEnd(FRONT_END)) as front_end:
        assert front_end.files(row, 1024) == ()  # too small a window
        assert front_end.files(row, 8192)


def test_what_is_improbable_is_cut_as_by_the_editor(tmp_path: Path) -> None:
    tokens = [ScoredToken(text="foo(bar)", logprob=-0.03), ScoredToken(text=" or baz", logprob=-3.0)]
    for bound, expected in ((None, "foo(bar)"), (0.8, "foo(bar)"), (0.01, "foo(bar) or baz"), (0.99, "")):
        with closing(FrontEnd(FRONT_END, min_confidence=bound)) as front_end:
            assert front_end.shown("a.py", "x = ", "\n", "foo(bar) or baz", tokens) == expected
