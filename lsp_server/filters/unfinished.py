"""The last line of a text that was cut off, since tokens or time ran out, is not what the model meant to write."""

from __future__ import annotations

import re
from typing import Final

from lsp_server.filters.surroundings import Surroundings

_LAST_WORD: Final = re.compile(r"\w+\Z")


def cut_unfinished(text: str, around: Surroundings) -> str:
    """Whole lines of a block; of a single line, what comes before the word that was being written."""
    if not around.is_cut_short:
        return text
    if around.mode == "block":
        return text[: text.rfind("\n") + 1]
    return text if "\n" in text else _LAST_WORD.sub("", text)
