"""Measures for a second or two how fast this machine computes, and estimates from that what a model would do here.

A step for one token reads every weight once, so a model's step takes as long as its bytes; a prompt is read by many
rows at once, so there the multiplications count. A small model with made-up weights is timed, by the code that computes
the real ones. What drafts add is not in the estimate: it depends on the text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Final

import numpy as np
import torch
from torch import Tensor

from decoding.config import EngineConfig
from decoding.models.language_model import LanguageModel
from decoding.models.loading.decoder_loading import assemble
from decoding.models.loading.devices import choose_device
from decoding.models.probing.step_times import measure_passes
from decoding.models.torch.decoder import Layer, Shape, Weights, rotary_table
from decoding.models.torch.rope import inverse_frequencies
from decoding.models.weights.stored_blocks import BlockRows, StoredLayer, StoredWeights

# The sizes of a model's layers of 1.5 billion weights; six of them and a part of its head don't fit into a cache.
SHAPE: Final = Shape(
    layers=6, width=1536, heads=12, kv_heads=2, head_dim=128, vocabulary=32_768, max_len=1024, norm_eps=1e-6
)
FEED_FORWARD: Final = 8960
TYPE, BLOCK_WEIGHTS, BLOCK_BYTES = "Q4_K", 256, 144
SCALE: Final = np.float16(0.001)


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What was measured: bytes of weights that a step reads a second, and products of a prompt's pass a second."""

    bytes_per_second: float
    products_per_second: float

    def best_of(self, other: Speed) -> Speed:
        """Return the better figures of two measurements: what takes longer than it could is other work."""
        return Speed(
            bytes_per_second=max(self.bytes_per_second, other.bytes_per_second),
            products_per_second=max(self.products_per_second, other.products_per_second),
        )

    def tokens_per_second(self, step_bytes: int) -> float:
        """Return about how many tokens a second a model writes without drafts that reads so many bytes a step."""
        return self.bytes_per_second / max(step_bytes, 1)

    def prompt_tokens_per_second(self, num_parameters: int) -> float:
        """Return about how many tokens of a prompt a model of so many weights reads a second."""
        return self.products_per_second / max(num_parameters, 1)


def measure(config: EngineConfig, *, in_blocks: bool, shape: Shape = SHAPE) -> Speed:
    """Time passes of a made-up model on the device that the settings choose.

    Args:
        config: the engine's settings.
        in_blocks: whether its weights are blocks of four bits, as in a GGUF file, or numbers of the device's own type.
        shape: the model's sizes.
    """
    device, dtype = choose_device(config)
    if device.type == "cpu" and not in_blocks:
        shape = replace(shape, layers=max(1, shape.layers // 3))  # their weights take four times the bytes
    rotary = rotary_table(shape.max_len + 128, inverse_frequencies({"rope_theta": 1e6}, shape.head_dim)).to(device)
    settings = replace(config, quantize="none")
    if in_blocks:
        from decoding.models.cpu import decoder  # noqa: PLC0415 - brings numba

        threads = config.threads or torch.get_num_threads()
        model: LanguageModel = decoder.build(shape, _in_blocks(shape, rotary), threads=threads)
        weight_bytes = BLOCK_BYTES / BLOCK_WEIGHTS
    else:
        model = assemble(shape, _dense(shape, rotary, device, dtype), settings)
        weight_bytes = dtype.itemsize
    rows = model.prefill_width
    passes = {1: partial(model.step, [0]), rows: partial(model.advance, [0] * rows)}
    least_ms = measure_passes(passes, model)
    num_weights = shape.layers * sum(map(prod, _matrices(shape).values())) + shape.vocabulary * shape.width
    return Speed(
        bytes_per_second=num_weights * weight_bytes / least_ms[1] * 1e3,
        products_per_second=num_weights * rows / least_ms[rows] * 1e3,
    )


def _matrices(shape: Shape) -> dict[str, tuple[int, int]]:
    queries = shape.heads * shape.head_dim
    return {
        "qkv": (queries + 2 * shape.kv_heads * shape.head_dim, shape.width),
        "out": (shape.width, queries),
        "gate": (FEED_FORWARD, shape.width),
        "up": (FEED_FORWARD, shape.width),
        "down": (shape.width, FEED_FORWARD),
    }


def _in_blocks(shape: Shape, rotary: Tensor) -> StoredWeights:
    rng = np.random.default_rng(0)

    def draw(outputs: int, inputs: int) -> BlockRows:
        rows = rng.integers(0, 256, (outputs, inputs // BLOCK_WEIGHTS, BLOCK_BYTES), dtype=np.uint8)
        rows[:, :, :4] = np.full(2, SCALE).view(np.uint8)  # random bits would be infinite scales, too
        return BlockRows(type_name=TYPE, inputs=inputs, rows=rows.reshape(outputs, -1))

    def layer() -> StoredLayer:
        drawn = {name: draw(*sizes) for name, sizes in _matrices(shape).items()}
        return StoredLayer(
            input_norm=ones,
            qkv=(drawn["qkv"],),
            qkv_bias=None,
            query_norm=None,
            key_norm=None,
            out=(drawn["out"],),
            post_norm=ones,
            gate_up=(drawn["gate"], drawn["up"]),
            down=(drawn["down"],),
        )

    ones = torch.ones(shape.width)
    head = (draw(shape.vocabulary, shape.width),)
    layers = (layer() for _ in range(shape.layers))
    return StoredWeights(tables=[head], layers=layers, norm=ones, rotary=rotary, is_tied=True)


def _dense(shape: Shape, rotary: Tensor, device: torch.device, dtype: torch.dtype) -> Weights:
    def draw(outputs: int, inputs: int) -> Tensor:
        return torch.full((outputs, inputs), 0.01, device=device, dtype=dtype)

    def layer() -> Layer:
        drawn = {name: draw(*sizes) for name, sizes in _matrices(shape).items()}
        return Layer(
            input_norm=ones,
            qkv=drawn["qkv"],
            qkv_bias=None,
            query_norm=None,
            key_norm=None,
            out=drawn["out"],
            post_norm=ones,
            gate_up=torch.cat((drawn["gate"], drawn["up"])),
            down=drawn["down"],
        )

    ones = torch.ones(shape.width, device=device, dtype=dtype)
    head = draw(shape.vocabulary, shape.width)
    layers = [layer() for _ in range(shape.layers)]
    return Weights(embedding=head, layers=layers, norm=ones, head=head, rotary=rotary)
