"""Repacks blocks of GGUF files as panels for the quantised kernels: equal numbers in another order, nothing is rounded.

Works on words of four weights side by side, a few panels at a time, so that intermediate results stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from decoding.models.cpu import quantized_forms as forms
from decoding.models.cpu.quantized_forms import FORMS, LINE_BYTES, PANEL, STEPS, Scales
from decoding.models.cpu.quantized_rows import GROUP

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint32]  # weights of four inputs, a byte each

_CHUNK_WEIGHTS = 2**18
_LOW = 0x0F0F0F0F
# The sixteen values of IQ4_NL's four-bit codes.
_TABLE = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.int16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panels:
    """A matrix in panels of 16 outputs, the last ones padded with zeros."""

    kind: int  # of quantized_forms.py
    outputs: int
    inputs: int
    num_panels: int
    values: Bytes
    scales: Bytes


@dataclass(frozen=True, slots=True)
class _Unpacked:
    """The parts of blocks: words (blocks, groups, 8), halves (blocks, 1 or 2), factors (blocks, groups, 2)."""

    words: Words
    halves: npt.NDArray[np.float16]
    factors: Bytes | None = None


@dataclass(frozen=True, slots=True)
class _BlockType:
    kind: int
    num_bytes: int
    inputs: int
    unpack: Callable[[Bytes], _Unpacked]


def block_types() -> frozenset[str]:
    """Return the types of blocks that can be repacked, by GGUF's names."""
    return frozenset(_TYPES)


