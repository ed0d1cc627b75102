"""Judges a text in a language of tags: it must leave no tag open that nothing below ends, and end none twice."""

from __future__ import annotations

import re
from typing import Final

from lsp_server.documents.store import Place
from lsp_server.filters.brackets import ParsesWith, left_of
from lsp_server.languages.language import Language
from lsp_server.languages.table import language_named

# A tag that has begun at the end of a line.
_UNFINISHED: Final = re.compile(r"<(?:[A-Za-z/!](?:\"[^\"]*\"|'[^']*'|[^<>\"'])*+(?:[\"'].*)?)?\Z")


def tag_checker(text: str, place: Place, language: str) -> ParsesWith | None:
    """Return a judge of a text and its beginnings by its tags; None where the language has none."""
    known = language_named(language)
    if (tag := known.tag) is None or _is_unfinished(place.head + place.tail, known):
        return None
    before, after = "\n".join((*place.above, place.head)), "\n".join(("", *place.below))
    num_before = _num_unmatched(before + place.tail + after, known, tag)
    header = "" if "\n" in text.strip() else text.rstrip()

    def stands(part: str) -> bool:
        left = left_of(place, part)
        if _is_unfinished((place.head + part + left).rpartition("\n")[2], known):
            return False
        # One line may end with the tag whose content follows.
        is_header = header and part.startswith(header) and not left.strip() and known.header_end.search(part)
        return _num_unmatched(before + part + left + after, known, tag) <= num_before + bool(is_header)

    return stands


def _is_unfinished(line: str, language: Language) -> bool:
    is_in_angles = language.tag is not None and language.tag.match("<a>")
    return bool(is_in_angles and _UNFINISHED.search(line))


def _num_unmatched(text: str, language: Language, tag: re.Pattern[str]) -> int:
    """Return how many tags of a text lack their other end."""
    num_alone, opened = 0, list[str]()
    for found in tag.finditer(text):
        if name := found["opens"]:
            opened.append(name)
        elif name := found["closes"]:
            if name not in opened:
                num_alone += 1
                continue
            while (last := opened.pop()) != name:
                num_alone += not language.needs_no_end.match(last)
    return num_alone + sum(not language.needs_no_end.match(name) for name in opened)
