"""Widens stored blocks exactly: to the float32 numbers of each type of `tensor_types.py`.

The layouts are those of ggml's quantised types (https://github.com/ggml-org/ggml, ggml-common.h). A type's function
takes blocks (N, bytes) and returns weights (N, weights of a block); it multiplies and adds in ggml's own order, so that
each number is equal to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from decoding.models.gguf.tensor_table import StoredTensor

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

# These are numpy bytes, so that operations with bytes give bytes.
LOW: Final = np.uint8(15)
LOWEST: Final = np.uint8(3)
LOW_SIX: Final = np.uint8(63)
TWO, FOUR, SIX = np.uint8(2), np.uint8(4), np.uint8(6)
CHUNK_WEIGHTS: Final = 2**20  # chosen: so many weights are widened at a time, so that float32 copies stay small
# The sixteen values of IQ4's four-bit codes.
VALUES: Final = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)


def widen(tensor: StoredTensor) -> Iterator[Floats]:
    """Yield the numbers of a tensor in order, in pieces of whole rows. Raises `ModelError` if it can't be read."""
    rows, kind = tensor.read(), tensor.kind
    step = max(1, CHUNK_WEIGHTS // tensor.shape[-1])
    for first in range(0, len(rows), step):
        blocks = rows[first : first + step].reshape(-1, kind.num_bytes)
        values = widen_blocks(kind.name, blocks).reshape(-1)
        yield values - np.float32(tensor.minus) if tensor.minus else values


def widen_blocks(name: str, blocks: Bytes) -> Floats:
    """Return (N, weights of a block) of blocks (N, bytes) of the type of this name."""
    with np.errstate(all="ignore"):  # a damaged scale may be infinite, which the caller checks
        return WIDENED[name](blocks)


def _f32(blocks: Bytes) -> Floats:
    return blocks.view("<f4").astype(np.float32, copy=False)


def _f16(blocks: Bytes) -> Floats:
    return blocks.view("<f2").astype(np.float32)


def _bf16(blocks: Bytes) -> Floats:
    return (blocks.view("<u2").astype(np.uint32) << 16).view(np.float32)


def _half(blocks: Bytes, at: int) -> Floats:
    """Return (N, 1) the float16 at this byte."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)


def _nibbles(quants: Bytes) -> Bytes:
    """Return (N, 2 B) four-bit numbers of bytes (N, B): all low halves, then all high ones."""
    return np.concatenate([quants & LOW, quants >> FOUR], axis=1)


def _fifth_bits(blocks: Bytes, at: int) -> Bytes:
    """Return (N, 32) the bits of the four bytes from this one on, each as 16."""
    return np.unpackbits(blocks[:, at : at + 4], axis=1, bitorder="little") << FOUR


def _q4_0(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * (_nibbles(blocks[:, 2:]).astype(np.int8) - np.int8(8)).astype(np.float32)


def _q4_1(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * _nibbles(blocks[:, 4:]).astype(np.float32) + _half(blocks, 2)


def _q5_0(blocks: Bytes) -> Floats:
    quants = _nibbles(blocks[:, 6:]) | _fifth_bits(blocks, 2)
    return _half(blocks, 0) * (quants.astype(np.int8) - np.int8(16)).astype(np.float32)


def _q5_1(blocks: Bytes) -> Floats:
    quants = _nibbles(blocks[:, 8:]) | _fifth_bits(blocks, 4)
    return _half(blocks, 0) * quants.astype(np.float32) + _half(blocks, 2)


def _q8_0(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * blocks[:, 2:].view(np.int8).astype(np.float32)


def _iq4_nl(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * VALUES[_nibbles(blocks[:, 2:])]


def _crumbs(quants: Bytes) -> Bytes:
    """Return (N, 256) two-bit numbers of 64 bytes: the first 32 bytes hold the first 128, their lowest bits first."""
    halves = quants.reshape(-1, 2, 1, 32)
    return (halves >> np.array([0, 2, 4, 6], np.uint8)[:, None] & LOWEST).reshape(-1, 256)


def _scaled(factors: Floats, quants: NDArray[np.generic]) -> Floats:
    """Multiply (N, 256) quants with factors (N, G), each of which holds for equally many."""
    parts = quants.reshape(*factors.shape, -1).astype(np.float32)
    scaled: Floats = (factors[:, :, None] * parts).reshape(len(quants), -1)
    return scaled


def _lessened(scaled: Floats, offsets: Floats) -> Floats:
    """Subtract offsets (N, G) from (N, 256), each of which holds for equally many."""
    parts = scaled.reshape(*offsets.shape, -1)
    parts -= offsets[:, :, None]
    return scaled


def _q2_k(blocks: Bytes) -> Floats:
    scales, quants = blocks[:, :16], _crumbs(blocks[:, 16:80])
    factors = _half(blocks, 80) * (scales & LOW).astype(np.float32)
    offsets = _half(blocks, 82) * (scales >> FOUR).astype(np.float32)
    return _lessened(_scaled(factors, quants), offsets)


def _q3_k(blocks: Bytes) -> Floats:
    # Bit b of byte j is the third bit of number 32 b + j.
    high = np.unpackbits(blocks[:, :32, None], axis=2, bitorder="little").swapaxes(1, 2).reshape(-1, 256)
    quants = (_crumbs(blocks[:, 32:96]) | high << TWO).astype(np.int8) - np.int8(4)
    low, upper = blocks[:, 96:104], blocks[:, 104:108]
    low = np.concatenate([low & LOW, low >> FOUR], axis=1)
    upper = (upper[:, None] >> np.array([0, 2, 4, 6], np.uint8)[:, None] & LOWEST).reshape(-1, 16)
    scales = (low | upper << FOUR).astype(np.int8) - np.int8(32)
    return _scaled(_half(blocks, 108) * scales.astype(np.float32), quants)


def _six_bits(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Unpack eight factors and eight offsets (N, 8) from the twelve bytes in which Q4_K and Q5_K keep them."""
    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    factors = np.concatenate([first & LOW_SIX, (third & LOW) | (first >> SIX) << FOUR], axis=1)
    offsets = np.concatenate([second & LOW_SIX, (third >> FOUR) | (second >> SIX) << FOUR], axis=1)
    return factors, offsets


def _with_offsets(blocks: Bytes, quants: Bytes) -> Floats:
    """Widen quants by the head of a block of Q4_K or Q5_K."""
    factors, offsets = _six_bits(blocks[:, 4:16])
    scaled = _scaled(_half(blocks, 0) * factors.astype(np.float32), quants)
    return _lessened(scaled, _half(blocks, 2) * offsets.astype(np.float32))


def _pairs_of_32(quants: Bytes) -> Bytes:
    """Return (N, 256) four-bit numbers of 128 bytes: of each 32 bytes the low halves, then the high ones."""
    return (quants.reshape(-1, 4, 1, 32) >> np.array([0, 4], np.uint8)[:, None] & LOW).reshape(-1, 256)


def _q4_k(blocks: Bytes) -> Floats:
    return _with_offsets(blocks, _pairs_of_32(blocks[:, 16:]))


def _q5_k(blocks: Bytes) -> Floats:
    # Bit b of byte j is the fifth bit of number 32 b + j.
    high = np.unpackbits(blocks[:, 16:48, None], axis=2, bitorder="little").swapaxes(1, 2).reshape(-1, 256)
    return _with_offsets(blocks, _pairs_of_32(blocks[:, 48:]) | high << FOUR)


def _q6_k(blocks: Bytes) -> Floats:
    low = (blocks[:, :128].reshape(-1, 2, 1, 64) >> np.array([0, 4], np.uint8)[:, None] & LOW).reshape(-1, 256)
    quants = (low | _crumbs(blocks[:, 128:192]) << FOUR).astype(np.int8) - np.int8(32)
    scales = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8)
    return _scaled(_half(blocks, 208) * scales.astype(np.float32), quants)


