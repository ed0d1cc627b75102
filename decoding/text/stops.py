"""Decides when a completion ends: stop texts, the end of a line, a loop. Pure functions of text and token ids.

Stop tokens and `max_tokens` are counted where tokens are (completion.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from decoding.protocol import LineMode

MAX_PERIOD = 12
MIN_LOOP_TOKENS = 24
MIN_LOOP_REPEATS = 4


class TextStops:
    """Passes text on until it must end. Text that may be the beginning of a stop text is held back."""

    def __init__(self, stop_texts: Sequence[str], line_mode: LineMode) -> None:
        self._stops = [text for text in stop_texts if text]
        self._line_mode = line_mode
        self._held = ""
        self.reason = ""

    def push(self, text: str) -> str:
        """Take more text; return the part that may be shown. `reason` is set once it has ended."""
        self._held += text
        end, reason = self._find_end()
        if reason:
            shown, self._held, self.reason = self._held[:end], "", reason
            return shown
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown

    def flush(self) -> str:
        """Return the text that was held back, when the completion ended for another reason."""
        held, self._held = self._held, ""
        return held

    def _find_end(self) -> tuple[int, str]:
        ends = [(self._held.find(stop), "stop_text") for stop in self._stops if stop in self._held]
        if self._line_mode == "line":
            newline = self._held.find("\n")
            if newline >= 0:
                ends.append((newline, "line"))
        return min(ends, default=(-1, ""))


def is_loop(token_ids: Sequence[int]) -> bool:
    """Return whether the last tokens repeat a short unit: a small model may end in such a greedy loop."""
    for period in range(1, MAX_PERIOD + 1):
        length = max(MIN_LOOP_TOKENS, period * MIN_LOOP_REPEATS)
        if len(token_ids) >= length:
            tail = token_ids[-length:]
            if all(tail[i] == tail[i - period] for i in range(period, length)):
                return True
    return False


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that begins `stop` without completing it."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
