"""Tells where a growing text is cut for good, so that the engine need not write what nobody would see.

A filter's cut is for good if it is made whatever may still come. It must not know the engine or probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from lsp_server.filters.chat import cut_chat
from lsp_server.filters.closers import cut_closers
from lsp_server.filters.invisible import cut_invisible
from lsp_server.filters.next_lines import cut_next_lines
from lsp_server.filters.repetition import cut_repetition
from lsp_server.filters.special_tokens import cut_special_tokens
from lsp_server.filters.surroundings import Surroundings
from lsp_server.filters.unreachable import cut_unreachable

Filter = Callable[[str, Surroundings], str]

# Stands for all that may still come: no rule knows this character, so none that looks at a text's end applies.
_MORE: Final = "\ue000"
_ON_ANY_TEXT: Final[tuple[Filter, ...]] = (cut_special_tokens, cut_invisible, cut_closers)
# These judge a line by its end, so that only whole lines tell.
_ON_WHOLE_LINES: Final[tuple[Filter, ...]] = (cut_chat, cut_unreachable, cut_repetition, cut_next_lines)


def is_cut_for_good(text: str, around: Surroundings, *, has_new_line: bool = True) -> bool:
    """Return whether a filter cuts this text at a place that more text would not change.

    `has_new_line` tells whether a line has ended since the text was last looked at.
    """
    lines = text[: text.rfind("\n") + 1] if has_new_line else ""
    return _is_cut(_ON_ANY_TEXT, text, around) or _is_cut(_ON_WHOLE_LINES, lines, around)


def _is_cut(filters: Iterable[Filter], text: str, around: Surroundings) -> bool:
    length = len(text.rstrip())
    return length > 0 and any(len(apply(text + _MORE, around)) < length for apply in filters)
