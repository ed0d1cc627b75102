"""Takes the blocks of GGUF files apart, in compiled code: 32 weights of a group as words of four, and their scales.

The layouts are those of ggml's quantised types (https://github.com/ggml-org/ggml, ggml-common.h).
"""

from __future__ import annotations

from decoding.models.cpu.bytes_in_memory import read_byte, read_short, read_word, write_byte
from decoding.models.cpu.compiling import compiled
from decoding.models.cpu.quantized_forms import PANEL, STEPS

# How blocks are laid out: plainly in groups of 32, by bytes, by a table, in 256 by factors, or by factors of 16.
PLAIN, PLAIN_BYTES, PLAIN_TABLE, BY_FACTORS, BY_HALF_GROUPS = range(5)

_LOW, _FIFTH, _TOP = 0x0F0F0F0F, 0x01010101, 0x03030303
_SPREAD = 0x00204081  # times a number of four bits, it puts each bit into a byte of its own
_SIGN = 0x8000  # of a half
# The sixteen values of IQ4_NL, plus 128.
_TABLE = (1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241)


@compiled
def unpack_group(layout, bits, num_halves, block, group, words):
    """Write a group's values to eight words, each of four weights in four bytes."""
    if layout == PLAIN_BYTES:
        for step in range(STEPS):
            words[step] = read_word(block + 2 + 4 * step) ^ 0x80808080
    elif layout == BY_FACTORS:
        low = block + 16 + 32 * (bits - 4) + group // 2 * 32
        for step in range(STEPS):
            words[step] = read_word(low + 4 * step) >> group % 2 * 4 & _LOW
            if bits == 5:
                words[step] |= (read_word(block + 16 + 4 * step) >> group & _FIFTH) << 4
    elif layout == BY_HALF_GROUPS:
        part = group % 4
        low, top = block + group // 4 * 64 + part % 2 * 32, block + 128 + group // 4 * 32
        for step in range(STEPS):
            words[step] = read_word(low + 4 * step) >> part // 2 * 4 & _LOW
            words[step] |= (read_word(top + 4 * step) >> 2 * part & _TOP) << 4
    else:
        _unpack_plain(layout, bits, num_halves, block, words)


@compiled
def _unpack_plain(layout, bits, num_halves, block, words):
    fifths = block + 2 * num_halves
    low = fifths + 4 if bits == 5 else fifths
    for step in range(STEPS):
        words[step] = read_word(low + step % 4 * 4) >> step // 4 * 4 & _LOW
    if bits == 5:
        every = read_word(fifths)
        for step in range(STEPS):
            words[step] |= ((every >> 4 * step & 15) * _SPREAD & _FIFTH) << 4
    if layout == PLAIN_TABLE:
        for step in range(STEPS):
            word = 0
            for place in range(4):
                word |= _TABLE[words[step] >> 8 * place & 15] << 8 * place
            words[step] = word


@compiled
def copy_factors(layout, num_halves, block, factors):
    """Write a block's factors to a lane of a panel; return the bits of its scale and its offset, of half precision."""
    if layout == BY_HALF_GROUPS:
        for part in range(16):
            write_byte(factors + part * PANEL, read_byte(block + 192 + part))
        return read_short(block + 208), 0
    if layout == BY_FACTORS:
        # Factors of 6 bits: the upper bits of the last four groups' stand beside the first four's. Both fours are read
        # together: with a branch on the group, LLVM 22 drops the loop.
        for group in range(4):
            scale, offset = read_byte(block + 4 + group), read_byte(block + 8 + group)
            rest = read_byte(block + 12 + group)
            first, last = factors + 2 * group * PANEL, factors + 2 * (group + 4) * PANEL
            write_byte(first, scale & 63)
            write_byte(first + PANEL, offset & 63)
            write_byte(last, rest & 15 | scale >> 6 << 4)
            write_byte(last + PANEL, rest >> 4 | offset >> 6 << 4)
        return read_short(block), read_short(block + 2) ^ _SIGN
    return read_short(block), read_short(block + 2) if num_halves == 2 else 0
