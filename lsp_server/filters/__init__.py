"""Named filters that make a finished text fit its place; each takes and gives a text, and "" drops it.

Their order matters: the end of the block first, so that the others see no more than is wanted, blank last.
They must not know the engine or the wire.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from lsp_server.documents import Place
from lsp_server.filters.blank import drop_blank
from lsp_server.filters.end import cut_at_end
from lsp_server.filters.repetition import cut_repetition
from lsp_server.filters.suffix import cut_suffix
from lsp_server.trigger import Mode

Filter = Callable[[str, Place, Mode], str]

FILTERS: Final[tuple[tuple[str, Filter], ...]] = (
    ("end", cut_at_end),
    ("repetition", cut_repetition),
    ("suffix", cut_suffix),
    ("blank", drop_blank),
)


class Filtered(NamedTuple):
    """The text that is left, and which filter dropped it if none is."""

    text: str
    dropped_by: str


def filter_text(text: str, place: Place, mode: Mode) -> Filtered:
    """Send a text through all filters."""
    for name, apply in FILTERS:
        text = apply(text, place, mode)
        if not text:
            return Filtered("", name)
    return Filtered(text, "")
