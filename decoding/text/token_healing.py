"""Implements token healing: a half-typed word is taken back to a token boundary, and the model generates it again.

A cursor inside a token (`.app` of `.append`) makes a sequence of tokens that the model has never seen in training. So
the last token of the typed text is removed where the vocabulary has one that continues it, and until its bytes are
covered again, only tokens that begin those bytes or continue them are allowed. Pure functions of bytes and token ids.
Token healing: Lundberg and Ribeiro 2023 (https://github.com/guidance-ai/guidance).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence


class TokenIndex:
    """The vocabulary's tokens sorted by their bytes; special tokens, which stand for none, are not in it."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        # Sorting is stable, so that equal texts stay in the order of their ids.
        self._ids = sorted((i for i, text in enumerate(token_bytes) if text), key=token_bytes.__getitem__)
        self._texts = [token_bytes[token_id] for token_id in self._ids]
        self.token_bytes = token_bytes

    def beginning_with(self, text: bytes) -> list[int]:
        """Return the ids of tokens whose bytes begin with `text`, itself among them."""
        return self._ids[bisect_left(self._texts, text) : self._end_of(text)]

    def has_extension(self, text: bytes) -> bool:
        """Return whether a token continues `text`."""
        return self._end_of(text) > bisect_right(self._texts, text)

    def that_begin(self, text: bytes) -> list[int]:
        """Return the ids of tokens that are a proper beginning of `text`."""
        ids: list[int] = []
        for length in range(1, len(text)):
            low, high = bisect_left(self._texts, text[:length]), bisect_right(self._texts, text[:length])
            ids += self._ids[low:high]
        return ids

    def _end_of(self, text: bytes) -> int:
        # This sorts behind all texts that begin with `text`: 0xFF never occurs in UTF-8, and no token is this long.
        return bisect_left(self._texts, text + b"\xff" * 64)


class Healing:
    """The constraint on tokens until `rest`, the bytes that were removed from the prompt, is covered again."""

    def __init__(self, index: TokenIndex, rest: bytes) -> None:
        self._index = index
        self.rest = rest

    def allowed_next(self, path_ids: Sequence[int]) -> list[int] | None:
        """Return the token ids that may follow `path_ids`, which came after the prompt; None allows all."""
        covered = b"".join(self._index.token_bytes[token_id] for token_id in path_ids[: len(self.rest)])
        missing = self.rest[len(covered) :]
        if not missing or not self.rest.startswith(covered):
            return None
        return self._index.that_begin(missing) + self._index.beginning_with(missing)


def heal_prompt(prompt_ids: Sequence[int], num_typed: int, index: TokenIndex) -> bytes:
    """Return the bytes of the last token if the model should generate it again, else b"".

    `num_typed` is how many tokens at the prompt's end may be removed: not what stands before the anchor.
    """
    if num_typed < 1 or len(prompt_ids) < 2:
        return b""
    text = index.token_bytes[prompt_ids[-1]]
    return text if text and index.has_extension(text) else b""
