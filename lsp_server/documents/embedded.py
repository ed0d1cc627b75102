"""Finds the code within a page: the script or style that a cursor in HTML, Vue or Svelte stands in.

Every rule then sees that code alone, in its own language. It must not know what the rules are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from lsp_server.documents.store import Place, without_end
from lsp_server.languages.table import language_named

_OPENS: Final = re.compile(r"<(script|style)\b([^<>]*)>", re.IGNORECASE)
_CLOSES: Final = re.compile(r"</(?:script|style)\b", re.IGNORECASE)
_ATTRIBUTE: Final = re.compile(r"\b(?:lang|type)\s*=\s*[\"']?(?:text/|application/)?([\w+-]+)")
# What the tags' attributes call the languages; a script or style of another kind is left alone.
_NAMES: Final = {
    "babel": "javascript",
    "css": "css",
    "ecmascript": "javascript",
    "javascript": "javascript",
    "js": "javascript",
    "json": "json",
    "jsx": "javascript",
    "ld+json": "json",
    "less": "less",
    "module": "javascript",
    "postcss": "css",
    "scss": "scss",
    "ts": "typescript",
    "tsx": "typescriptreact",
    "typescript": "typescript",
}


def embedded(place: Place, language: str) -> tuple[Place, str]:
    """Return the place within the script or style that it stands in, and the language of that; else both as given."""
    if not language_named(language).embeds:
        return place, language
    for number, line in enumerate(_upwards(place)):
        opened = next(reversed([*_OPENS.finditer(line)]), None)
        if _CLOSES.search(line, opened.end() if opened else 0):
            break
        if opened:
            name, within = _language_of(opened[1].lower(), opened[2]), _within(place, number, opened.end())
            is_empty = not any(map(str.strip, (*within.above, within.head, within.tail, *within.below)))
            return (within, name) if name and not is_empty else (place, language)
    return place, language


def _upwards(place: Place) -> Iterator[str]:
    yield place.head
    yield from reversed(place.above)
    yield from map(without_end, reversed(place.farther))


def _language_of(tag: str, attributes: str) -> str:
    found = _ATTRIBUTE.search(attributes)
    return _NAMES.get(found[1].lower(), "") if found else "javascript" if tag == "script" else "css"


def _within(place: Place, num_lines: int, column: int) -> Place:
    """Return the place without what stands up to a tag, so many lines above, and from the one on that ends it."""
    end = _CLOSES.search(place.tail)
    last = next((number for number, line in enumerate(place.below) if _CLOSES.search(line)), len(place.below))
    num_farther = max(0, num_lines - len(place.above) - 1)
    return replace(
        place,
        above=place.above[max(0, len(place.above) - num_lines + 1) :] if num_lines > 0 else (),
        head=place.head if num_lines else place.head[column:],
        tail=place.tail[: end.start()] if end else place.tail,
        below=() if end else place.below[:last],
        farther=place.farther[len(place.farther) - num_farther :] if num_farther else (),
    )
