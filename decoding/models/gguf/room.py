"""Lends memory for what is read from a file and soon forgotten."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

LINE: Final = 64
LARGEST: Final = 2**26  # chosen: larger pieces have memory of their own, which is given back to the system at once


class Room:
    """Memory that is lent piece by piece, and all taken back at once to be lent again."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)
        self._num_lent = 0

    def take(self, num_bytes: int) -> NDArray[np.uint8]:
        """Return so many bytes that nobody else has until `clear`; their contents are arbitrary."""
        if num_bytes > LARGEST:
            return np.empty(num_bytes, np.uint8)
        end = self._num_lent + num_bytes
        if end > len(self._memory):
            # What was lent of the old memory stays with its borrowers.
            self._memory, self._num_lent, end = np.empty(max(num_bytes, end), np.uint8), 0, num_bytes
        lent = self._memory[self._num_lent : end]
        self._num_lent = -(-end // LINE) * LINE
        return lent

    def clear(self) -> None:
        """Lend all of it again."""
        self._num_lent = 0
