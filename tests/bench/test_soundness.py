"""What is told of a suggestion's place, against cases worked out by hand; and what texts do to files."""

from __future__ import annotations

import json
import shlex
import sys
import warnings
from pathlib import Path

import pytest

from decoding.__main__ import main
from decoding.bench.metrics.quality import Verdict, judge, loops, parses, summarise
from decoding.bench.suites import soundness


@pytest.mark.parametrize(
    ("prefix", "text", "suffix", "expected"),
    [
        ("def f(x):\n    y = x\n", "    return y", "\n\nf(1)\n", True),
        ("def f(x):\n    y = x\n", "    return (y", "\n\nf(1)\n", False),
        ("def f(x):\n    y = x\n", "  return y", "\n\nf(1)\n", False),
        ("def f(x):\n", "    return x", "\n\nf(1)\n", None),  # no function without a body
        ("x = foo(", "1", ")\n", True),
        ("x = foo(", "1)", "\n", None),
        ("x = '\\d'\n", "y = 1", "\n", True),
    ],
)
def test_parsing_is_told_where_the_file_parsed_before(
    prefix: str, text: str, suffix: str, expected: bool | None
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert judge(prefix, text, suffix).parses is expected
    assert judge(prefix, text, suffix, is_python=False).parses is None


@pytest.mark.parametrize("text", ["(" * 100_000, "x = '\0'", "-" * 100_000 + "1", "x = \ud800"])
def test_what_is_no_program_does_no_harm(text: str) -> None:
    assert parses(text) is False


def test_a_special_token_that_stands_there_already_is_no_leak() -> None:
    assert judge("", "x<|end|>", "", ["<|end|>"]).leaks
    assert not judge("END = '<|end|>'\n", "x = '<|end|>'", "", ["<|end|>"]).leaks
    assert not judge("", "x", "", ["<|end|>"]).leaks


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("_default" * 8, True),
        ("x = 1\n" * 6, True),
        ("    a = b\n    c = d\n" * 4, True),
        ("x = 1\n" * 3, False),
        ("-" * 80, False),
        ("# " + "=" * 70, False),
        ("a = [0, 0, 0, 0]", False),
        ("a = [" + ", ".join(map(str, range(12))), True),
        ("a = [" + ", ".join(map(str, range(12))) + "]", False),
        ("".join(f"a{i} = {i}\n" for i in range(9)), True),
        ("".join(f"a{i} = {i}\n" for i in range(5)), False),
        ("for i in range(10):\n    print(i)\n", False),
        ("", False),
    ],
)
def test_loops(text: str, expected: bool) -> None:
    assert loops(text) == expected


def test_shares_are_of_what_could_be_told() -> None:
    verdicts = [Verdict(parses=found, leaks=bool(found), loops=False) for found in (True, False, None, True)]
    assert summarise(verdicts) == {
        "parses_percent": 66.67,
        "parse_told": 3,
        "leaks_percent": 50.0,
        "loops_percent": 0.0,
    }
    assert summarise([]) == {"parses_percent": None, "parse_told": 0, "leaks_percent": None, "loops_percent": None}


FRONT_END = f"--front-end={shlex.join([sys.executable, '-P', '-m', 'lsp_server'])}"


def test_texts_that_are_broken_on_purpose_are_cut_and_right_ones_kept(tmp_path: Path) -> None:
    out = tmp_path / "soundness.json"
    assert main(["bench", "soundness", "--stub", "--cursors", "56", FRONT_END, "--json", str(out)]) == 0
    report = json.loads(out.read_text())
    *rows, total = report["rows"]
    assert report["model"] == "texts of a stub"
    assert len(rows) == len(soundness.LANGUAGES)
    assert total["true_kept_percent"] >= 98
    assert total["repeated_percent"] <= 1
    assert total["broken_percent"] <= 10


def test_cursors_are_in_all_languages_and_both_line_ends() -> None:
    holes = soundness.choose_holes(soundness.SAMPLES, soundness.NUM_CURSORS)
    assert len(holes) >= 400
    assert {hole.language for hole in holes} == set(soundness.LANGUAGES.values())
    assert len({"\r\n" in hole.prefix for hole in holes if "\n" in hole.prefix}) == 2
    assert len({"\n\t" in hole.prefix.replace("\r", "") for hole in holes}) == 2


def test_what_was_measured_before_an_interruption_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holes = iter(range(5))

    def stub(hole: soundness.Hole) -> list[soundness.Text]:
        if next(holes) == 4:
            raise KeyboardInterrupt
        return [soundness.Text("true", hole.missing)]

    monkeypatch.setattr(soundness, "stub", stub)
    out = tmp_path / "soundness.json"
    assert main(["bench", "soundness", "--stub", "--cursors", "28", FRONT_END, "--json", str(out)]) == 130
    assert json.loads(out.read_text())["rows"][-1]["cursors"] == 4


def test_a_folder_without_code_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "soundness", "--stub", "--data", str(tmp_path), FRONT_END]) == 2
    assert "holds no file in a known language" in capsys.readouterr().err
