"""Products of rounded rows with quantised weights: right, and the same to the bit however they are computed."""

from __future__ import annotations

import ctypes

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding.models.cpu.block_repacking import Panels, block_types, repacked
from decoding.models.cpu.integer_dots import HERE, PLAIN
from decoding.models.cpu.quantized_forms import PANEL
from decoding.models.cpu.quantized_matmul import address_by, multiply_address
from decoding.models.cpu.quantized_rows import rounded_plainly
from tests.decoding.quantized_references import exact_product, near_product
from tests.decoding.test_block_repacking import blocks

TYPES = sorted(block_types())
MAX_ROWS = 16
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def product(panels: Panels, rows: Bytes, address: int, first: int = 0, count: int | None = None) -> Floats:
    """By a compiled function, of `count` panels from the first on."""
    count = panels.num_panels - first if count is None else count
    values, scales = (len(stream) // panels.num_panels for stream in (panels.values, panels.scales))
    out = np.full((len(rows) + 1, count * PANEL), 7, np.float32)
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 10)(address)
    function(
        rows.ctypes.data, rows.strides[0], len(rows), panels.values.ctypes.data + first * values,
        panels.scales.ctypes.data + first * scales, panels.inputs, count, out.ctypes.data, out.strides[0], 0,
    )  # fmt: skip
    assert (out[-1] == 7).all(), "behind the last row nothing is written"
    return out[:-1]


def same(a: Floats, b: Floats) -> bool:
    """To the bit; two that are no number are alike."""
    return bool(((a.view(np.int32) == b.view(np.int32)) | (np.isnan(a) & np.isnan(b))).all())


def extreme_rows(num_rows: int, inputs: int, seed: int = 0) -> Floats:
    """Groups from next to nothing to very large, some of zeros, some of the largest numbers everywhere."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_rows, inputs // 32, 32)) * 10.0 ** rng.integers(-12, 13, (num_rows, inputs // 32, 1))
    x[rng.random(x.shape[:2]) < 0.1] = 0
    one_sign = rng.random(x.shape[:2]) < 0.2
    x[one_sign] = np.sign(x[one_sign][:, :1]) * np.abs(x[one_sign]).max(axis=1, keepdims=True)
    return x.reshape(num_rows, inputs).astype(np.float32)


def extreme_blocks(type_name: str, outputs: int, inputs: int) -> Bytes:
    """Random bits, and some blocks of nothing but ones or zeros in all but their scales."""
    raw = blocks(type_name, outputs, inputs).reshape(outputs, -1)
    plain = blocks(type_name, outputs, inputs, seed=1).reshape(outputs, -1)
    raw[1::5] = np.where(plain[1::5] > 127, 255, 0)
    raw[:, :2] = plain[:, :2]
    return _with_finite_scales(raw, type_name)


def _with_finite_scales(raw: Bytes, type_name: str) -> Bytes:
    size = {"Q4_K": 144, "Q5_K": 176, "Q6_K": 210, "Q4_0": 18, "Q4_1": 20, "Q5_0": 22, "Q5_1": 24, "Q8_0": 34}
    flat = raw.reshape(-1, size.get(type_name, 18))
    for at in (208,) if type_name == "Q6_K" else (0, 2) if type_name in {"Q4_1", "Q5_1", "Q4_K", "Q5_K"} else (0,):
        flat[:, at + 1] &= 0xBB  # an exponent bit is 0, so that the number is finite
    return flat.reshape(-1)


@pytest.fixture(scope="module", params=TYPES)
def panels(request: pytest.FixtureRequest) -> Panels:
    """Five panels, the last one not full."""
    return repacked(extreme_blocks(request.param, 73, 768), request.param, 73, 768)


def test_products_are_right_for_every_number_of_rows(panels: Panels) -> None:
    """Against float64, whose own errors are nothing beside those of float32."""
    rows = rounded_plainly(extreme_rows(MAX_ROWS, panels.inputs))
    expected, size = near_product(panels, rows)
    for count in range(1, MAX_ROWS + 1):
        found = product(panels, rows[:count], multiply_address(panels.kind))
        assert (np.abs(found - expected[:count]) <= 1e-5 * size[:count] + 1e-30).all(), count
        assert not found[:, panels.outputs :].any()


def test_each_number_is_the_promised_chain_of_operations(panels: Panels) -> None:
    rows = rounded_plainly(extreme_rows(3, panels.inputs))
    outputs = [0, 1, 6, 15, 16, 72]
    found = product(panels, rows, multiply_address(panels.kind))
    assert same(np.ascontiguousarray(found[:, outputs]), exact_product(panels, rows, outputs))


@pytest.mark.parametrize("path", HERE)
def test_every_path_gives_the_same_bits(panels: Panels, path: str) -> None:
    """With every number of rows, and so with every tile that the path has."""
    x = extreme_rows(MAX_ROWS, panels.inputs, seed=2)
    x[2, 40] = np.nan
    rows = rounded_plainly(x)
    wanted = product(panels, rows, address_by(panels.kind, PLAIN))
    assert np.isnan(wanted[2]).all()
    assert np.isfinite(wanted[3:]).all()
    for count in range(1, MAX_ROWS + 1):
        assert same(product(panels, rows[:count], address_by(panels.kind, path)), wanted[:count]), count


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_neighbours_and_cuts_change_no_bit(data: st.DataObject) -> None:
    """Rows among others, panels among others, by any path."""
    type_name = data.draw(st.sampled_from(TYPES))
    outputs, inputs = data.draw(st.integers(1, 80)), 256 * data.draw(st.integers(1, 3))
    seed = data.draw(st.integers(0, 99))
    panels = repacked(blocks(type_name, outputs, inputs, seed), type_name, outputs, inputs)
    rows = rounded_plainly(extreme_rows(data.draw(st.integers(1, 40)), inputs, seed))
    path, other = (data.draw(st.sampled_from(HERE)) for _ in range(2))
    wanted = product(panels, rows, address_by(panels.kind, path))
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=20))
    first = data.draw(st.integers(0, panels.num_panels - 1))
    count = data.draw(st.integers(1, panels.num_panels - first))
    found = product(panels, np.ascontiguousarray(rows[chosen]), address_by(panels.kind, other), first, count)
    assert same(found, np.ascontiguousarray(wanted[chosen, first * PANEL : (first + count) * PANEL]))
