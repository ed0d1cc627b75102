"""Cuts what a model for chats writes around code: fences of Markdown, and sentences about the code."""

from __future__ import annotations

import re
from typing import Final

from lsp_server.filters.surroundings import Surroundings
from lsp_server.languages.syntax import inside
from lsp_server.languages.table import language_named

_FENCE: Final = re.compile(r"\s*(?:`{3,}|~{3,})")
# A sentence: a capital, at least four words with single blanks between them, and none of the marks that code has.
_SENTENCE: Final = re.compile(r"\s*[A-Z][a-z']*[,!]?(?: [\w'`*,-]+){3,}[.:!]?\s*\Z")
_GREETING: Final = re.compile(r"\s*(?:Sure|Certainly|Of course|Here(?:'s| is| are)|Explanation|Note)\b[^(=]*[.:!]\s*\Z")


def cut_chat(text: str, around: Surroundings) -> str:
    """Return the text up to its first fence or sentence; all of it in prose, and within strings and comments."""
    place = around.place
    if language_named(around.language).body == "prose" or not around.language:
        return text
    if inside((*place.above, place.head), around.language).text:
        return text
    start = 0
    for number, line in enumerate(text.split("\n")):
        is_whole_line = number > 0 or not place.head.strip()
        is_chat = _FENCE.match(line) or _SENTENCE.match(line) or _GREETING.match(line)
        if is_whole_line and is_chat and not inside(tuple(text[:start].split("\n")), around.language).text:
            return text[:start].rstrip()
        start += len(line) + 1
    return text
