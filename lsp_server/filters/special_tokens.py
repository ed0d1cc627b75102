"""Cuts at special tokens of the prompt's layout, which leak out of models that are asked in another's format."""

from __future__ import annotations

import re
from typing import Final

from lsp_server.filters.surroundings import Surroundings

# `<|fim_middle|>`, `<｜fim▁end｜>`, `<fim_suffix>`, `<[fim-prefix]>`, `<PRE>`, `[SUFFIX]`, `</s>` and their kin.
_SPECIAL: Final = re.compile(
    r"<[|｜][\w▁\- ]{1,40}[|｜]>"
    r"|<\[?(?:fim|end_of|repo|file|begin_of)[_▁-](?:\w|[▁-])+\]?>"
    r"|<(?:PRE|SUF|MID|EOT|EOD|filename|reponame|endoftext)>"
    r"|\[(?:PREFIX|SUFFIX|MIDDLE)\]"
    r"|</?s>(?=\s*$)",
    re.MULTILINE,
)


def cut_special_tokens(text: str, around: Surroundings) -> str:
    """Return the text up to the first special token that the document doesn't contain itself."""
    for found in _SPECIAL.finditer(text):
        place = around.place
        if not any(found[0] in line for line in (*place.above, place.head, place.tail, *place.below)):
            return text[: found.start()]
    return text
