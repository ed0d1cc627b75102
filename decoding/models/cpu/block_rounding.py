"""Rounds matrices of float32 to the blocks of GGUF files, each group with a scale and an offset that are searched for.

The layouts are those of ggml's types Q4_1, Q4_K, Q6_K and Q8_0 (https://github.com/ggml-org/ggml, ggml-common.h), so
that the kernels take them like any file's. The search is in llama.cpp's manner: of some roundings of a group, the one
whose least-squares scale and offset leave the least.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from decoding.models.cpu.rounding_search import nearest_factors, search, whole_numbers

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
# Blocks (N, bytes) of weights, and the sum of the squares by which they miss them.
Rounded = tuple[Bytes, float]

GROUP: Final = 32
PART: Final = 16  # weights that share a factor in Q6_K
SPAN: Final = 256  # weights of a block of Q4_K and Q6_K
NO_OFFSET, ANY_OFFSET, NO_OFFSET_ABOVE_ZERO = range(3)
BY_SIZE: Final = 1
_FOUR = np.uint8(4)


def round_rows(name: str, values: Floats) -> Rounded:
    """Return rows of blocks of that type for (outputs, inputs), and by how much they miss: a sum of squares.

    The row's length must be a multiple of the type's block. What is too large for a block's scale misses infinitely.
    """
    flat = np.ascontiguousarray(values, np.float32).reshape(-1)
    with np.errstate(all="ignore"):
        blocks, missed = ROUNDED[name](flat)
    return blocks.reshape(len(values), -1), missed


def _q8_0(values: Floats) -> Rounded:
    scales = (np.abs(values.reshape(-1, GROUP)).max(axis=1) / np.float32(127)).astype(np.float16)
    numbers, missed = _numbers(values, GROUP, (-127, 127), scales.astype(np.float32))
    return np.concatenate([_halves(scales), numbers.reshape(-1, GROUP)], axis=1), missed


def _q4_1(values: Floats) -> Rounded:
    scales, offsets = (found.astype(np.float16) for found in _search(ANY_OFFSET, values, GROUP, (0, 15)))
    numbers, missed = _numbers(values, GROUP, (0, 15), scales.astype(np.float32), offsets.astype(np.float32))
    low, high = numbers.reshape(-1, 2, GROUP // 2).swapaxes(0, 1)
    return np.concatenate([_halves(scales), _halves(offsets), low | high << _FOUR], axis=1), missed


def _q4_k(values: Floats) -> Rounded:
    scales, offsets = (found.reshape(-1, 8) for found in _search(NO_OFFSET_ABOVE_ZERO, values, GROUP, (0, 15)))
    units = [(np.abs(found).max(axis=1) / np.float32(63)).astype(np.float16) for found in (scales, offsets)]
    unit, less = (_for_each(found.astype(np.float32), 8) for found in units)
    factors, others = _factors(scales, unit, 63), _factors(-offsets, less, 63)
    nearest_factors(NO_OFFSET_ABOVE_ZERO, values, GROUP, 0, 15, BY_SIZE, unit, -less, 63, factors, others)
    numbers, missed = _numbers(values, GROUP, (0, 15), factors * unit, -(others * less))
    low, high = numbers.reshape(-1, 2, GROUP).swapaxes(0, 1)
    packed = (low | high << _FOUR).reshape(-1, SPAN // 2)
    return np.concatenate([*map(_halves, units), _six_bits(factors, others), packed], axis=1), missed


def _q6_k(values: Floats) -> Rounded:
    scales = _search(NO_OFFSET, values, PART, (-32, 31))[0].reshape(-1, SPAN // PART)
    largest = np.take_along_axis(scales, np.abs(scales).argmax(axis=1)[:, None], axis=1)[:, 0]
    units = (largest / np.float32(-128)).astype(np.float16)
    unit = _for_each(units.astype(np.float32), SPAN // PART)
    factors = _factors(scales, unit, 127, -128)
    nothing = np.zeros_like(factors)
    nearest_factors(NO_OFFSET, values, PART, -32, 31, BY_SIZE, unit, np.zeros_like(unit), 127, factors, nothing)
    numbers, missed = _numbers(values, PART, (-32, 31), factors * unit)
    # Of each 128 weights: four times 32, which share bytes.
    quarters = (numbers.view(np.int8) + np.int8(32)).view(np.uint8).reshape(-1, 2, 4, 32)
    low = (quarters[:, :, :2] & np.uint8(15)) | (quarters[:, :, 2:] & np.uint8(15)) << _FOUR
    top = np.bitwise_or.reduce(quarters >> _FOUR << np.array([0, 2, 4, 6], np.uint8)[:, None], axis=2)
    blocks = len(units)
    parts = (low.reshape(blocks, 128), top.reshape(blocks, 64), factors.astype(np.int8).view(np.uint8).reshape(-1, 16))
    return np.concatenate([*parts, _halves(units)], axis=1), missed


def _search(offsets: int, values: Floats, num: int, bounds: tuple[int, int]) -> tuple[Floats, Floats]:
    scales = np.empty(len(values) // num, np.float32)
    found = np.empty_like(scales)
    search(offsets, values, num, *bounds, BY_SIZE, scales, found)
    return scales, found


def _numbers(
    values: Floats, num: int, bounds: tuple[int, int], scales: Floats, offsets: Floats | None = None
) -> Rounded:
    numbers = np.empty(len(values), np.int8)
    offsets = np.zeros_like(scales) if offsets is None else offsets
    missed = whole_numbers(values, num, *bounds, scales, offsets, numbers)
    return numbers.view(np.uint8), float(missed)


def _for_each(units: Floats, count: int) -> Floats:
    return np.repeat(units, count)


def _factors(scales: Floats, unit: Floats, most: int, least: int = 0) -> npt.NDArray[np.int64]:
    """Return the whole factors of `unit` that are nearest to scales."""
    shares = np.where(unit != 0, scales.reshape(-1) / np.where(unit != 0, unit, 1), 0)
    whole: npt.NDArray[np.int64] = np.rint(np.clip(np.nan_to_num(shares), least, most)).astype(np.int64)
    return whole


def _six_bits(factors: npt.NDArray[np.int64], others: npt.NDArray[np.int64]) -> Bytes:
    """Pack eight factors and eight others into twelve bytes, the upper bits of the last four beside the first four."""
    first, second = factors.astype(np.uint8).reshape(-1, 8), others.astype(np.uint8).reshape(-1, 8)
    six = np.uint8(6)
    return np.concatenate([
        first[:, :4] | first[:, 4:] >> _FOUR << six,
        second[:, :4] | second[:, 4:] >> _FOUR << six,
        (first[:, 4:] & np.uint8(15)) | (second[:, 4:] & np.uint8(15)) << _FOUR,
    ], axis=1)  # fmt: skip


def _halves(values: npt.NDArray[np.float16]) -> Bytes:
    return values.astype("<f2").view(np.uint8).reshape(-1, 2)


ROUNDED: Final[Mapping[str, Callable[[Floats], Rounded]]] = {
    "Q4_1": _q4_1, "Q4_K": _q4_k, "Q6_K": _q6_k, "Q8_0": _q8_0,
}  # fmt: skip
