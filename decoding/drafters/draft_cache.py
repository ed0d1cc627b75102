"""Keeps a small model's cache in step with the text: the cache holds its beginning, and catches up when it is asked."""

from __future__ import annotations

from collections.abc import Sequence

from decoding.models.language_model import Cache
from decoding.speculation.drafting import DraftRequest


class DraftCache:
    """The text of a request so far, and the cache of a drafter's own model."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.ids: list[int] = []
        self.request = DraftRequest(prompt_ids=())

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
        return self.ids[len(self.request.prompt_ids) :]

    def allowed_next(self, drafted: Sequence[int] = ()) -> Sequence[int] | None:
        """Return what healing lets follow the text and these drafted tokens; None if it bars nothing."""
        healing = self.request.healing
        return None if healing is None else healing.allowed_next([*self.answer_ids, *drafted])

    def begin(self, request: DraftRequest) -> None:
        """Keep the part of the cache that the new prompt begins with."""
        self.request = request
        self.ids = list(request.prompt_ids)
        self.cache.roll_back(min(self.cache.common_prefix_len(self.ids), len(self.ids) - 1))

    def copy_beginning(self, other: DraftCache, prompt_ids: Sequence[int]) -> None:
        """Hold what another drafter's cache of the same model has of this prompt, if that is more than is held here."""
        length = other.cache.common_prefix_len(prompt_ids)
        if length > self.cache.common_prefix_len(prompt_ids) and self.cache.can_roll_back:
            self.cache.copy_beginning(other.cache, length)

    def append(self, emitted_ids: Sequence[int]) -> None:
        """Append emitted tokens; keys and values of refused draft tokens are dropped."""
        start = len(self.ids)
        self.ids += emitted_ids
        read = self.cache.token_ids[start:]
        agreed = next((i for i, (a, b) in enumerate(zip(read, emitted_ids, strict=False)) if a != b), len(read))
        self.cache.roll_back(min(len(self.cache), start + agreed, len(self.ids) - 1))
