"""Remembers the tokens of the last long texts: while a line is typed, the context and the lines above stay the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Final

LEAST_CHARS: Final = 256
# chosen: the parts of a few prompts, some megabytes with their tokens.
MAX_CHARS: Final = 200_000


class EncodedTexts:
    """Texts with their tokens, the least recently used first."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[int, ...]] = OrderedDict()
        self._num_chars = 0
        self._lock = Lock()

    def encode(self, text: str, encode: Callable[[str], list[int]]) -> list[int]:
        """Return a text's tokens, which are computed only if it isn't known."""
        if not LEAST_CHARS <= len(text) <= MAX_CHARS:
            return encode(text)
        with self._lock:
            if (known := self._known.get(text)) is not None:
                self._known.move_to_end(text)
                return list(known)
        ids = encode(text)
        with self._lock:
            if text not in self._known:
                self._known[text] = tuple(ids)
                self._num_chars += len(text)
            while self._num_chars > MAX_CHARS:
                self._num_chars -= len(self._known.popitem(last=False)[0])
        return ids
