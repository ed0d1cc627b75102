"""Finds near copies: files that share most of their runs of five words with a file that was kept before.

MinHash with banding: Broder 1997, "On the resemblance and containment of documents"; Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", chapter 3. Knows texts only.
"""

from __future__ import annotations

import re
import zlib

import numpy as np
import numpy.typing as npt

WORDS_IN_RUN = 5
NUM_HASHES = 64
ROWS_IN_BAND = 4
SAME_SHARE = 0.7

Signature = npt.NDArray[np.uint64]


class NearCopies:
    """Remembers the texts that it was shown; two of them are near copies if 70 % of their runs agree, estimated."""

    def __init__(self) -> None:
        draw = np.random.default_rng(0)
        self._factors = draw.integers(1, 2**63, NUM_HASHES, dtype=np.uint64) | np.uint64(1)
        self._offsets = draw.integers(0, 2**63, NUM_HASHES, dtype=np.uint64)
        self._bands: dict[tuple[int, bytes], list[Signature]] = {}

    def is_near_copy(self, text: str) -> bool:
        """Return whether `text` nearly equals one that was remembered; if not, remember it."""
        signature = self._signature(text)
        keys = [
            (start, signature[start : start + ROWS_IN_BAND].tobytes()) for start in range(0, NUM_HASHES, ROWS_IN_BAND)
        ]
        for key in keys:
            for other in self._bands.get(key, ()):
                if np.count_nonzero(signature == other) >= SAME_SHARE * NUM_HASHES:
                    return True
        for key in keys:
            self._bands.setdefault(key, []).append(signature)
        return False

    def _signature(self, text: str) -> Signature:
        """Return the least hash of the text's runs under each of the functions, shape (NUM_HASHES,)."""
        words = re.findall(r"\w+", text)
        hashes = np.fromiter((zlib.crc32(word.encode()) for word in words), dtype=np.uint64, count=len(words))
        num_runs = max(1, len(hashes) - WORDS_IN_RUN + 1)
        runs = np.zeros(num_runs, dtype=np.uint64)
        for i in range(min(WORDS_IN_RUN, len(hashes))):
            runs = runs * np.uint64(0x9E3779B97F4A7C15) + hashes[i : i + num_runs]
        runs = np.unique(runs ^ (runs >> np.uint64(29)))
        # The high bits of a product of odd factors are well mixed, and only the order matters.
        mixed = runs[:, None] * self._factors[None] + self._offsets[None]
        least: Signature = mixed.min(axis=0)
        return least
