"""Measures how long the reading of prompts takes, and reads prompts ahead of requests."""

from __future__ import annotations

import math
from collections.abc import Iterator

from decoding.completion.completion import Chunk, HealedPrompt
from decoding.completion.sessions import Session
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import CompletionStats
from decoding.speculation.speculate import read_prompt

WEIGHT = 0.2
FEW_TOKENS = 8  # a pass over fewer tokens says little of the reading of many
IDLE_MS = 20.0  # chosen: a request waits for a pass of idle work for so long at the most, about
# chosen: a request that nobody waits for any more, or another one's pass, is over within 50 ms at the most, about.
REQUEST_MS = 40.0
MIN_TOKENS = 8
# measured: with weights in blocks 16 rows take 1.8 times as long as 8, and a token as long in passes of 8 as of 64.
# Where weights take longer to be read than to be multiplied with, narrow passes would read them too often.
FREE_RATIO = 1.6


class ReadingSpeed:
    """The time that the target takes to read a token, as measured lately."""

    def __init__(self, models: ModelSet) -> None:
        """Start from the times of the target's steps on this machine; a chunk is guessed to take as long as two."""
        self._target = models.target
        widest = max(models.step_ms, default=1)
        self.token_ms = models.step_ms.get(widest, 1.0) / max(widest, models.target.chunk // 2)
        self._is_guessed = True
        narrow = models.step_ms.get(MIN_TOKENS, math.inf)
        self._is_free = models.target.chunk == 1 and models.step_ms.get(2 * MIN_TOKENS, 0.0) >= FREE_RATIO * narrow

    def learn(self, num_tokens: int, ms: float) -> None:
        """Learn from a pass that read so many tokens."""
        if num_tokens >= max(FEW_TOKENS, self._target.chunk):
            self.token_ms += (1.0 if self._is_guessed else WEIGHT) * (ms / num_tokens - self.token_ms)
            self._is_guessed = False

    @property
    def tokens_per_s(self) -> float:
        """The tokens that are read in a second, rounded."""
        return float(f"{1e3 / max(self.token_ms, 1e-6):.2g}")

    @property
    def request_width(self) -> int:
        """The tokens of a request's prompt that are read in one pass: few, if it takes no longer in all.

        Between two passes the request may end, or another one have its turn.
        """
        return self._width(REQUEST_MS) if self._is_free else self._target.prefill_width

    @property
    def idle_width(self) -> int:
        """The tokens that idle work reads in one pass: few, so that a request need not wait for long."""
        return self._width(IDLE_MS)

    def _width(self, ms: float) -> int:
        """Return how many tokens are read in so many milliseconds, within what a pass can read."""
        chunk, widest = self._target.chunk, self._target.prefill_width
        wanted = max(MIN_TOKENS, int(ms / max(self.token_ms, 1e-6)))
        return min(widest, max(chunk, wanted // chunk * chunk))


def read_ahead(models: ModelSet, session: Session, prompt: HealedPrompt, width: int) -> Iterator[tuple[int, Chunk]]:
    """Read a prompt into a session, `width` tokens at a time, as far as a request can use it; yield after each pass."""
    num_cached = num_read = session.cache.reuse(prompt.ids, models.target.chunk)
    for _ in read_prompt(models.target, session.cache, prompt.ids, width):
        num_before, num_read = num_read, len(session.cache)
        yield 0, Chunk(num_prefilled=num_read - num_before)
    session.expect(prompt.ids)
    yield 0, Chunk(stats=CompletionStats(prompt_tokens=len(prompt.ids), cached_tokens=num_cached, reason="prepared"))
