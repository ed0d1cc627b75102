"""Rounding to blocks: how near it is for ordinary, odd and extreme weights, and that the blocks are what they say."""

from __future__ import annotations

import gguf
import numpy as np
import numpy.typing as npt
import pytest
import torch

from decoding.models.cpu.block_repacking import block_types
from decoding.models.cpu.block_rounding import ROUNDED, round_rows
from decoding.models.loading.rounding import KINDS, round_matrix, type_for
from tests.decoding.test_block_models import widened

Floats = npt.NDArray[np.float32]
# The largest share of the norm that rounding may take from normally distributed weights.
ERRORS = {"Q4_1": 0.073, "Q4_K": 0.074, "Q6_K": 0.018, "Q8_0": 0.006}


def back(name: str, blocks: npt.NDArray[np.uint8]) -> Floats:
    wide: Floats = gguf.dequantize(blocks, gguf.GGMLQuantizationType[name])
    return wide


def missed(found: Floats, values: Floats) -> float:
    return float(np.linalg.norm(found.astype(np.float64) - values) / np.linalg.norm(values.astype(np.float64)))


@pytest.fixture
def values() -> Floats:
    """Outputs of very different sizes, as trained models have them; groups that don't fill the last sixteen."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(13, 768)) * 0.05 * np.exp(rng.normal(size=(13, 1)))).astype(np.float32)


@pytest.mark.parametrize("name", ROUNDED)
def test_weights_are_near_and_the_miss_is_told(values: Floats, name: str) -> None:
    assert name in block_types()
    blocks, squares = round_rows(name, values)
    found = back(name, blocks)
    assert missed(found, values) < ERRORS[name]
    assert squares == pytest.approx(float(np.square(found.astype(np.float64) - values).sum()), rel=1e-3)


@pytest.mark.parametrize("name", ["Q4_1", "Q4_K"])
def test_the_search_is_better_than_the_range_of_a_group(values: Floats, name: str) -> None:
    kind = gguf.GGMLQuantizationType.Q4_1
    theirs = gguf.dequantize(gguf.quantize(values, kind), kind)
    assert missed(back(name, round_rows(name, values)[0]), values) < 0.95 * missed(theirs, values)


@pytest.mark.parametrize("name", ROUNDED)
def test_rows_are_rounded_by_themselves(values: Floats, name: str) -> None:
    together = round_rows(name, values)[0]
    for row in (0, 5, len(values) - 1):
        assert np.array_equal(round_rows(name, values[row : row + 1])[0][0], together[row])


@pytest.mark.parametrize("name", ROUNDED)
def test_what_lies_on_a_grid_stays(name: str) -> None:
    """Zeros, equal weights, one weight among zeros, and whole numbers times a power of two."""
    rng = np.random.default_rng(1)
    low, high = (0, 15) if name.startswith("Q4") else (-32, 31)
    grid = rng.integers(low, high + 1, (1, 256)).astype(np.float32) / 64
    grid[0, ::16], grid[0, 1::16] = low / 64, high / 64
    nothing = np.zeros((1, 256), np.float32)
    assert np.array_equal(back(name, round_rows(name, nothing)[0]), nothing)
    # Scales are halves, and Q8_0 has 127 steps on a side and not 32.
    assert missed(back(name, round_rows(name, grid)[0]), grid) < (0.004 if name == "Q8_0" else 0.001)
    lone = np.zeros((1, 256), np.float32)
    lone[0, 77] = -2.0
    for values in (np.full((1, 256), 0.5, np.float32), np.full((1, 256), -0.5, np.float32), lone):
        assert missed(back(name, round_rows(name, values)[0]), values) < 0.01


@pytest.mark.parametrize("name", ROUNDED)
def test_an_outlier_spoils_no_other_block(values: Floats, name: str) -> None:
    spoilt = values.copy()
    spoilt[2, 100] = 1000.0
    found = back(name, round_rows(name, spoilt)[0])
    assert abs(found[2, 100] - 1000.0) < 40
    far = np.ones(values.shape, bool)
    far[2, :256] = False
    assert missed(found[far], values[far]) < ERRORS[name]


@pytest.mark.parametrize("name", ROUNDED)
@pytest.mark.parametrize("size", [1e-30, 1e-9, 3e38], ids=str)
def test_a_matrix_beyond_a_block_s_scales_stays_as_it_is(values: Floats, name: str, size: float) -> None:
    """Halves, by which blocks scale, end at 65,504 and below 6e-8."""
    matrix = torch.from_numpy(values / np.abs(values).max() * np.float32(size))
    assert round_matrix(matrix, name, round_rows, threads=1) is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ROUNDED)
def test_what_is_no_number_is_never_rounded(values: Floats, name: str, bad: float) -> None:
    values[3, 40] = bad
    assert round_matrix(torch.from_numpy(values), name, round_rows, threads=1) is None


@pytest.mark.parametrize("name", ROUNDED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_threads_and_pieces_change_nothing(
    values: Floats, name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = torch.from_numpy(values).to(dtype)
    whole = round_matrix(matrix, name, round_rows, threads=1)
    monkeypatch.setattr("decoding.models.loading.rounding.CHUNK_WEIGHTS", 3 * values.shape[1])
    pieces = round_matrix(matrix, name, round_rows, threads=3)
    assert whole is not None
    assert pieces is not None
    assert np.array_equal(whole.rows, pieces.rows)
    assert missed(widened((whole,)).numpy(), matrix.float().numpy()) < ERRORS[name]


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_that_is_chosen_can_be_made_and_fits(kind: str) -> None:
    for inputs in (32, 96, 256, 768, 896):
        for name in ("model.embed_tokens.weight", "lm_head.weight", "model.layers.2.mlp.down_proj.weight"):
            chosen = type_for(kind, name, (64, inputs))
            assert chosen in ROUNDED
            assert inputs % gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[chosen]][0] == 0
    assert not type_for(kind, "model.norm.weight", (64,))
    assert not type_for(kind, "model.layers.0.mlp.down_proj.weight", (64, 50))


def test_four_bits_are_a_mixture() -> None:
    """Choices depend most on the head and on the values, which are small matrices."""
    for number in (0, 13, 27):
        for name in ("q_proj", "k_proj", "o_proj"):
            assert type_for("int4", f"model.layers.{number}.self_attn.{name}.weight", (256, 256)) == "Q4_K"
        assert type_for("int4", f"model.layers.{number}.self_attn.v_proj.weight", (256, 256)) == "Q6_K"
        assert type_for("int4", f"model.layers.{number}.self_attn.v_proj.weight", (256, 896)) == "Q8_0"
        assert type_for("int4", f"model.layers.{number}.mlp.down_proj.weight", (256, 256)) == "Q4_K"
    assert type_for("int4", "lm_head.weight", (256, 256)) == "Q6_K"
