"""What stored blocks stand for is equal to the bit to what the `gguf` package makes of them."""

from __future__ import annotations

import numpy as np
import pytest

from decoding.models.gguf.blocks import WIDENED, widen_blocks
from decoding.models.gguf.tensor_types import OTHER_TYPES, TYPES

gguf = pytest.importorskip("gguf", reason="the extra `bench` is not installed")

KINDS = list(TYPES.values())


def random_blocks(kind: str, size: int, *, seed: int, count: int = 400) -> np.ndarray:
    """Bytes at random: scales of all sizes, denormal, infinite and NaN among them."""
    rng = np.random.default_rng([seed, *kind.encode()])
    return rng.integers(0, 256, (count, size), np.uint8)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("seed", range(4))
def test_random_blocks_are_equal_to_the_bit(kind, seed: int) -> None:
    blocks = random_blocks(kind.name, kind.num_bytes, seed=seed)
    with np.errstate(all="ignore"):
        wanted = gguf.dequantize(blocks, gguf.GGMLQuantizationType[kind.name])
    ours = widen_blocks(kind.name, blocks)
    assert ours.dtype == np.float32
    assert ours.shape == (len(blocks), kind.num_weights)
    wanted = wanted.astype(np.float32).reshape(ours.shape)
    are_numbers = ~np.isnan(wanted)
    assert np.array_equal(np.isnan(ours), ~are_numbers)
    assert np.array_equal(ours.view(np.uint32)[are_numbers], wanted.view(np.uint32)[are_numbers])


@pytest.mark.parametrize("scale", [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.num_weights > 1], ids=lambda kind: kind.name)
def test_extreme_scales_are_equal(kind, scale: int) -> None:
    blocks = random_blocks(kind.name, kind.num_bytes, seed=9, count=16)
    for at in {"Q2_K": (80, 82), "Q3_K": (108,), "Q6_K": (208,), "Q4_K": (0, 2), "Q5_K": (0, 2)}.get(kind.name, (0,)):
        blocks[:, at : at + 2] = np.frombuffer(np.uint16(scale).tobytes(), np.uint8)
    with np.errstate(all="ignore"):
        wanted = gguf.dequantize(blocks, gguf.GGMLQuantizationType[kind.name])
    assert np.array_equal(widen_blocks(kind.name, blocks), wanted.reshape(len(blocks), -1), equal_nan=True)


def test_the_table_of_types_is_the_formats() -> None:
    for number, kind in TYPES.items():
        assert (gguf.GGMLQuantizationType[kind.name].value, kind.num_weights, kind.num_bytes) == (
            number,
            *gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(number)],
        )
        assert kind.name in WIDENED
    for number in gguf.GGMLQuantizationType:
        assert number.value in TYPES or OTHER_TYPES[number.value] == number.name
