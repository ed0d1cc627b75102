"""The product with rounded weights against float64; interpreted where there is no GPU, absent without Triton."""

from __future__ import annotations

import os

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")
if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("no GPU, and TRITON_INTERPRET is not 1", allow_module_level=True)

from decoding.models.cuda import quantized_matmul
from decoding.models.quantize import quantize

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# The interpreter computes no bfloat16. By dtype, the largest norm of the error over the norm of the result.
TOLERANCE = {torch.float32: 1e-6, torch.float16: 1e-3} | ({torch.bfloat16: 1e-2} if DEVICE.type == "cuda" else {})
# Of fp8 both ways, whatever this GPU would choose.
KINDS = {"int8": ["int8"], "int4": ["int4"], "fp8": [quantized_matmul.NATIVE, quantized_matmul.SHIFTED]}
# One tile, parts of tiles, and inputs that are added up in several parts.
SIZES = [(64, 128), (70, 700)]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("outputs", "inputs"), SIZES)
def test_the_product_is_that_of_the_rounded_weights(outputs: int, inputs: int, kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    matrix = quantize(0.1 * torch.randn(outputs, inputs, device=DEVICE), kind)
    bias = torch.randn(outputs, device=DEVICE).to(dtype)
    for num_rows in (1, 70):
        rows = torch.randn(num_rows, inputs, device=DEVICE).to(dtype)
        exact = rows.double() @ matrix.weights().double().T
        for way in KINDS[kind]:
            for added in (None, bias):
                expected = exact if added is None else exact + added.double()
                found = quantized_matmul.project(rows, matrix, added, kind=way).double()
                assert (found - expected).norm() / expected.norm() < TOLERANCE[dtype]


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_gives_the_same_bits_wherever_it_stands(kind: str) -> None:
    torch.manual_seed(1)
    matrix = quantize(torch.randn(70, 700, device=DEVICE), kind)
    rows = torch.randn(16, 700, device=DEVICE)
    together = quantized_matmul.project(rows, matrix)
    for row in (0, 15):
        apart = quantized_matmul.project(torch.cat((rows[3:4], rows[row : row + 1])), matrix)
        assert torch.equal(apart[-1], together[row])
