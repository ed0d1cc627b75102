"""Rows rounded to eight bits: by compiled code and by numpy to the bit, whatever stands in them or beside them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from decoding.models.cpu.quantized_rows import GROUP, RECORD_BYTES, round_rows, rounded_plainly, row_bytes

Rows = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


def rounded(x: Rows, room: int = 0) -> Bytes:
    """By compiled code, `room` bytes between rows."""
    num_rows, inputs = x.shape
    wide = np.full((num_rows, row_bytes(inputs) + room), 0xAB, np.uint8)
    round_rows(x.ctypes.data, x.strides[0], num_rows, inputs, wide.ctypes.data, wide.strides[0])
    assert (wide[:, row_bytes(inputs) :] == 0xAB).all()
    return wide[:, : row_bytes(inputs)]


def parts(rows: Bytes, inputs: int) -> tuple[npt.NDArray[np.int8], Rows, npt.NDArray[np.int32]]:
    """Numbers (R, G, 32), scales and scaled sums (R, G, 2), sums (R, G, 2)."""
    records = np.ascontiguousarray(rows[:, inputs:]).reshape(len(rows), -1, RECORD_BYTES)
    numbers = np.ascontiguousarray(rows[:, :inputs]).view(np.int8).reshape(len(rows), -1, GROUP)
    return numbers, records[..., :8].copy().view(np.float32), records[..., 8:].copy().view(np.int32)


any_rows = st.tuples(st.integers(1, 3), st.integers(1, 4)).flatmap(
    lambda shape: arrays(
        np.float32,
        (shape[0], shape[1] * GROUP),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True, allow_subnormal=True)
        | st.integers(-8, 8).map(lambda number: number / 2),
        fill=st.sampled_from([0.0, 1.0, -0.5]),
    )
)


@given(any_rows)
@settings(deadline=None, max_examples=300)
def test_compiled_code_and_numpy_agree_to_the_bit(x: Rows) -> None:
    with np.errstate(all="ignore"):
        assert np.array_equal(rounded(x), rounded_plainly(x))


@given(any_rows, st.integers(0, 70))
@settings(deadline=None)
def test_a_row_is_rounded_as_if_it_were_alone(x: Rows, room: int) -> None:
    together = rounded(x, room)
    for row in range(len(x)):
        assert np.array_equal(rounded(x[row : row + 1])[0], together[row])


def test_numbers_are_the_nearest_and_halves_go_to_even() -> None:
    x = np.zeros((1, GROUP), np.float32)
    x[0, :8] = 127, -127, 0.5, 1.5, 2.5, -0.5, -1.5, 126.49
    numbers, floats, sums = parts(rounded(x), GROUP)
    assert numbers[0, 0, :8].tolist() == [127, -127, 0, 2, 2, 0, -2, 126]
    assert floats[0, 0].tolist() == [1.0, 128.0]
    assert sums[0, 0].tolist() == [-128, -128]


def test_errors_are_at_most_half_a_step() -> None:
    rng = np.random.default_rng(0)
    spread = np.exp(rng.normal(size=(16, 4 * GROUP)) * 8)
    x = (rng.normal(size=spread.shape) * spread).astype(np.float32)
    numbers, floats, sums = parts(rounded(x), x.shape[1])
    steps = floats[..., :1].astype(np.float64)
    error = np.abs(numbers * steps - x.reshape(numbers.shape))
    assert (error <= steps * (0.5 + 1e-4)).all()
    assert np.abs(numbers.astype(int)).max(axis=2).tolist() == np.full(numbers.shape[:2], 127).tolist()
    whole = numbers.astype(np.int32)
    assert np.array_equal(sums, -np.stack((whole.sum(axis=2), whole[..., : GROUP // 2].sum(axis=2)), axis=2))


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_what_is_not_finite_spoils_its_own_group_alone(bad: float) -> None:
    x = np.ones((2, 3 * GROUP), np.float32)
    x[1, GROUP + 7] = bad
    numbers, floats, sums = parts(rounded(x), x.shape[1])
    assert np.isnan(floats[1, 1]).all()
    assert not numbers[1, 1].any()
    assert not sums[1, 1].any()
    assert np.isfinite(floats[[0, 0, 0, 1, 1], [0, 1, 2, 0, 2]]).all()
    assert (numbers[0] == 127).all()


@pytest.mark.parametrize("tiny", [0.0, -0.0, 1e-45, 1e-38, 7.8e-31])
def test_groups_of_next_to_nothing_are_zeros(tiny: float) -> None:
    numbers, floats, sums = parts(rounded(np.full((1, GROUP), tiny, np.float32)), GROUP)
    assert not numbers.any()
    assert not floats.any()
    assert not sums.any()


@pytest.mark.parametrize("size", [2.0**-100, 1e-20, 1e30, 3.4e38])
def test_every_other_size_keeps_its_seven_bits(size: float) -> None:
    x = (np.linspace(-1, 1, GROUP) * size).astype(np.float32)[None]
    numbers, floats, _ = parts(rounded(x), GROUP)
    assert numbers[0, 0].tolist() == np.rint(np.linspace(-127, 127, GROUP)).tolist()
    assert floats[0, 0, 0] == pytest.approx(size / 127, rel=1e-6)
