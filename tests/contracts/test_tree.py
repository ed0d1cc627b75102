"""What must hold for the tracked files themselves."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ARCHITECTURE = REPOSITORY / "ARCHITECTURE.md"


def tracked_files() -> list[Path]:
    found = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in found.stdout.split("\0") if name and (path := REPOSITORY / name).is_file()]


def test_no_file_names_a_path_of_the_machine_it_was_made_on() -> None:
    paths = {str(REPOSITORY), str(Path.home()), sys.prefix, "/root", "/work"} - {"/"}
    # Not inside of a longer path or a URI: `file:///work/app.py` is somebody's example.
    pattern = re.compile("|".join(rf"(?<![\w./-]){re.escape(path)}/" for path in paths))
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # weights, pictures
        found += [f"{path.relative_to(REPOSITORY)}: {match[0]}" for match in pattern.finditer(text)]
    assert found == []


@pytest.mark.skipif(not ARCHITECTURE.exists(), reason="no ARCHITECTURE.md")
def test_every_invariant_names_a_test_that_exists() -> None:
    rows = re.findall(r"^\|\s*(\d+)\s*\|(.*)\|(.*)\|\s*$", ARCHITECTURE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows, "ARCHITECTURE.md has no table of invariants"
    for number, _, cell in rows:
        tests = re.findall(r"(tests/[\w/]+\.py)::(\w+)", cell)
        assert tests, f"invariant {number} names no test"
        for file, name in tests:
            source = (REPOSITORY / file).read_text(encoding="utf-8") if (REPOSITORY / file).exists() else ""
            assert re.search(rf"^\s*(?:async )?def {name}\(", source, re.MULTILINE), (
                f"invariant {number}: {file}::{name}"
            )
