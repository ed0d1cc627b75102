"""Random models of a set shape, and rounds whose acceptance is a decree: marked as such wherever they are shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from decoding.__main__ import main
from decoding.bench.harness import random_models, synthetic
from decoding.bench.suites import decode, decode_rows
from decoding.config import EngineConfig
from decoding.models.loading.model_set import ModelSet

TINY = random_models.ModelShape(layers=2, width=32, heads=4, kv_heads=2, feed_forward=64, vocabulary=500)
SMALLER = random_models.ModelShape(
    layers=1, width=16, heads=2, kv_heads=1, feed_forward=32, vocabulary=500, is_tied=True
)
CPU = ["--device", "cpu", "--dtype", "float32"]


@pytest.fixture(autouse=True)
def named_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_models, "SHAPES", {**random_models.SHAPES, "tiny": TINY, "smaller": SMALLER})


@pytest.fixture
def tiny_pair() -> ModelSet:
    return random_models.random_pair(
        "tiny", "smaller", EngineConfig(device="cpu", dtype="float32", kernels="torch"), 256
    )


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("qwen2.5-coder-0.5b", 0.49),
        ("qwen2.5-coder-1.5b", 1.54),
        ("qwen2.5-coder-7b", 7.62),
        ("qwen2.5-coder-14b", 14.8),
        ("qwen2.5-coder-32b", 32.8),
    ],
)
def test_real_sizes(name: str, billions: float) -> None:
    shape = random_models.SHAPES[name]
    attention = 2 * shape.width * (shape.width + shape.kv_heads * shape.head_dim)
    layer = attention + 3 * shape.width * shape.feed_forward
    count = shape.layers * layer + shape.vocabulary * shape.width * (1 if shape.is_tied else 2)
    assert count / 1e9 == pytest.approx(billions, rel=0.01)
    with torch.device("meta"):
        theirs = AutoModelForCausalLM.from_config(random_models.transformers_config(shape))
    assert theirs.num_parameters() == pytest.approx(count, rel=0.001)  # norms and biases are not in the count


def test_a_random_pair_decodes_and_is_the_same_each_time(tiny_pair: ModelSet) -> None:
    again = random_models.random_pair("tiny", None, EngineConfig(device="cpu", dtype="float32", kernels="torch"), 256)
    prompt = list(range(40))
    ours = decode.methods(tiny_pair, ["plain", "draft"], 12)
    assert ours["plain"](prompt).token_ids == decode.methods(again, ["plain"], 12)["plain"](prompt).token_ids
    assert ours["draft"](prompt).token_ids == ours["plain"](prompt).token_ids


@pytest.mark.parametrize(("acceptance", "tokens_per_step"), [(0.0, 1.0), (1.0, 33 / 5)])
def test_the_rate_of_acceptance_is_the_one_that_was_set(
    tiny_pair: ModelSet, acceptance: float, tokens_per_step: float
) -> None:
    # The prompt's last tokens fill the first step, which yields one; four steps of 7 drafted tokens yield the others.
    decoders = decode.methods(tiny_pair, ["plain", "draft"], 33, acceptance)
    prompt = list(range(40))
    runs = decode.measure([prompt], decoders)
    rows = {row["method"]: row for row in decode_rows.rows(runs, [prompt])}
    assert rows["free"]["accepted_percent"] == rows["draft"]["accepted_percent"] == 100 * acceptance
    assert tiny_pair.target.capabilities.step_width == 8
    assert rows["free"]["tokens_per_step"] == tokens_per_step
    assert rows["plain"]["tokens_per_step"] == 1


def test_a_rate_between_is_met_on_average(tiny_pair: ModelSet) -> None:
    target = synthetic.SyntheticTarget(tiny_pair.target, 0.75)
    cache = tiny_pair.target.new_cache()
    tokens = list(range(8))
    agreed = [target.step(tokens, cache)[:-1].argmax(-1).tolist() == tokens[1:] for _ in range(200)]
    assert 0.05 < sum(agreed) / len(agreed) < 0.25  # 0.75 to the seventh is 0.13


@pytest.mark.parametrize("acceptance", [0.0, 1.0])
def test_chains_are_judged_at_the_rate_too(acceptance: float) -> None:
    config = EngineConfig(device="cpu", dtype="float32", kernels="rehearsed")
    inner = random_models.random_pair("tiny", None, config, 320).target
    target = synthetic.SyntheticTarget(inner, acceptance)
    chains, cache = [[1, 2, 3], [1, 5]], inner.new_cache()
    assert target.capabilities.max_chains > 1  # type: ignore[arg-type]
    for chain, logits in zip(chains, target.step_chains(chains, cache), strict=True):
        chosen = logits[:-1].argmax(-1).tolist()
        assert (chosen == chain[1:]) is (acceptance == 1)


def test_each_row_says_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "s.json"
    shape = ["--shape", "tiny", "--draft-shape", "smaller", "--prompt-tokens", "70", "--synthetic-acceptance", "0.7"]
    size = ["--limit", "1", "--max-tokens", "8", "--baselines", "transformers,transformers-assisted"]
    assert main(["bench", "decode", *CPU, *shape, *size, "--json", str(out)]) == 0
    report = json.loads(out.read_text(encoding="utf-8"))
    methods = ["plain, 1 row", "plain", "lookup", "draft", "auto", "free", "transformers", "transformers-assisted"]
    assert [row["method"] for row in report["rows"]] == methods
    for row in report["rows"]:
        assert row["settings"].startswith("random weights; synthetic acceptance of 0.7")
        assert row["identical_percent"] is None
    assert "tiny with random weights" in capsys.readouterr().out


def test_random_weights_alone_are_still_decoded_losslessly(tmp_path: Path) -> None:
    out = tmp_path / "s.json"
    shape = ["--shape", "tiny", "--draft-shape", "smaller", "--prompt-tokens", "70"]
    assert main(["bench", "decode", *CPU, *shape, "--max-tokens", "8", "--json", str(out)]) == 0
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert [row["identical_percent"] for row in rows if row["method"] != "plain, 1 row"] == [100] * 4
    assert {row["settings"] for row in rows} == {"random weights"}


def test_bad_settings_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "decode", "--shape", "tiny", "--baselines", "llama.cpp"]) == 2
    assert "--shape" in capsys.readouterr().err
    assert main(["bench", "decode", "--draft-shape", "tiny"]) == 2
    assert "goes with --shape" in capsys.readouterr().err
    assert main(["bench", "decode", "--shape", "tiny", "--prompt-tokens", "0"]) == 2
    assert "--prompt-tokens" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["bench", "decode", "--synthetic-acceptance", "1.5"])
    assert caught.value.code == 2
    assert "from 0 to 1" in capsys.readouterr().err
