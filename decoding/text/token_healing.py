"""Token healing: a word that is half typed is taken back to a token's beginning, and typed again by the model.

A cursor inside a token (`.app` of `.append`) puts a sequence of tokens before the model that it has never seen.
So the last token of the typed text is taken back where the vocabulary has one that goes on from it, and until its bytes
are covered again, only tokens that begin them or go on from them are allowed. Pure functions of bytes and token ids.
Token healing: Lundberg and Ribeiro 2023 (https://github.com/guidance-ai/guidance).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence


class TokenIndex:
    """The vocabulary's tokens by their bytes; special tokens, which stand for none, are not in it."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        ordered = sorted((text, token_id) for token_id, text in enumerate(token_bytes) if text)
        self._texts = [text for text, _ in ordered]
        self._ids = [token_id for _, token_id in ordered]
        self.token_bytes = token_bytes

    def beginning_with(self, text: bytes) -> list[int]:
        """Tokens whose bytes begin with `text`, itself among them."""
        return self._ids[bisect_left(self._texts, text) : self._end_of(text)]

    def has_extension(self, text: bytes) -> bool:
        """Whether a token goes on from `text`."""
        return self._end_of(text) > bisect_right(self._texts, text)

    def that_begin(self, text: bytes) -> list[int]:
        """Tokens that are a proper beginning of `text`."""
        ids: list[int] = []
        for length in range(1, len(text)):
            low, high = bisect_left(self._texts, text[:length]), bisect_right(self._texts, text[:length])
            ids += self._ids[low:high]
        return ids

    def _end_of(self, text: bytes) -> int:
        # Behind all texts that begin so: 0xFF never occurs in UTF-8, and no token is as long as this.
        return bisect_left(self._texts, text + b"\xff" * 64)


class Healing:
    """What may follow until `rest`, the bytes that were taken back, is covered again."""

    def __init__(self, index: TokenIndex, rest: bytes) -> None:
        self._index = index
        self.rest = rest

    def allowed(self, path_ids: Sequence[int]) -> list[int] | None:
        """Token ids that may follow the tokens of `path_ids`, which came after the prompt; None allows all."""
        covered = b"".join(self._index.token_bytes[token_id] for token_id in path_ids[: len(self.rest)])
        missing = self.rest[len(covered) :]
        if not missing or not self.rest.startswith(covered):
            return None
        return self._index.that_begin(missing) + self._index.beginning_with(missing)


def take_back(prompt_ids: Sequence[int], num_typed: int, index: TokenIndex) -> bytes:
    """The bytes of the last token if it should be typed again by the model, else none.

    `num_typed` is how many tokens at the prompt's end may be taken back: not what stands before the anchor.
    """
    if num_typed < 1 or len(prompt_ids) < 2:
        return b""
    text = index.token_bytes[prompt_ids[-1]]
    return text if text and index.has_extension(text) else b""
