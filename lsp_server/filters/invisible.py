"""Cuts at characters that nobody sees, and that may change what the text around them means.

Marks of writing direction make code read otherwise than it runs (Boucher and Anderson, "Trojan Source", 2021); zero
width and control characters hide in names and strings.
"""

from __future__ import annotations

import re
from typing import Final

from lsp_server.filters.surroundings import Surroundings

# Joiners (U+200C, U+200D) are part of words of some scripts and of emoji, so they stay between other characters.
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]|(?<![^\x00-\x7f])[\u200c\u200d]"
)


def cut_invisible(text: str, around: Surroundings) -> str:
    """Return the text up to the first such character that the document doesn't contain itself."""
    for found in _INVISIBLE.finditer(text):
        place = around.place
        if not any(found[0] in line for line in (*place.above, place.head, place.tail, *place.below)):
            return text[: found.start()]
    return text