def _iq4_xs(blocks: Bytes) -> Floats:
    high = np.ascontiguousarray(blocks[:, 2:4]).view("<u2") >> np.arange(0, 16, 2, dtype=np.uint16) & LOWEST
    low = (blocks[:, 4:8, None] >> np.array([0, 4], np.uint8) & LOW).reshape(-1, 8)
    scales = (low | high.astype(np.uint8) << FOUR).astype(np.int8) - np.int8(32)
    quants = (blocks[:, 8:].reshape(-1, 8, 1, 16) >> np.array([0, 4], np.uint8)[:, None] & LOW).reshape(-1, 256)
    return _scaled(_half(blocks, 0) * scales.astype(np.float32), VALUES[quants])


WIDENED: Final[Mapping[str, Callable[[Bytes], Floats]]] = {
    "F32": _f32, "F16": _f16, "BF16": _bf16, "Q4_0": _q4_0, "Q4_1": _q4_1, "Q5_0": _q5_0, "Q5_1": _q5_1,
    "Q8_0": _q8_0, "Q2_K": _q2_k, "Q3_K": _q3_k, "Q4_K": _q4_k, "Q5_K": _q5_k, "Q6_K": _q6_k, "IQ4_NL": _iq4_nl,
    "IQ4_XS": _iq4_xs,
}  # fmt: skip
