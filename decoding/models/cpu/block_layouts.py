"""Takes the blocks of GGUF files apart, in compiled code: 32 weights of a group as words of four, and their scales.

The layouts are those of ggml's quantised types (https://github.com/ggml-org/ggml, ggml-common.h).
"""

from __future__ import annotations

from decoding.models.cpu.bytes_in_memory import read_byte, read_long, read_short, read_word, write_byte
from decoding.models.cpu.compiling import compiled
from decoding.models.cpu.quantized_forms import PANEL

# How blocks are laid out: plainly in groups of 32, by bytes, by a table, in 256 by factors, or by factors of 16.
PLAIN, PLAIN_BYTES, PLAIN_TABLE, BY_FACTORS, BY_HALF_GROUPS = range(5)

_LOW, _FIFTH, _TOP = 0x0F0F0F0F0F0F0F0F, 0x0101010101010101, 0x0303030303030303
_MIDDLES = -0x7F7F7F7F7F7F7F80  # 128 in each byte
_SPREAD = 0x00204081  # times a number of four bits, it puts each bit into a byte of its own
_SIGN = 0x8000  # of a half
# The sixteen values of IQ4_NL, plus 128.
_TABLE = (1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241)


@compiled
def unpack_group(layout, bits, num_halves, block, group):
    """Return a group's values as four pairs of words, the earlier in the low half; a word has four weights in bytes."""
    if layout == PLAIN_BYTES:
        at = block + 2
        return (
            read_long(at) ^ _MIDDLES,
            read_long(at + 8) ^ _MIDDLES,
            read_long(at + 16) ^ _MIDDLES,
            read_long(at + 24) ^ _MIDDLES,
        )
    if layout == BY_FACTORS:
        low = block + 16 + 32 * (bits - 4) + group // 2 * 32
        a, b, c, d = _nibbles(low, group % 2 * 4)
        if bits == 5:
            top = block + 16
            a |= (read_long(top) >> group & _FIFTH) << 4
            b |= (read_long(top + 8) >> group & _FIFTH) << 4
            c |= (read_long(top + 16) >> group & _FIFTH) << 4
            d |= (read_long(top + 24) >> group & _FIFTH) << 4
        return a, b, c, d
    if layout == BY_HALF_GROUPS:
        part = group % 4
        top = block + 128 + group // 4 * 32
        a, b, c, d = _nibbles(block + group // 4 * 64 + part % 2 * 32, part // 2 * 4)
        a |= (read_long(top) >> 2 * part & _TOP) << 4
        b |= (read_long(top + 8) >> 2 * part & _TOP) << 4
        c |= (read_long(top + 16) >> 2 * part & _TOP) << 4
        d |= (read_long(top + 24) >> 2 * part & _TOP) << 4
        return a, b, c, d
    return _unpack_plain(layout, bits, num_halves, block)


@compiled
def _nibbles(low, shift):
    """Return four-bit numbers of 32 bytes: the low halves, or the high ones with a shift of 4."""
    return (
        read_long(low) >> shift & _LOW,
        read_long(low + 8) >> shift & _LOW,
        read_long(low + 16) >> shift & _LOW,
        read_long(low + 24) >> shift & _LOW,
    )


@compiled
def _unpack_plain(layout, bits, num_halves, block):
    fifths = block + 2 * num_halves
    low = fifths + 4 if bits == 5 else fifths
    first, second = read_long(low), read_long(low + 8)
    a, b, c, d = first & _LOW, second & _LOW, first >> 4 & _LOW, second >> 4 & _LOW
    if bits == 5:
        every = read_word(fifths)
        a, b = a | _spread(every), b | _spread(every >> 8)
        c, d = c | _spread(every >> 16), d | _spread(every >> 24)
    if layout == PLAIN_TABLE:
        return _looked_up(a), _looked_up(b), _looked_up(c), _looked_up(d)
    return a, b, c, d


@compiled
def _spread(bits):
    """Return the lowest eight bits as the fifth bits of eight bytes."""
    return ((bits & 15) * _SPREAD & _FIFTH | (bits >> 4 & 15) * _SPREAD << 32 & _FIFTH) << 4


@compiled
def _looked_up(pair):
    found = 0
    for place in range(8):
        found |= _TABLE[pair >> 8 * place & 15] << 8 * place
    return found


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
