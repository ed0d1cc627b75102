"""Defines the layout of weights of four to eight bits: panels of 16 outputs side by side, in groups of 32 inputs.

A panel's group is `64 * bits` bytes of values. Lines of 64 bytes hold 16 outputs times 4 inputs, so a group takes 8
steps of 4 inputs. With fewer than eight bits, four lines hold the low four bits of two steps each, the earlier in the
low half of a byte; one more line holds the fifth bits of all steps (bit s of a byte is of step s), or two lines the
fifth and sixth (two bits each of four steps). Scales lie in a stream of their own; `Scales` says how.

A weight is (value - bias) * scale + offset, exactly the number that a GGUF file's block stands for.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from decoding.models.cpu.quantized_rows import GROUP
from decoding.models.cpu.simd import STORED

PANEL: Final = 16  # outputs side by side
STEP: Final = 4  # inputs of an output side by side
STEPS: Final = GROUP // STEP
LINE_BYTES: Final = PANEL * STEP


class Scales(Enum):
    """The contents of a panel's scale stream; each number is one of 16 outputs side by side."""

    HALVES = "a half-precision scale for each group"
    HALVES_AND_OFFSETS = "a half-precision scale and offset for each group"
    # Spans of 8 groups: for each group a factor of 6 bits for the scale and one for the offset, then the half-precision
    # scale and offset that they multiply.
    FACTORS = "factors of a scale and an offset for each group"
    # Spans of 8 groups: for each half of a group a signed byte, then the half-precision scale that they multiply.
    HALF_GROUPS = "factors of a scale for each half of a group"


_SPANS = {  # groups, bytes
    Scales.HALVES: (1, 2 * PANEL),
    Scales.HALVES_AND_OFFSETS: (1, 4 * PANEL),
    Scales.FACTORS: (8, 8 * 2 * PANEL + 4 * PANEL),
    Scales.HALF_GROUPS: (8, 8 * 2 * PANEL + 2 * PANEL),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One way to store weights."""

    bits: int  # 4, 5, 6 or 8
    bias: int
    scales: Scales

    @property
    def group_bytes(self) -> int:
        """The bytes of a panel's values in a group."""
        return LINE_BYTES * self.bits

    @property
    def span_groups(self) -> int:
        """How many groups share a span of the scale stream."""
        return _SPANS[self.scales][0]

    @property
    def span_bytes(self) -> int:
        """The bytes of a span of the scale stream."""
        return _SPANS[self.scales][1]

    @property
    def has_offsets(self) -> bool:
        """Whether weights are scaled values plus an offset."""
        return self.scales in (Scales.HALVES_AND_OFFSETS, Scales.FACTORS)

    def values_stride(self, inputs: int) -> int:
        """Return the bytes from a panel's values to the next one's."""
        return inputs // GROUP * self.group_bytes

    def scales_stride(self, inputs: int) -> int:
        """Return the bytes from a panel's scales to the next one's."""
        return inputs // GROUP // self.span_groups * self.span_bytes


# A matrix of runs of panels, each of a kind of its own.
BLOCKS: Final = len(STORED)
# The kinds of blocks; their numbers continue those of `simd`.
FIRST_KIND: Final = BLOCKS + 1
Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K = range(FIRST_KIND, FIRST_KIND + 8)
FORMS: Final = {
    Q4_0: Form(bits=4, bias=8, scales=Scales.HALVES),
    Q4_1: Form(bits=4, bias=0, scales=Scales.HALVES_AND_OFFSETS),
    Q5_0: Form(bits=5, bias=16, scales=Scales.HALVES),
    Q5_1: Form(bits=5, bias=0, scales=Scales.HALVES_AND_OFFSETS),
    Q8_0: Form(bits=8, bias=128, scales=Scales.HALVES),
    Q4_K: Form(bits=4, bias=0, scales=Scales.FACTORS),
    Q5_K: Form(bits=5, bias=0, scales=Scales.FACTORS),
    Q6_K: Form(bits=6, bias=32, scales=Scales.HALF_GROUPS),
}
NUM_KINDS: Final = FIRST_KIND + len(FORMS)
