"""Rounds weights to eight or four bits, lays them out, and multiplies rows in full precision with them.

Only the weights are rounded: rows stay what they are, and sums are float32. A matrix is made with the function
that multiplies: a kernel that widens the weights on their way to a GPU's matrix unit (`cuda/quantized_matmul.py`), or
plain torch, slowly, to compare with. The output is the rounded model's own text, exactly: speculation compares that
model with itself. int8 and fp8 (e4m3, https://arxiv.org/abs/2209.05433) have a factor for each output; int4 has one for
each 64 inputs of an output, by which the largest of them becomes −8, as in llama.cpp's Q4_0.

Dimension letters: T rows, N outputs, K inputs; tiles of 64 outputs and 128 inputs lie one behind the other, whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from decoding.models.torch.decoder import Layer, Weights

TILE_OUTPUTS: Final = 64
TILE_INPUTS: Final = 128
GROUP: Final = TILE_INPUTS // 2  # inputs that share a factor in int4
FP8: Final = torch.float8_e4m3fn
LARGEST: Final[Mapping[str, float]] = {"int8": 127.0, "fp8": 448.0, "int4": 8.0}
# The factors are included. The embedding is not rounded.
BYTES_PER_WEIGHT: Final[Mapping[str, float]] = {"int8": 1.0, "fp8": 1.0, "int4": 0.5 + 2 / GROUP}
# chosen: four bits are too few for the head, which chooses among all tokens, so it gets eight.
HEAD_KIND: Final[Mapping[str, str]] = {"int8": "int8", "fp8": "fp8", "int4": "int8"}
SMALLEST_FACTOR: Final = 1e-12


# Returns the product (T, N) of rows (T, K) with a rounded matrix, and adds a bias (N,) if there is one.
Multiply = Callable[[Tensor, "QuantizedMatrix", Tensor | None], Tensor]


def multiply_widened(rows: Tensor, matrix: QuantizedMatrix, bias: Tensor | None) -> Tensor:
    """Multiply by plain torch, in the rows' own type: slow, on any device."""
    wide = F.linear(rows.float(), matrix.weights(), None if bias is None else bias.float())
    return wide.to(rows.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedMatrix:
    """A rounded (N, K) matrix that stands where a tensor would: `F.linear(rows, matrix, bias)` multiplies with it.

    `data` (N / 64, K / 128, 64, 128) are bytes, each half as many in int4: the low four bits of byte i are input i of
    the tile, the high ones input 64 + i. `factors` (N,) are float32; in int4 (K / 128, 2, N) bfloat16.
    N and K are padded to whole tiles there, with zeros; `outputs` and `inputs` are the real ones.
    `origin` is the address of the weights it was made of, and `multiply` what its products are computed by.
    """

    kind: str
    data: Tensor
    factors: Tensor
    outputs: int
    inputs: int
    origin: int
    multiply: Multiply = multiply_widened

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], _types: object, arguments: Sequence[Any] = (), _keywords: object = None
    ) -> Any:
        """Handle torch's calls with such a matrix as an argument: it can be multiplied with, and nothing else."""
        if function is not F.linear:
            return NotImplemented
        rows, matrix, bias = (*arguments, None)[:3]
        return matrix.multiply(rows, matrix, bias)

    @property
    def num_bytes(self) -> int:
        """The memory of the matrix in bytes."""
        return self.data.nbytes + self.factors.nbytes

    def numel(self) -> int:
        """Return how many weights there were."""
        return self.outputs * self.inputs

    def data_ptr(self) -> int:
        """Return the address of the original weights, by which a tied head is recognised."""
        return self.origin

    def weights(self) -> Tensor:
        """Return the rounded weights as (N, K) float32."""
        num_tiles, num_deep = self.data.shape[:2]
        if self.kind == "int4":
            halves = torch.stack((self.data & 15, self.data >> 4), dim=3).float() - 8  # (N/64, K/128, 64, 2, 64)
            factors = self.factors.float().view(num_deep, 2, num_tiles, TILE_OUTPUTS).permute(2, 0, 3, 1)
            tiles = (halves * factors.unsqueeze(-1)).flatten(3)
        else:
            tiles = (self.data.view(FP8) if self.kind == "fp8" else self.data).float()
            tiles = tiles * self.factors.view(num_tiles, 1, TILE_OUTPUTS, 1)
        whole = tiles.transpose(1, 2).reshape(num_tiles * TILE_OUTPUTS, -1)
        return whole[: self.outputs, : self.inputs].contiguous()


def quantize(weights: Tensor, kind: str, multiply: Multiply = multiply_widened) -> QuantizedMatrix:
    """Round (N, K) weights to `kind`, on the device where they lie."""
    outputs, inputs = weights.shape
    wide = F.pad(weights.float(), (0, -inputs % TILE_INPUTS, 0, -outputs % TILE_OUTPUTS))
    num_tiles, num_deep = wide.shape[0] // TILE_OUTPUTS, wide.shape[1] // TILE_INPUTS
    tiles = wide.view(num_tiles, TILE_OUTPUTS, num_deep, TILE_INPUTS).transpose(1, 2)
    data, factors = _to_four_bits(tiles) if kind == "int4" else _to_eight_bits(tiles, kind)
    return QuantizedMatrix(kind, data.contiguous(), factors, outputs, inputs, weights.data_ptr(), multiply)


def _to_eight_bits(tiles: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Round (N/64, K/128, 64, 128) to bytes of that shape, and factors (N,)."""
    factors = (tiles.abs().amax(dim=(1, 3), keepdim=True) / LARGEST[kind]).clamp_min(SMALLEST_FACTOR)
    scaled = tiles / factors
    data = scaled.to(FP8).view(torch.uint8) if kind == "fp8" else scaled.round().to(torch.int8)
    return data, factors.flatten()


def _to_four_bits(tiles: Tensor) -> tuple[Tensor, Tensor]:
    """Round (N/64, K/128, 64, 128) to bytes (N/64, K/128, 64, 64), and factors (K/128, 2, N)."""
    groups = tiles.unflatten(3, (2, GROUP))
    largest = groups.gather(4, groups.abs().argmax(dim=4, keepdim=True))
    factors = (largest / -LARGEST["int4"]).bfloat16()
    divisors = torch.where(factors == 0, 1, factors).float()
    digits = ((groups / divisors).round().clamp(-8, 7) + 8).to(torch.uint8)
    data = digits[..., 0, :] | (digits[..., 1, :] << 4)
    return data, factors.squeeze(4).permute(1, 3, 0, 2).flatten(2).contiguous()


def quantize_layer(layer: Layer, kind: str, multiply: Multiply = multiply_widened) -> Layer:
    """Return the layer with its matrices rounded; norms and biases stay."""
    matrices = {name: quantize(getattr(layer, name), kind, multiply) for name in ("qkv", "out", "gate_up", "down")}
    return replace(layer, **cast("dict[str, Any]", matrices))


def quantize_weights(weights: Weights, kind: str, multiply: Multiply = multiply_widened) -> Weights:
    """Return weights with all matrices rounded but the embedding; a head tied to it becomes one of its own."""
    layers = [layer if is_quantized(layer.qkv) else quantize_layer(layer, kind, multiply) for layer in weights.layers]
    head = quantize(weights.head, HEAD_KIND[kind], multiply)
    return replace(weights, layers=layers, head=cast(Tensor, head))


def is_quantized(weights: object) -> bool:
    """Return whether a matrix is rounded."""
    return isinstance(weights, QuantizedMatrix)
