"""Blocks of GGUF files in panels stand for the very numbers that they stood for."""

from __future__ import annotations

from dataclasses import replace

import gguf
import numpy as np
import numpy.typing as npt
import pytest

from decoding.models.cpu.block_repacking import block_types, in_turns, repacked
from decoding.models.cpu.quantized_forms import FORMS, LINE_BYTES, PANEL
from tests.decoding.quantized_references import dense

TYPES = sorted(block_types())


def blocks(type_name: str, outputs: int, inputs: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Blocks of random bits, but for scales that are not finite."""
    per_block, num_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[type_name]]
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 256, (outputs * inputs // per_block, num_bytes), dtype=np.uint8)
    where = (208, 210) if type_name == "Q6_K" else (0, 4) if type_name in {"Q4_1", "Q5_1", "Q4_K", "Q5_K"} else (0, 2)
    halves = raw[:, slice(*where)].copy().view(np.uint16)
    halves[(halves & 0x7C00) == 0x7C00] &= 0x83FF  # becomes a very small number
    raw[:, slice(*where)] = halves.view(np.uint8)
    return raw.reshape(-1)


@pytest.mark.parametrize("outputs", [1, 16, 45])
@pytest.mark.parametrize("type_name", TYPES)
def test_panels_hold_the_numbers_of_the_blocks(type_name: str, outputs: int) -> None:
    inputs = 768
    raw = blocks(type_name, outputs, inputs)
    panels = repacked(raw, type_name, outputs, inputs)
    expected = gguf.dequantize(raw.reshape(outputs, -1), gguf.GGMLQuantizationType[type_name])
    assert np.array_equal(dense(panels), expected)
    assert panels.num_panels == -(-outputs // PANEL)


@pytest.mark.parametrize("type_name", TYPES)
def test_a_large_matrix_is_repacked_piece_by_piece(type_name: str) -> None:
    outputs, inputs = 16 * 21 + 5, 2048
    raw = blocks(type_name, outputs, inputs)
    panels = repacked(raw, type_name, outputs, inputs)
    expected = gguf.dequantize(raw.reshape(outputs, -1), gguf.GGMLQuantizationType[type_name])
    assert np.array_equal(dense(panels), expected)


@pytest.mark.parametrize("type_name", TYPES)
def test_panels_are_aligned_take_no_more_room_than_blocks_nearly_and_end_in_zeros(type_name: str) -> None:
    raw = blocks(type_name, 40, 512)
    panels = repacked(raw, type_name, 40, 512, unit=32)
    assert panels.num_panels == 4
    assert panels.values.ctypes.data % LINE_BYTES == panels.scales.ctypes.data % LINE_BYTES == 0
    size = (panels.values.nbytes + panels.scales.nbytes) * 40 / 64
    assert size <= raw.nbytes * (1.04 if type_name != "IQ4_NL" else 1.9)  # its sixteen values are kept as bytes
    padded = dense(repacked(np.concatenate((raw, np.zeros(24 * raw.size // 40, np.uint8))), type_name, 64, 512))
    assert not padded[40:].any()
    assert FORMS[panels.kind].values_stride(512) * 4 == panels.values.nbytes


@pytest.mark.parametrize("outputs", [1, 32, 100, 320])
@pytest.mark.parametrize("type_name", TYPES)
def test_two_matrices_take_turns_however_many_threads_work(type_name: str, outputs: int) -> None:
    """32 outputs of one, 32 of the other; the last ones of each are filled up with zeros."""
    raws = [blocks(type_name, outputs, 512, seed) for seed in (1, 2)]
    wide = -(-outputs // 32) * 32
    expected = np.zeros((2, wide, 512), np.float32)
    for number, raw in enumerate(raws):
        expected[number, :outputs] = gguf.dequantize(raw.reshape(outputs, -1), gguf.GGMLQuantizationType[type_name])
    turns = expected.reshape(2, -1, 32, 512).swapaxes(0, 1).reshape(2 * wide, 512)
    for threads in (1, 2, 5):
        panels = in_turns(raws, type_name, outputs, 512, 32, threads)
        assert panels.num_panels * PANEL == 2 * wide
        assert np.array_equal(dense(replace(panels, outputs=2 * wide)), turns), threads


@pytest.mark.parametrize(("outputs", "inputs"), [(3, 512), (4, 500), (4, 256), (4, 0), (0, 512)])
def test_bytes_that_are_no_such_matrix_are_refused(outputs: int, inputs: int) -> None:
    with pytest.raises(ValueError, match="no matrix"):
        repacked(blocks("Q4_K", 4, 512), "Q4_K", outputs, inputs)


@pytest.mark.parametrize("bad", [0x7C00, 0xFC00, 0x7E00])
def test_scales_that_are_not_finite_are_refused(bad: int) -> None:
    raw = blocks("Q8_0", 4, 64)
    raw[34:36] = np.array([bad], np.uint16).view(np.uint8)
    with pytest.raises(ValueError, match="not finite"):
        repacked(raw, "Q8_0", 4, 64)
