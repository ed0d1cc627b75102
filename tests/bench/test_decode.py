"""The decode suite: its counts, its honesty about divergence, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from decoding.__main__ import main
from decoding.bench import baselines, decode
from decoding.models.pair import ModelSet

PROMPT = list(range(20, 60)) * 2


def test_each_method_is_measured_and_identical(pair: ModelSet) -> None:
    prompts = [PROMPT, PROMPT[:50]]
    decoders = decode.methods(pair, list(decode.OWN_METHODS), 24)
    rows = {row["method"]: row for row in decode.rows(decode.measure(prompts, decoders), prompts)}
    assert set(rows) == {decode.PLAIN_FASTEST, *decode.OWN_METHODS}
    assert all(row["identical_percent"] == 100 for name, row in rows.items() if name != decode.PLAIN_FASTEST)
    assert rows[decode.PLAIN]["tokens_per_step"] == 1
    assert rows[decode.PLAIN_FASTEST]["speedup"] == 1
    assert all(row["draft_percent"] + row["verify_percent"] <= 100.1 for row in rows.values())
    assert pair.target.step_width == 8


def test_a_method_that_diverges_is_told(pair: ModelSet) -> None:
    plain = decode.methods(pair, ["plain"], 12)

    def wrong(prompt_ids: list[int]) -> decode.Run:
        run = plain[decode.PLAIN](prompt_ids)
        run.token_ids[7] += 1
        return run

    runs = decode.measure([PROMPT], {**plain, "wrong": wrong})
    rows = {row["method"]: row for row in decode.rows(runs, [PROMPT])}
    assert rows["wrong"]["identical_percent"] == 0
    assert rows["wrong"]["divergence"] == {"prompt": 0, "token": 7}


def test_acceptance_by_position() -> None:
    # Two drafts of three tokens, one of one: all begin rightly, one goes on, none to its end.
    assert decode.accepted_by_position([(3, 2), (3, 1), (1, 1)]) == [1, 0.5, 0]
    assert decode.accepted_by_position([]) == []


def test_an_interrupted_run_keeps_whole_prompts(pair: ModelSet) -> None:
    plain = decode.methods(pair, ["plain"], 4)
    calls = 0

    def interrupted(prompt_ids: list[int]) -> decode.Run:
        nonlocal calls
        calls += 1
        if calls > 1 + decode.REPEATS + 1:  # warm-up, the first prompt, one run of the second
            raise KeyboardInterrupt
        return plain[decode.PLAIN](prompt_ids)

    runs = decode.measure([PROMPT, PROMPT], {**plain, "late": interrupted})
    assert {name: len(found) for name, found in runs.items()} == {decode.PLAIN_FASTEST: 1, decode.PLAIN: 1, "late": 1}


def test_transformers_gives_the_same_tokens_in_float32(pair: ModelSet, tiny_model: Path) -> None:
    models = baselines.load(tiny_model, tiny_model, torch.device("cpu"), torch.float32)
    generators = baselines.generators(list(baselines.NAMES), models, 12)
    assert set(generators) == set(baselines.NAMES)
    ours = decode.methods(pair, ["plain"], 12)[decode.PLAIN](PROMPT).token_ids
    for name, generate in generators.items():
        token_ids, first_s, rest_s = generate(PROMPT)
        assert (token_ids, first_s > 0, rest_s > 0) == (ours, True, True), name


def test_the_command_writes_its_figures(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = tmp_path / "d.json", tmp_path / "d.html"
    model = ["--model", str(tiny_model), "--draft", "none", "--dtype", "float32", "--device", "cpu"]
    size = ["--limit", "2", "--max-tokens", "8", "--methods", "lookup", "--baselines", "transformers"]
    assert main(["bench", "decode", *model, *size, "--json", str(out), "--html", str(page)]) == 0
    report = json.loads(out.read_text(encoding="utf-8"))
    assert {"machine", "versions", "command", "date", "rows"} <= set(report)
    assert [row["method"] for row in report["rows"]] == ["plain, 1 row", "plain", "lookup", "transformers"]
    assert "<table>" in page.read_text(encoding="utf-8")
    assert "lookup" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--methods=magic", "--baselines=magic"])
def test_an_unknown_method_is_a_usage_error(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["bench", "decode", option])
    assert caught.value.code == 2
    assert "magic" in capsys.readouterr().err
