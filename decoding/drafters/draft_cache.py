"""Keeps a small model's cache in step with the text: the cache holds its beginning, and catches up when it is asked.

The small model may see less of a prompt than the target does: the text before the cursor alone, which only grows while
somebody types, so that next to nothing is read again where a new line begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from decoding.models.language_model import Cache
from decoding.speculation.drafting import DraftRequest

Shorten = Callable[[Sequence[int]], list[int]]
"""Returns what of a prompt's tokens a small model sees: at least one."""


class DraftCache:
    """The text of a request so far, and the cache of a drafter's own model."""

    def __init__(self, cache: Cache, shorten: Shorten = list) -> None:
        """`ids` are what the model sees of the text."""
        self.cache = cache
        self.ids: list[int] = []
        self.request = DraftRequest(prompt_ids=())
        self._shorten = shorten
        self._num_seen = 0  # of the prompt

    @property
    def num_bytes(self) -> int:
        """The memory of the cache's keys and values in bytes."""
        return self.cache.num_bytes

    @property
    def num_unread(self) -> int:
        """The number of tokens that the cache doesn't hold yet."""
        return len(self.ids) - len(self.cache)

    @property
    def pending(self) -> list[int]:
        """Return the tokens that the cache doesn't hold yet: at least one."""
        return self.ids[len(self.cache) :]

    @property
    def answer_ids(self) -> list[int]:
        """Return the tokens behind the prompt."""
        return self.ids[self._num_seen :]

    @property
    def target_ids(self) -> list[int]:
        """Return all of the text, as the target sees it."""
        return [*self.request.prompt_ids, *self.answer_ids]

    @property
    def position(self) -> int:
        """The position of the next token for the target."""
        return len(self.ids) - self._num_seen + len(self.request.prompt_ids)

    def allowed_next(self, drafted: Sequence[int] = ()) -> Sequence[int] | None:
        """Return what healing lets follow the text and these drafted tokens; None if it bars nothing."""
        healing = self.request.healing
        return None if healing is None else healing.allowed_next([*self.answer_ids, *drafted])

    def begin(self, request: DraftRequest) -> None:
        """Keep the part of the cache that the new prompt begins with."""
        self.request = request
        self.ids = self._shorten(request.prompt_ids)
        self._num_seen = len(self.ids)
        self.cache.roll_back(min(self.cache.common_prefix_len(self.ids), len(self.ids) - 1))

    def copy_beginning(self, other: DraftCache, prompt_ids: Sequence[int]) -> None:
        """Hold what another drafter's cache of the same model has of this prompt, if that is more than is held here."""
        seen_ids = self._shorten(prompt_ids)
        length = other.cache.common_prefix_len(seen_ids)
        if length > self.cache.common_prefix_len(seen_ids) and self.cache.can_roll_back:
            self.cache.copy_beginning(other.cache, length)

    def append(self, emitted_ids: Sequence[int]) -> None:
        """Append emitted tokens; keys and values of refused draft tokens are dropped."""
        start = len(self.ids)
        self.ids += emitted_ids
        read = self.cache.token_ids[start:]
        agreed = next((i for i, (a, b) in enumerate(zip(read, emitted_ids, strict=False)) if a != b), len(read))
        self.cache.roll_back(min(len(self.cache), start + agreed, len(self.ids) - 1))
