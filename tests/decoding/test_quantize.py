"""Rounded weights: how near they are, what they take, and that a model of them is loaded in each way."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from decoding.__main__ import main
from decoding.cli.inspect_models import doctor
from decoding.config import EngineConfig
from decoding.models.cpu.decoder import CpuDecoder
from decoding.models.loading.memory import weight_bytes
from decoding.models.loading.model_set import load_models
from decoding.models.loading.parts import draft_config
from decoding.models.probing.agreement import choices, percent_alike
from decoding.models.quantize import BYTES_PER_WEIGHT, QuantizedMatrix, multiply_widened, quantize

# The largest share of the norm that rounding may take from normally distributed weights.
ERRORS = {"int8": 0.01, "fp8": 0.03, "int4": 0.11}
SIZES = [(64, 128), (100, 300), (200, 130)]


@pytest.mark.parametrize(("outputs", "inputs"), SIZES)
@pytest.mark.parametrize("kind", ERRORS)
def test_rounded_weights_are_near_and_multiply_as_tensors_do(kind: str, outputs: int, inputs: int) -> None:
    torch.manual_seed(0)
    # Outputs of very different sizes, as trained models have them.
    weights = torch.randn(outputs, inputs) * torch.exp(torch.randn(outputs, 1))
    matrix, bias, rows = quantize(weights, kind), torch.randn(outputs), torch.randn(5, inputs)
    rounded = matrix.weights()
    assert rounded.shape == weights.shape
    assert 0 < (rounded - weights).norm() / weights.norm() < ERRORS[kind]
    found = F.linear(rows, matrix, bias)  # type: ignore[arg-type]
    torch.testing.assert_close(found, F.linear(rows, rounded, bias))


@pytest.mark.parametrize("kind", ERRORS)
def test_what_can_be_held_exactly_is(kind: str) -> None:
    """The largest of each group, zeros, and a whole matrix of them."""
    weights = torch.zeros(70, 140)
    weights[3, 5] = -2.0
    assert torch.equal(quantize(weights, kind).weights(), weights)


@pytest.mark.parametrize("kind", ERRORS)
def test_memory_is_what_the_plan_says(kind: str) -> None:
    matrix = quantize(torch.randn(512, 1024), kind)
    assert matrix.num_bytes == pytest.approx(512 * 1024 * BYTES_PER_WEIGHT[kind], rel=0.01)
    assert matrix.numel() == 512 * 1024


def test_other_functions_of_torch_refuse_it() -> None:
    with pytest.raises(TypeError):
        torch.add(quantize(torch.ones(64, 128), "int8"), 1)  # type: ignore[arg-type]


def test_who_makes_a_matrix_says_what_multiplies_with_it() -> None:
    asked: list[tuple[torch.Size, bool]] = []

    def multiply(rows: torch.Tensor, matrix: QuantizedMatrix, bias: torch.Tensor | None) -> torch.Tensor:
        asked.append((rows.shape, bias is None))
        return multiply_widened(rows, matrix, bias)

    weights, rows, bias = torch.randn(64, 128), torch.randn(3, 128), torch.randn(64)
    given, plain = quantize(weights, "int8", multiply), quantize(weights, "int8")
    for added in (None, bias):
        expected = F.linear(rows, plain, added)  # type: ignore[arg-type]
        assert torch.equal(F.linear(rows, given, added), expected)  # type: ignore[arg-type]
    assert asked == [(rows.shape, True), (rows.shape, False)]


def test_the_plan_of_a_tied_model_counts_its_head_twice() -> None:
    config = {"vocab_size": 1000, "hidden_size": 100, "tie_word_embeddings": True}
    assert weight_bytes(500_000, config, torch.bfloat16) == 1_000_000
    assert weight_bytes(500_000, config, torch.bfloat16, "int8") == 200_000 + 100_000 + 400_000


@pytest.mark.parametrize(("kind", "kernels"), [*((kind, "torch") for kind in ERRORS), ("int4", "rehearsed")])
def test_each_kind_is_computed_by_torch_too(tiny_model: Path, kind: str, kernels: str) -> None:
    config = EngineConfig(model=str(tiny_model), dtype="float32", device="cpu", kernels=kernels, context_tokens=256)
    exact, (rounded, found) = load_models(config)[0], load_models(replace(config, quantize=kind))
    assert not isinstance(rounded.target, CpuDecoder)
    assert found.width > 1
    assert rounded.target.num_parameters == exact.target.num_parameters
    tokens = list(range(60))
    ours, theirs = choices(rounded.target, tokens), choices(exact.target, tokens)
    assert percent_alike([ours], [theirs]) > 30  # weights are random, and so nothing is sure
    assert percent_alike([ours], [ours]) == 100


def test_doctor_and_bench_say_how_often_it_chooses_alike(tiny_model: Path, tmp_path: Path) -> None:
    config = EngineConfig(model=str(tiny_model), quantize="int8", context_tokens=256, device="cpu")
    rows = {row["name"]: row["detail"] for row in doctor(config)}
    assert re.fullmatch(r"int8, chooses what the full ones do at \d+\.\d % of \d+ tokens", rows["rounded weights"])
    assert re.fullmatch(r"(float32|bfloat16), \d+ MB for a sequence of 256 tokens", rows["keys and values"])
    figures = tmp_path / "figures.json"
    arguments = ["--model", str(tiny_model), "--quantize", "int8", "--methods", "plain", "--max-tokens", "4"]
    assert main(["bench", "decode", *arguments, "--limit", "1", "--device", "cpu", "--json", str(figures)]) == 0
    settings = [row["settings"] for row in json.loads(figures.read_text(encoding="utf-8"))["rows"]]
    assert all(re.search(r"int8: [\d.]+ % of choices as with full weights", text) for text in settings)


def test_the_draft_is_rounded_as_it_is_told() -> None:
    config = EngineConfig(quantize="int8")
    assert draft_config(config).quantize == "int8"
    assert draft_config(replace(config, draft_quantize="none")).quantize == "none"