def repacked(raw: Bytes, type_name: str, outputs: int, inputs: int, unit: int = PANEL) -> Panels:
    """Repack a matrix (outputs, inputs) as it lies in a file into panels.

    Args:
        raw: its bytes.
        type_name: GGUF's name of its blocks' type.
        outputs: number of rows.
        inputs: weights of a row.
        unit: zeros pad the outputs to a multiple of this.

    Raises:
        ValueError: the bytes are not such a matrix, or it can't be one.
    """
    block = _TYPES[type_name]
    if inputs % block.inputs or not inputs or raw.size != outputs * (inputs // block.inputs) * block.num_bytes:
        raise ValueError(f"{raw.size} bytes of {type_name} are no matrix of {outputs} x {inputs}")
    form = FORMS[block.kind]
    num_panels = -(-outputs // unit) * unit // PANEL
    values = _aligned(num_panels * form.values_stride(inputs))
    scales = _aligned(num_panels * form.scales_stride(inputs))
    rows = raw.reshape(outputs, -1)
    step = max(1, _CHUNK_WEIGHTS // (inputs * PANEL))
    for first in range(0, -(-outputs // PANEL), step):
        part = rows[first * PANEL : (first + step) * PANEL]
        if len(part) % PANEL:
            # Blocks of zeros are weights of zero.
            part = np.concatenate((part, np.zeros((-len(part) % PANEL, part.shape[1]), np.uint8)))
        unpacked = block.unpack(part.reshape(-1, block.num_bytes))
        if not np.isfinite(unpacked.halves).all():
            raise ValueError(f"a block of {type_name} has a scale that is not finite")
        count = len(part) // PANEL
        _write_values(_of(values, num_panels, first, count), unpacked.words, form.bits)
        _write_scales(_of(scales, num_panels, first, count), unpacked, form.scales)
    return Panels(kind=block.kind, outputs=outputs, inputs=inputs, num_panels=num_panels, values=values, scales=scales)


def _aligned(size: int) -> Bytes:
    """Return so many zeros, aligned to a line of the cache."""
    wide = np.zeros(size + LINE_BYTES, np.uint8)
    first = -wide.ctypes.data % LINE_BYTES
    return wide[first : first + size]


def _of(stream: Bytes, num_panels: int, first: int, count: int) -> Bytes:
    """Return the part of a stream that belongs to some panels."""
    size = len(stream) // num_panels
    return stream[first * size : (first + count) * size].reshape(count, size)


def _write_values(target: Bytes, words: Words, bits: int) -> None:
    count = len(target)
    words = words.reshape(count, PANEL, -1, STEPS)
    lines = target.view(np.uint32).reshape(count, words.shape[2], -1, PANEL)
    if bits == 8:
        lines[:] = words.transpose(0, 2, 3, 1)
        return
    low = words & np.uint32(_LOW)
    lines[:, :, : STEPS // 2] = (low[..., ::2] | (low[..., 1::2] << np.uint32(4))).transpose(0, 2, 3, 1)
    if bits > 4:
        width = bits - 4
        high = (words >> np.uint32(4)) & np.uint32(0x01010101 * (2**width - 1))
        high = high.reshape(*words.shape[:3], width, -1)  # as many lines as bits
        line = high[..., 0].copy()
        for number in range(1, high.shape[-1]):
            line |= high[..., number] << np.uint32(width * number)
        lines[:, :, STEPS // 2 :] = line.transpose(0, 2, 3, 1)


def _write_scales(target: Bytes, unpacked: _Unpacked, scales: Scales) -> None:
    count, num_halves = len(target), unpacked.halves.shape[1]
    # (panels, spans, halves, outputs)
    halves = unpacked.halves.reshape(count, PANEL, -1, num_halves).transpose(0, 2, 3, 1)
    spans = target.reshape(count, halves.shape[1], -1)
    behind = spans.shape[2] - num_halves * 2 * PANEL
    if unpacked.factors is not None:
        factors = unpacked.factors.reshape(count, PANEL, halves.shape[1], -1)
        spans[:, :, :behind] = factors.transpose(0, 2, 3, 1).reshape(count, halves.shape[1], behind)
    spans[:, :, behind:].view(np.float16)[:] = halves.reshape(count, halves.shape[1], -1)


def _words(blocks: Bytes, first: int, size: int) -> Words:
    """Return some bytes of each block as words."""
    return np.ascontiguousarray(blocks[:, first : first + size]).view(np.uint32)


def _halves(blocks: Bytes, first: int, count: int) -> npt.NDArray[np.float16]:
    return np.ascontiguousarray(blocks[:, first : first + 2 * count]).view(np.float16)


def _nibbles(words: Words, run: int) -> Words:
    """Split words (..., run) into low and high halves, the low ones first: (..., 2, run)."""
    words = words.reshape(len(words), -1, 1, run)
    return np.concatenate((words & np.uint32(_LOW), (words >> np.uint32(4)) & np.uint32(_LOW)), axis=2)


def _legacy(blocks: Bytes, num_halves: int, *, has_fifth: bool) -> _Unpacked:
    """Take apart Q4_0, Q4_1, Q5_0 and Q5_1: scales, 32 fifth bits, then 16 bytes of low bits."""
    words = _nibbles(_words(blocks, blocks.shape[1] - 16, 16), 4).reshape(len(blocks), 1, STEPS)
    if has_fifth:
        bits = np.unpackbits(blocks[:, 2 * num_halves : 2 * num_halves + 4], axis=1, bitorder="little")
        words |= (bits << np.uint8(4)).view(np.uint32).reshape(words.shape)
    return _Unpacked(words, _halves(blocks, 0, num_halves))


def _q8_0(blocks: Bytes) -> _Unpacked:
    return _Unpacked((_words(blocks, 2, GROUP) ^ np.uint32(0x80808080))[:, None], _halves(blocks, 0, 1))


def _iq4_nl(blocks: Bytes) -> _Unpacked:
    unpacked = _legacy(blocks, 1, has_fifth=False)
    values = (_TABLE + FORMS[forms.Q8_0].bias).astype(np.uint8)[unpacked.words.view(np.uint8)]
    return _Unpacked(values.view(np.uint32), unpacked.halves)


def _k(blocks: Bytes, *, has_fifth: bool) -> _Unpacked:
    """Take apart Q4_K and Q5_K: scale and offset, 12 bytes of factors, 32 bytes of fifth bits, then 128 of low bits."""
    words = _nibbles(_words(blocks, blocks.shape[1] - 128, 128), 8).reshape(len(blocks), 8, STEPS)
    if has_fifth:
        fifth = _words(blocks, 16, 32)
        for group in range(8):
            words[:, group] |= ((fifth >> np.uint32(group)) & np.uint32(0x01010101)) << np.uint32(4)
    halves = _halves(blocks, 0, 2)
    return _Unpacked(words, halves * np.array([1, -1], np.float16), _k_factors(blocks[:, 4:16].reshape(-1, 3, 4)))


def _k_factors(packed: Bytes) -> Bytes:
    """Return (blocks, 8 groups, scale and offset) of 6 bits; the second four groups have their upper bits elsewhere."""
    scale, offset, rest = packed[:, 0], packed[:, 1], packed[:, 2]
    factors = np.empty((len(packed), 8, 2), np.uint8)
    factors[:, :4, 0], factors[:, :4, 1] = scale & 0x3F, offset & 0x3F
    factors[:, 4:, 0] = (rest & 0x0F) | ((scale >> 2) & 0x30)
    factors[:, 4:, 1] = (rest >> 4) | ((offset >> 2) & 0x30)
    return factors


def _q6_k(blocks: Bytes) -> _Unpacked:
    """Take apart Q6_K: 128 bytes of low bits, 64 of the fifth and sixth, 16 signed factors, the scale."""
    words = _nibbles(_words(blocks, 0, 128), 16).reshape(len(blocks), 2, 4, STEPS)
    high = _words(blocks, 128, 64).reshape(-1, 2, STEPS)
    for group in range(4):
        words[:, :, group] |= ((high >> np.uint32(2 * group)) & np.uint32(0x03030303)) << np.uint32(4)
    return _Unpacked(words.reshape(-1, 8, STEPS), _halves(blocks, 208, 1), blocks[:, 192:208].reshape(-1, 8, 2))


_TYPES = {
    "Q4_0": _BlockType(forms.Q4_0, 18, GROUP, lambda blocks: _legacy(blocks, 1, has_fifth=False)),
    "Q4_1": _BlockType(forms.Q4_1, 20, GROUP, lambda blocks: _legacy(blocks, 2, has_fifth=False)),
    "Q5_0": _BlockType(forms.Q5_0, 22, GROUP, lambda blocks: _legacy(blocks, 1, has_fifth=True)),
    "Q5_1": _BlockType(forms.Q5_1, 24, GROUP, lambda blocks: _legacy(blocks, 2, has_fifth=True)),
    "Q8_0": _BlockType(forms.Q8_0, 34, GROUP, _q8_0),
    "IQ4_NL": _BlockType(forms.Q8_0, 18, GROUP, _iq4_nl),
    "Q4_K": _BlockType(forms.Q4_K, 144, 256, lambda blocks: _k(blocks, has_fifth=False)),
    "Q5_K": _BlockType(forms.Q5_K, 176, 256, lambda blocks: _k(blocks, has_fifth=True)),
    "Q6_K": _BlockType(forms.Q6_K, 210, 256, _q6_k),
}
