"""The suite of jumps: places are code of the wanted files, a row counts what never came, the product is driven."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from decoding.__main__ import main
from decoding.bench.harness import jump_places
from decoding.bench.harness.time_limit import TimeLimit
from decoding.bench.suites import jump
from decoding.errors import TabcastError

FRONT_END = f"--front-end={shlex.join([sys.executable, '-P', '-m', 'lsp_server'])}"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    for ending, mark in ((".py", "#"), (".ts", "//")):
        for number in range(3):
            lines = [
                f"    value_{i} = compute({number}, {i})" if i % 3 else f"{mark} part {i} of this" for i in range(120)
            ]
            file = folder / f"sub{number}" / f"file{number}{ending}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join(lines), encoding="utf-8")
    (folder / "sub0" / "short.py").write_text("x = 1\n" * 9, encoding="utf-8")
    return folder


def test_places_are_code_taken_out_of_files_of_the_wanted_size(code: Path) -> None:
    files = jump_places.choose_files([code], num_lines=120, num_places=7, per_file=2)
    assert [file.language for file in files] == ["python", "typescript", "python", "typescript"]
    assert [len(file.holes) for file in files] == [2, 2, 2, 1]
    assert len({file.path for file in files}) == 4
    for file in files:
        whole = file.path.read_text(encoding="utf-8").split("\n")
        for number, missing in file.holes:
            assert file.lines[number] + missing == whole[number]
            assert missing.startswith("value_")
    assert files == jump_places.choose_files([code], num_lines=120, num_places=7, per_file=2)


def test_too_few_files_are_told(code: Path) -> None:
    with pytest.raises(TabcastError, match="too few files of about 2000 lines"):
        jump_places.choose_files([code], num_lines=2000, num_places=1, per_file=1)


def test_a_place_without_a_suggestion_counts_as_endless() -> None:
    jumps = [
        jump.Jump(is_first=False, first_token_ms=ms, shown_ms=ms and 2 * ms, num_read=number, num_idle=3)
        for number, ms in enumerate((100.0, 200.0, None))
    ]
    row = jump.summarise("here", jumps)
    assert (row["count"], row["shown"]) == (3, 2)
    assert (row["first_token_ms_50"], row["first_token_ms_95"]) == (200.0, None)
    assert (row["first_shown_ms_50"], row["prefilled_50"], row["prefilled_95"]) == (400.0, 1, 2)


def test_the_command(tiny_model: Path, code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jump, "PATIENCE_S", 20.0)
    out = tmp_path / "jump.json"
    model = ["--model", str(tiny_model), "--draft", "none", "--device", "cpu", "--dtype", "float32"]
    size = [
        "--folder",
        str(code),
        "--lines",
        "120",
        "--think",
        "0.1",
        "--stay",
        "0.1",
        "--places",
        "2",
        "--per-file",
        "1",
    ]
    without = ["--without", "reading", "--minutes", "9"]
    assert main(["bench", "jump", *model, FRONT_END, *size, *without, "--json", str(out)]) == 0
    row, other = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert other["method"] == f"{row['method']}, without reading"
    assert other["count"] == 2
    assert row["count"] == 2
    assert row["shown"] == 0 or row["first_token_ms_50"] > 0
    assert "1 of python, 1 of typescript" in row["settings"]


def test_a_limit_is_shared_and_what_one_part_leaves_the_others_have() -> None:
    clock = [0.0]
    limit = TimeLimit(3.0, 3, lambda: clock[0])
    limit.begin_part()
    clock[0] = 59.0
    assert not limit.is_over
    clock[0] = 60.0
    assert limit.is_over
    limit.begin_part()
    clock[0] = 70.0
    limit.begin_part()
    clock[0] = 179.0
    assert not limit.is_over
    clock[0] = 180.0
    assert limit.is_over
    endless = TimeLimit(None, 2)
    endless.begin_part()
    assert not endless.is_over


def test_a_count_of_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "jump", FRONT_END, "--places", "0"]) == 2
    assert "--places and --per-file must be at least 1" in capsys.readouterr().err
