"""The cases of `tabcast bench edits`: what a rename has to change, what is quiet, and how a played case is counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from decoding.bench.harness import edit_names_python, edit_names_tree
from decoding.bench.harness.edit_cases import Case, Change, quiet_cases, rename_cases
from decoding.bench.suites.edits import Played, summarise
from decoding.errors import TabcastError

PYTHON = """import os


def load(path, mode):
    text = [path for path in os.listdir(path)]
    return text, "path", load


class Loader:
    def run(self, other):
        self.run(other)
        return other.x
"""
TYPESCRIPT = """import { a } from "a";
export function load(path: string): string {
  const text = a(path, { path: 1 });
  if (text) { const text = 2; a(text); }
  return text;
}
"""
GO = """package a

func load(path string) int {
	text := open(path)
	if text := 2; text > 1 {
		return text
	}
	return text + T{path: 1}.text
}
"""


def lines_of(text: str, found: list[edit_names_python.Named], name: str) -> list[list[int]]:
    return sorted([text.count("\n", 0, at) for at in one.places] for one in found if one.name == name)


def test_names_of_python_are_found_by_scope() -> None:
    found = edit_names_python.names_of(PYTHON)
    assert lines_of(PYTHON, found, "path") == [[3, 4]]
    assert lines_of(PYTHON, found, "load") == [[3, 5]]
    assert lines_of(PYTHON, found, "text") == [[4, 5]]
    assert lines_of(PYTHON, found, "run") == [[9, 10]]
    assert lines_of(PYTHON, found, "os") == [[0, 4]]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [("typescript", TYPESCRIPT, [[2, 3, 4], [3, 3]]), ("go", GO, [[3, 7], [4, 4, 5]])],
)
def test_names_of_other_languages_are_found_by_scope(language: str, text: str, expected: list[list[int]]) -> None:
    pytest.importorskip(f"tree_sitter_{language}")
    assert lines_of(text, edit_names_tree.names_of(text, language), "text") == expected


def test_cases_are_made_of_files(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"file{number}.py").write_text(f"count{number} = {number}\n\n" + PYTHON * 8)
    for case in rename_cases([tmp_path], "python", 8):
        (change,) = case.changes
        assert case.wanted.startswith(case.text[: change.at] + change.new)
        assert case.wanted.count("\n") == case.text.count("\n")
        assert case.wanted.count(change.new) > 1
    assert {case.kind for case in quiet_cases([tmp_path], "python", 16)} >= {"undo", "copied", "use"}
    with pytest.raises(TabcastError, match="name a folder with more code"):
        rename_cases([tmp_path], "python", 1000)


def test_what_was_played_is_counted() -> None:
    case = Case(
        path=Path("a.py"), language="python", kind="class", text="", changes=(Change(at=0, end=0, new=""),), wanted="x"
    )
    played = [
        Played(case, num_due=4, num_right=4, num_offered=4, times_ms=[1.0, 3.0]),
        Played(case, num_due=4, num_right=1, num_wrong=1, num_offered=2, times_ms=[2.0]),
    ]
    row = summarise("renames", played)
    assert (row["due_lines"], row["found"], row["found_by_case"], row["precision"]) == (8, 0.625, 0.625, 0.833)
    assert (row["p50_ms"], row["p95_ms"], row["wrong"]) == (2.0, 3.0, 1)
    quiet = summarise("quiet", [Played(case), Played(case, num_wrong=1, num_offered=1)])
    assert (quiet["disturbed"], quiet["kinds"]) == (1, "class 1")
