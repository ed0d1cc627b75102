"""Keeps what a model has read on disk, by blocks of 64 tokens, and takes it over after a restart.

A block's name tells the model, what computes it, and all tokens up to the block's end; so its slots are to the bit
those that a cold run would compute. Only what whole prefill chunks have computed is kept.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Final

import numpy as np

from decoding.kv_cache import BLOCK, KeepsBlocks
from decoding.models.language_model import Cache, LanguageModel
from decoding.models.probing.fingerprint import fingerprint
from decoding.storage.kept_blocks import KeptBlocks, folder, name_of, remove_kept

log = logging.getLogger(__name__)

DIGEST_BYTES: Final = 16


class KeptCaches:
    """The blocks on disk that one engine may take over, and those that it adds."""

    def __init__(self, blocks: KeptBlocks, beginning: str) -> None:
        """`beginning` is that of all names: what the slots have in common."""
        self._blocks = blocks
        self._beginning = beginning

    @property
    def num_bytes(self) -> int:
        """The size of all that was kept when it was last looked at, of other engines, too."""
        return self._blocks.num_bytes

    def num_kept(self, token_ids: Sequence[int]) -> int:
        """Return how many of these tokens have their slots on disk, from the first on."""
        return BLOCK * len(self._kept(token_ids))

    def restore(self, cache: Cache, token_ids: Sequence[int]) -> Iterator[None]:
        """Let a cache hold what is on disk of these tokens and not in it; yield after each block.

        A block that can't be used counts as missing, and so do those behind it.
        """
        kept = self._kept(token_ids)
        first = min(cache.common_prefix_len(token_ids), cache.num_chunked) // BLOCK
        if len(kept) <= first or len(kept) * BLOCK <= cache.common_prefix_len(token_ids):
            return
        used = first
        for number, name in enumerate(kept[first:], first):
            if (content := self._blocks.read(name)) is None or (number + 1) * BLOCK > cache.capacity:
                break
            cache.roll_back(number * BLOCK)
            try:
                cache.store.fill_block(number, content)
            except ValueError:
                self._blocks.forget(name)
                break
            cache.commit(token_ids[number * BLOCK : (number + 1) * BLOCK], by_chunk=True)
            used = number + 1
            yield
        self._blocks.note_use(kept[:used])

    def unkept(self, cache: Cache, token_ids: Sequence[int]) -> int | None:
        """Return the first block of these tokens that a cache holds and that isn't on disk; None if there is none."""
        number = len(self._kept(token_ids))
        end = (number + 1) * BLOCK
        is_held = end <= min(len(token_ids), cache.num_chunked) and end <= cache.common_prefix_len(token_ids)
        return number if is_held else None

    def write(self, content: bytes, token_ids: Sequence[int], number: int) -> bool:
        """Keep the content of a block, by its number; return whether there was room. Raises `OSError`."""
        names = list(self._names(token_ids[: (number + 1) * BLOCK]))
        is_kept = self._blocks.write(names[number], content, names)
        self._blocks.note_use(names[: number + is_kept])
        return is_kept

    def _kept(self, token_ids: Sequence[int]) -> list[str]:
        return list(takewhile(self._blocks.__contains__, self._names(token_ids)))

    def _names(self, token_ids: Sequence[int]) -> Iterator[str]:
        """Yield the names of the whole blocks of these tokens; each depends on all tokens up to its end."""
        digest = b""
        for end in range(BLOCK, len(token_ids) + 1, BLOCK):
            block = np.asarray(token_ids[end - BLOCK : end], "<i8").tobytes()
            digest = hashlib.blake2b(digest + block, digest_size=DIGEST_BYTES).digest()
            yield self._beginning + digest.hex()


def open_kept(model: LanguageModel, weights: Path, threads: int, max_bytes: int) -> KeptCaches | None:
    """Return what this model may keep on disk and take over; None where nothing can be.

    With `max_bytes` 0 nothing should be, and what was kept goes.
    """
    if not max_bytes:
        remove_kept()
    if not max_bytes or not (common := fingerprint(model, weights, threads)):
        return None
    try:
        return KeptCaches(KeptBlocks(folder(), max_bytes), f"{name_of(weights)}-{common}-")
    except OSError as error:
        log.warning("what was read is not kept on disk: %s", error)
        return None


def content_of(cache: Cache, number: int) -> bytes:
    """Return the bytes of a cache's block."""
    assert isinstance(cache.store, KeepsBlocks)
    return cache.store.block_bytes(number)
