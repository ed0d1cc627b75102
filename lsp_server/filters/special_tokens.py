"""Cuts at special tokens of the prompt's layout, which leak out of models that are asked in another's format."""

from __future__ import annotations

import re
from typing import Final

from lsp_server.filters.surroundings import Surroundings
from lsp_server.languages.table import language_named

# `<|fim_middle|>`, `<｜fim▁end｜>`, `<fim_suffix>`, `</fim_middle>`, `<[fim-prefix]>`, `<PRE>`, `[SUFFIX]`, `</s>` and
# their kin, and the marks of chats: `[INST]`, `<<SYS>>`, `</assistant>`.
_SPECIAL: Final = re.compile(
    r"<[|｜][\w▁\- ]{1,40}[|｜]>"
    r"|</?\[?(?:fim|end_of|repo|file|begin_of|start_of|jupyter|issue|commit)[_▁-](?:\w|[▁-])+\]?>"
    r"|</?(?:PRE|SUF|MID|EOT|EOD|filename|reponame|endoftext|assistant|think|answer)>"
    r"|\[(?:/?INST|PREFIX|SUFFIX|MIDDLE)\]|<</?SYS>>"
    r"|</?s>(?=\s*$)",
    re.MULTILINE,
)
# Tags that no program has by itself, unless it writes such tags elsewhere.
_SPECIAL_IN_CODE: Final = re.compile(rf"{_SPECIAL.pattern}|</(?:code|pre|html|body)>(?=\s*$)", re.MULTILINE)


def cut_special_tokens(text: str, around: Surroundings) -> str:
    """Return the text up to the first special token that the document doesn't contain itself."""
    marks = _SPECIAL if language_named(around.language).body in ("tags", "prose") else _SPECIAL_IN_CODE
    for found in marks.finditer(text):
        place = around.place
        if not any(found[0] in line for line in (*place.above, place.head, place.tail, *place.below)):
            return text[: found.start()]
    return text
