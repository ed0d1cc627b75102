"""Repacks blocks of GGUF files into panels for the quantised kernels: the same numbers in another order."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from decoding.models.cpu import quantized_forms as forms
from decoding.models.cpu.block_layouts import (
    BY_FACTORS,
    BY_HALF_GROUPS,
    PLAIN,
    PLAIN_BYTES,
    PLAIN_TABLE,
    copy_factors,
    unpack_group,
)
from decoding.models.cpu.bytes_in_memory import write_short, write_word
from decoding.models.cpu.compiling import compiled
from decoding.models.cpu.quantized_forms import FORMS, LINE_BYTES, PANEL, STEP, STEPS
from decoding.models.cpu.quantized_rows import GROUP

Bytes = npt.NDArray[np.uint8]

_LOW = 0x0F0F0F0F0F0F0F0F
_EXPONENT = 0x7C00  # of a half: all ones if it is not finite


class NotFiniteError(ValueError):
    """A block has a scale that is not finite."""


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
class _BlockType:
    kind: int
    layout: int
    num_bytes: int
    groups: int


_TYPES = {
    "Q4_0": _BlockType(forms.Q4_0, PLAIN, 18, 1),
    "Q4_1": _BlockType(forms.Q4_1, PLAIN, 20, 1),
    "Q5_0": _BlockType(forms.Q5_0, PLAIN, 22, 1),
    "Q5_1": _BlockType(forms.Q5_1, PLAIN, 24, 1),
    "Q8_0": _BlockType(forms.Q8_0, PLAIN_BYTES, 34, 1),
    "IQ4_NL": _BlockType(forms.Q8_0, PLAIN_TABLE, 18, 1),
    "Q4_K": _BlockType(forms.Q4_K, BY_FACTORS, 144, 8),
    "Q5_K": _BlockType(forms.Q5_K, BY_FACTORS, 176, 8),
    "Q6_K": _BlockType(forms.Q6_K, BY_HALF_GROUPS, 210, 8),
}


def block_types() -> frozenset[str]:
    """Return the types of blocks that can be repacked, by GGUF's names."""
    return frozenset(_TYPES)


def repacked(raw: Bytes, type_name: str, outputs: int, inputs: int, unit: int = PANEL) -> Panels:
    """Repack a matrix (outputs, inputs) as it lies in a file; zeros fill up the last `unit` outputs.

    Raises:
        ValueError: the bytes are not such a matrix, or it can't be one.
    """
    return in_turns([raw], type_name, outputs, inputs, unit)


def in_turns(
    matrices: Sequence[Bytes], type_name: str, outputs: int, inputs: int, unit: int, threads: int = 1
) -> Panels:
    """Repack matrices of one shape: `unit` outputs of the first, as many of the second and so on, then the next ones.

    Raises:
        ValueError: the bytes are not such matrices, or they can't be some.
    """
    block, turns = _TYPES[type_name], -(-outputs // unit)
    row_bytes = inputs // GROUP // block.groups * block.num_bytes
    for raw in matrices:
        if inputs % (GROUP * block.groups) or not raw.size or raw.size != outputs * row_bytes:
            raise ValueError(f"{raw.size} bytes of {type_name} are no matrix of {outputs} x {inputs}")
    form, run = FORMS[block.kind], unit // PANEL
    num_panels = turns * run * len(matrices)
    values = _aligned(num_panels * form.values_stride(inputs))
    scales = _aligned(num_panels * form.scales_stride(inputs))
    kept = [np.ascontiguousarray(raw) for raw in matrices]

    def repack(number: int, begin: int, end: int) -> bool:
        """Repack turns `begin` to `end` of a matrix; tell whether they are finite."""
        count = min(end * unit, outputs) - begin * unit
        return bool(_repack(
            block.layout, form.bits, 2 if form.has_offsets else 1, kept[number].ctypes.data + begin * unit * row_bytes,
            block.num_bytes, count, inputs, values.ctypes.data, scales.ctypes.data, form.span_groups, form.span_bytes,
            (begin * len(kept) + number) * run, run, run * len(kept),
        ))  # fmt: skip

    cuts = [turns * number // threads for number in range(threads + 1)]
    jobs = [(number, begin, end) for number in range(len(kept)) for begin, end in pairwise(cuts) if begin < end]
    if len(jobs) == 1:
        results = [repack(*jobs[0])]
    else:
        with ThreadPoolExecutor(threads) as pool:
            results = list(pool.map(repack, *zip(*jobs, strict=True)))
    if not all(results):
        raise NotFiniteError(f"a block of {type_name} has a scale that is not finite")
    return Panels(
        kind=block.kind, outputs=outputs * len(matrices), inputs=inputs, num_panels=num_panels, values=values,
        scales=scales,
    )  # fmt: skip


def _aligned(size: int) -> Bytes:
    """Return so many zeros that begin with a line of the cache."""
    wide = np.zeros(size + LINE_BYTES, np.uint8)
    first = -wide.ctypes.data % LINE_BYTES
    return wide[first : first + size]


@compiled
def _repack(
    layout, bits, num_halves, raw, block_bytes, outputs, inputs, values, scales, span_groups, span_bytes, first, run,
    step,
):  # fmt: skip
    """Write panels `first` to `first + run`, then `step` panels on as many; tell whether all scales are finite."""
    groups = inputs // GROUP
    num_blocks = groups // span_groups
    group_bytes, halves = LINE_BYTES * bits, span_bytes - num_halves * 2 * PANEL
    is_finite = True
    for panel in range((outputs + PANEL - 1) // PANEL):
        to = first + panel // run * step + panel % run
        for number in range(num_blocks):
            target = values + (to * groups + number * span_groups) * group_bytes
            span = scales + (to * num_blocks + number) * span_bytes
            for lane in range(min(PANEL, outputs - panel * PANEL)):
                block = raw + ((panel * PANEL + lane) * num_blocks + number) * block_bytes
                scale, offset = copy_factors(layout, num_halves, block, span + lane)
                is_finite &= (scale & _EXPONENT) != _EXPONENT and (offset & _EXPONENT) != _EXPONENT
                write_short(span + halves + 2 * lane, scale)
                if num_halves == 2:
                    write_short(span + halves + 2 * PANEL + 2 * lane, offset)
                for group in range(span_groups):
                    pairs = unpack_group(layout, bits, num_halves, block, group)
                    _write_values(bits, pairs, target + group * group_bytes + lane * STEP)
    return is_finite


@compiled
def _write_values(bits, pairs, target):
    """Write four pairs of words of a lane to a group's lines."""
    a, b, c, d = pairs
    if bits == 8:
        for step, pair in enumerate((a, b, c, d)):
            write_word(target + 2 * step * LINE_BYTES, pair)
            write_word(target + (2 * step + 1) * LINE_BYTES, pair >> 32)
        return
    for line, pair in enumerate((a, b, c, d)):
        low = pair & _LOW
        write_word(target + line * LINE_BYTES, low | low >> 28)
    above = target + STEPS // 2 * LINE_BYTES
    a, b, c, d = a >> 4 & _LOW, b >> 4 & _LOW, c >> 4 & _LOW, d >> 4 & _LOW
    if bits == 5:
        fifths = a | b << 2 | c << 4 | d << 6
        write_word(above, fifths | fifths >> 31)
    if bits == 6:
        first, second = a | b << 4, c | d << 4
        write_word(above, first | first >> 30)
        write_word(above + LINE_BYTES, second | second >> 30)
