"""Trims the head of a model that drafts to the rows of tokens that are likely to be drafted.

A vocabulary of 150,000 tokens makes the head a third of a small model, and almost all tokens of a text are frequent
ones or stand in the text already. Merges of byte pairs are learnt in the order of their frequency, so that the first
ids are the frequent ones; special tokens have the last ids. The rows of the others are copied beside the frequent ones
for each text. A draft is only advice: the target's own choice is never trimmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from decoding.models.cpu import job_layout
from decoding.models.cpu.block_repacking import Panels
from decoding.models.cpu.quantized_forms import FORMS, PANEL, STEP, Form
from decoding.models.cpu.simd import LANES
from decoding.models.cpu.thread_team import Table

# measured: of a 0.5B model's guesses behind code 89.4 % are right with the whole vocabulary, 89.0 with so many and the
# text's own ids, 88.5 with 16,384 and 83.8 without the text's own.
NUM_FREQUENT: Final = 24_576
NUM_SPECIAL: Final = 32  # chosen: so many of the last ids are always kept
ROOM: Final = 1024  # chosen: the most tokens beside the frequent ones

_Ids = npt.NDArray[np.int64]
_Bytes = npt.NDArray[np.uint8]


def is_worth_trimming(vocabulary: int) -> bool:
    """Return whether the frequent tokens are less than half of a vocabulary."""
    return vocabulary >= 2 * NUM_FREQUENT


class TrimmedHead:
    """A head of the frequent tokens, read where they lie, and of copies of other rows."""

    def __init__(self, head: Table, panels: Panels, vocabulary: int) -> None:
        """`head` is the whole head's row of the tables, and `panels` what it describes; they must outlive this."""
        self._form = FORMS[panels.kind]
        self._special = range(vocabulary - NUM_SPECIAL, vocabulary)
        strides = self._form.values_stride(panels.inputs), self._form.scales_stride(panels.inputs)
        self._values, self._scales = (np.zeros((ROOM // PANEL, stride), np.uint8) for stride in strides)
        values, scales = panels.values.reshape(-1, strides[0]), panels.scales.reshape(-1, strides[1])
        self._whole = _by_lane(values, scales, self._form)
        self._runs = np.zeros((2, job_layout.RUN), np.int64)
        for run, values, scales in zip(
            self._runs, (panels.values, self._values), (panels.scales, self._scales), strict=True
        ):
            run[job_layout.RUN_KIND] = panels.kind
            run[job_layout.RUN_VALUES], run[job_layout.RUN_SCALES] = values.ctypes.data, scales.ctypes.data
            across = LANES // PANEL
            run[job_layout.RUN_VALUES_STRIDE], run[job_layout.RUN_SCALES_STRIDE] = (across * size for size in strides)
        self._runs[0, job_layout.RUN_END] = NUM_FREQUENT // LANES
        self.table = head.copy()
        self.table[job_layout.ADDRESS] = self._runs.ctypes.data
        self.others: _Ids = np.zeros(0, np.int64)

    @property
    def num_outputs(self) -> int:
        """The number of tokens to choose from: the frequent ones, and `others` behind them."""
        return NUM_FREQUENT + len(self.others)

    def hold(self, text_ids: Sequence[int]) -> None:
        """Choose from now on among the frequent tokens and those of a text; of too many the last ones."""
        found = dict.fromkeys(self._special)
        found.update(dict.fromkeys(token_id for token_id in reversed(text_ids) if token_id >= NUM_FREQUENT))
        others = np.array([*found][:ROOM], np.int64)
        if np.array_equal(others, self.others):
            return
        self.others = others
        self._copy(others)
        self.table[job_layout.OUTPUTS] = self.num_outputs
        self._runs[1, job_layout.RUN_END] = -(-self.num_outputs // LANES)

    def _copy(self, ids: _Ids) -> None:
        """Copy the rows of these tokens, one behind the other."""
        to = np.arange(len(ids))
        own = _by_lane(self._values, self._scales, self._form)
        for source, target in zip(self._whole, own, strict=True):
            target[to // PANEL, :, :, to % PANEL] = source[ids // PANEL, :, :, ids % PANEL]


def _by_lane(values: _Bytes, scales: _Bytes, form: Form) -> list[_Bytes]:
    """View rows of panels as (panels, spans, numbers, lanes, bytes): values, factors of a byte, and halves."""
    num_halves = 2 if form.has_offsets else 1
    spans = scales.reshape(len(scales), -1, form.span_bytes)
    shape, cut = spans.shape[:2], form.span_bytes - num_halves * 2 * PANEL
    return [
        values.reshape(len(values), 1, -1, PANEL, STEP),
        spans[:, :, :cut].reshape(*shape, cut // PANEL, PANEL, 1),
        spans[:, :, cut:].reshape(*shape, num_halves, PANEL, 2),
    ]
