"""The times of single passes beside their floor, and the decode suite over several contexts and rates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from decoding.__main__ import main
from decoding.bench.harness import random_models
from decoding.bench.metrics import bandwidth
from decoding.bench.suites import decode_rows
from decoding.config import EngineConfig

CPU = ["--device", "cpu", "--dtype", "float32", "--shape", "tiny", "--draft-shape", "smaller"]


@pytest.fixture(autouse=True)
def rehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TABCAST_KERNELS", "rehearsed")
    monkeypatch.setattr(bandwidth, "COPIED_BYTES", {"cpu": 1 << 16})


def rows_of(path: Path) -> dict[str, dict[str, object]]:
    return {row["method"]: row for row in json.loads(path.read_text(encoding="utf-8"))["rows"]}


def test_what_a_pass_must_read() -> None:
    model = random_models.random_pair(
        "tiny", None, EngineConfig(device="cpu", dtype="float32", kernels="rehearsed"), 320
    ).target
    # Per layer (4 + 2 * 2) heads of 8, 32 * 32, three matrices of 32 * 64; a head of 500 * 32; keys and values.
    weights = 2 * (64 * 32 + 32 * 32 + 3 * 32 * 64) + 500 * 32
    assert bandwidth.floor_bytes(model, 100) == pytest.approx(4 * (weights + 2 * 2 * 16 * 100))
    assert bandwidth.copy_bytes_per_s(torch.device("cpu")) > 0


def test_each_kind_of_pass_has_its_row(tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    assert main(["bench", "passes", *CPU, "--context", "64,100", "--json", str(out)]) == 0
    rows = rows_of(out)
    assert [name for name in rows if name.endswith("100 tokens")] == [
        f"{name}, 100 tokens"
        for name in (
            "target, step of 8",
            "target, step of 1",
            "target, step and choice",
            "draft, a token",
            "draft, 8 tokens ahead, each",
            "draft, 16 rows at once",
        )
    ]
    assert "target, chunk of 64, 64 tokens" in rows
    assert all(row["times_floor"] > 0 for row in rows.values())  # type: ignore[operator]


def test_the_largest_parts_of_a_pass(tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    assert main(["bench", "passes", *CPU, "--context", "64", "--profile", "3", "--json", str(out)]) == 0
    rows = rows_of(out)
    for name in ("target: ", "draft of 8: "):
        times = [row["ms"] for method, row in rows.items() if method.startswith(name)]
        assert len(times) == 3
        assert times == sorted(times, reverse=True)  # type: ignore[type-var]
    assert any("aten::" in method and row["calls"] for method, row in rows.items())


def test_several_contexts_and_rates_in_one_table(tmp_path: Path) -> None:
    out = tmp_path / "d.json"
    rates = ["--synthetic-acceptance", "0,1", "--context", "20,70", "--limit", "1", "--max-tokens", "10"]
    methods = ["--methods", "draft,parallel", "--baselines", "transformers"]
    assert main(["bench", "decode", *CPU, *rates, *methods, "--json", str(out)]) == 0
    rows = rows_of(out)
    names = [
        "plain, 1 row",
        "plain",
        *(f"{name} at {rate}" for rate in (0, 1) for name in ("draft", "parallel", "free")),
    ]
    assert list(rows) == [f"{name}, 20 tokens" for name in [*names, "transformers"]] + [
        f"{n}, 70 tokens" for n in names
    ]
    assert rows["draft at 0, 70 tokens"]["accepted_percent"] == 0
    assert rows["draft at 1, 70 tokens"]["accepted_percent"] == 100
    assert rows["parallel at 1, 20 tokens"]["draft_ms_per_token"] > 0  # type: ignore[operator]


def test_steps_beside_their_floor() -> None:
    assert decode_rows.beside_floor({"ms_per_step": 5.0}, 4.0) == {"floor_ms_per_step": 4.0, "times_floor": 1.25}
    assert decode_rows.beside_floor({"ms_per_step": None}, 4.0) == {}
    assert decode_rows.beside_floor({"ms_per_step": 5.0}, None) == {}
