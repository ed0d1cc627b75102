"""Defines the seam between the lane with a model and the formats in which models for next edits were taught."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lsp_server.edits.window import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A prompt, as texts and names of special tokens in turn, a text first.

    `stops` end the answer, which is drafted from `draft`: what the model writes if nothing has to change.
    """

    parts: tuple[str, ...]
    draft: str
    stops: tuple[str, ...] = ()


class Format(Protocol):
    """Lays out prompts for one family of models and reads what they write. It keeps nothing."""

    def render(self, window: Window) -> Asked:
        """Return the prompt for a window."""
        ...

    def read(self, window: Window, output: str, *, is_whole: bool) -> str | None:
        """Return the region's new text as far as it is written, with `window.begun`; None if nothing has to change.

        `is_whole` if the model ended its answer. The text is the same for a longer output, or goes on.
        """
        ...


def with_cursor(window: Window, mark: str) -> str:
    """Return the region's text with a mark at the cursor."""
    line = window.region[window.cursor.line]
    column = min(window.cursor.column, len(line) - 1)
    lines = list(window.region)
    lines[window.cursor.line] = line[:column] + mark + line[column:]
    return "".join(lines)


def without_cursor(text: str, mark: str) -> str:
    """Return a text without a mark, also one that has only begun at its end."""
    text = text.replace(mark, "")
    for size in range(len(mark) - 1, 0, -1):
        if text.endswith(mark[:size]):
            return text[:-size]
    return text
