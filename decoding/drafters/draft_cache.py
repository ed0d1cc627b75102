"""How a small model keeps up with the text: its cache holds the beginning of it, and catches up when it is asked."""

from __future__ import annotations

from collections.abc import Sequence

from decoding.models.language_model import Cache


class DraftCache:
    """The text of a request so far, and a cache of a model of its own."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.ids: list[int] = []
        self._num_prompt = 0

    @property
    def num_bytes(self) -> int:
        """Memory of the cache's keys and values."""
        return self.cache.num_bytes

    @property
    def num_unread(self) -> int:
        """Tokens that the cache doesn't hold yet."""
        return len(self.ids) - len(self.cache)

    @property
    def pending(self) -> list[int]:
        """What it doesn't hold yet: at least one token."""
        return self.ids[len(self.cache) :]

    @property
    def answer_ids(self) -> list[int]:
        """What follows the prompt."""
        return self.ids[self._num_prompt :]

    def begin(self, prompt_ids: Sequence[int]) -> None:
        """Keep of the cache what the new prompt begins with."""
        self.ids = list(prompt_ids)
        self._num_prompt = len(self.ids)
        self.cache.roll_back(min(self.cache.common_prefix_len(self.ids), len(self.ids) - 1))

    def append(self, emitted_ids: Sequence[int]) -> None:
        """The text goes on; keys and values of other tokens, which were only drafted, are dropped."""
        start = len(self.ids)
        self.ids += emitted_ids
        read = self.cache.token_ids[start:]
        agreed = next((i for i, (a, b) in enumerate(zip(read, emitted_ids, strict=False)) if a != b), len(read))
        self.cache.roll_back(min(len(self.cache), start + agreed, len(self.ids) - 1))
