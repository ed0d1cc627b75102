"""Applies named filters that make a finished text fit its place; each takes and gives a text, and "" drops it.

They only cut at the end, so that the rest is a beginning of the generated text. Changes within a text, of indentation
and blanks, are made while it is generated (`rewriting.py`). The order matters: what is no program text goes first, then
the end of the block, so that the others see no more than is wanted, blank last. They must not know the engine or the
wire.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from lsp_server.filters.blank import drop_blank
from lsp_server.filters.broken import cut_broken
from lsp_server.filters.chat import cut_chat
from lsp_server.filters.closers import cut_closers
from lsp_server.filters.deleted import drop_deleted
from lsp_server.filters.end import cut_at_end
from lsp_server.filters.invisible import cut_invisible
from lsp_server.filters.next_lines import cut_next_lines
from lsp_server.filters.repetition import cut_repetition
from lsp_server.filters.special_tokens import cut_special_tokens
from lsp_server.filters.surroundings import Surroundings
from lsp_server.filters.trailing import cut_trailing
from lsp_server.filters.unfinished import cut_unfinished
from lsp_server.filters.unreachable import cut_unreachable

__all__ = ["FILTERS", "IMPROBABLE", "NOTHING", "Filtered", "Surroundings", "filter_text", "fit_tail"]

Filter = Callable[[str, Surroundings], str]

FILTERS: Final[tuple[tuple[str, Filter], ...]] = (
    ("special tokens", cut_special_tokens),
    ("invisible", cut_invisible),
    ("unfinished", cut_unfinished),
    ("end", cut_at_end),
    ("chat", cut_chat),
    ("unreachable", cut_unreachable),
    ("repetition", cut_repetition),
    ("next lines", cut_next_lines),
    ("closers", cut_closers),
    ("broken", cut_broken),
    ("deleted", drop_deleted),
    ("trailing", cut_trailing),
    ("blank", drop_blank),
)


# The name for a text in which the model wrote nothing itself.
NOTHING: Final = "nothing written"
# The name for the rule that the model's own probabilities decide (`confidence.py`).
IMPROBABLE: Final = "confidence"


class Filtered(NamedTuple):
    """The text that is left, and the filter that dropped it if none is."""

    text: str
    dropped_by: str


def filter_text(text: str, around: Surroundings) -> Filtered:
    """Send a text through all filters in order."""
    if not text.strip():
        return Filtered("", NOTHING)
    for name, apply in FILTERS:
        text = apply(text, around)
        if not text:
            return Filtered("", name)
    return Filtered(text, "")


def fit_tail(text: str, around: Surroundings) -> Filtered:
    """Cut the end of a filtered text where it repeats the text that is behind the cursor by now."""
    text = cut_closers(text, around)
    return Filtered(text, "") if text.strip() else Filtered("", "closers")
