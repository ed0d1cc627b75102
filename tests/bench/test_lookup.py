"""The lookup suite: a row for each source and size, on code that is made on the spot."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from decoding.__main__ import main
from decoding.bench.suites import lookup


def write_code(folder: Path, num_files: int) -> None:
    rng = random.Random(0)
    words = ["alpha", "beta", "gamma", "delta"]
    for number in range(num_files):
        lines = [f"def {rng.choice(words)}_{number}({rng.choice(words)}):", "    return 1"] * 60
        (folder / f"module_{number}.py").write_text("\n".join(lines), encoding="utf-8")


def test_each_source_and_size_has_its_costs(tiny_model: Path, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    write_code(code, 40)
    out = tmp_path / "l.json"
    sizes = ["--data", str(code), "--sizes", "0.02", "0.3"]
    assert main(["bench", "lookup", "--model", str(tiny_model), *sizes, "--json", str(out)]) == 0
    rows = {row["method"]: row for row in json.loads(out.read_text(encoding="utf-8"))["rows"]}
    assert list(rows) == ["lookup: the prompt", "suffix: live text", "suffix: 0.02 MB", "suffix: 0.3 MB"]
    assert all(row["us_per_round"] > 0 for row in rows.values())
    small, large = rows["suffix: 0.02 MB"], rows["suffix: 0.3 MB"]
    assert large["tokens"] == pytest.approx(15 * small["tokens"], rel=0.01)
    assert large["disk_mb"] > small["disk_mb"] > 0
    assert small["first_token_right_percent"] > 50  # all files are alike


def test_copies_beyond_what_was_read_are_no_copies() -> None:
    tokens = np.array([5, 3, 5, 1, 7], dtype=np.uint16)
    made = lookup._of_size(tokens, 12, 7)
    assert made[:5].tolist() == tokens.tolist()
    for copy in (made[5:10], made[10:]):
        assert copy.tolist() != tokens[: len(copy)].tolist()
        assert [token_id == 7 for token_id in copy] == [token_id == 7 for token_id in tokens[: len(copy)]]
    assert made[5] == made[7]


def test_too_little_code_is_told(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.py").write_text("x = 1\n", encoding="utf-8")
    assert main(["bench", "lookup", "--model", str(tiny_model), "--data", str(tmp_path)]) == 2
    assert "too little code" in capsys.readouterr().err
