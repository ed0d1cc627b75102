"""Cuts the last, unfinished line of a text that was cut off because tokens or time ran out."""

from __future__ import annotations

import re
from typing import Final

from lsp_server.filters.surroundings import Surroundings

_LAST_WORD: Final = re.compile(r"\w+\Z")


def cut_unfinished(text: str, around: Surroundings) -> str:
    """Return the whole lines of a block; of a single line, the part before the word that was unfinished."""
    if not around.is_cut_short:
        return text
    if around.mode == "block":
        return text[: text.rfind("\n") + 1]
    return text if "\n" in text else _LAST_WORD.sub("", text)
