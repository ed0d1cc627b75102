"""Cuts the code around a cursor down to what a parser needs: the lines near it, and the headers and ends around those.

The bodies in between are left out, so that a piece of two thousand characters stands for a file of any length. Blocks
are told by indentation; where that misleads, the piece doesn't parse and the caller takes more lines or does without.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from lsp_server.documents.store import MAX_LINE_CHARS, Place, without_end
from lsp_server.languages.language import Language
from lsp_server.languages.syntax import indentation

# chosen: so many lines of a header are taken where its brace or bracket stands on a line of its own.
MAX_HEADER_LINES: Final = 8
# A line that ends a header that began above it: `{`, `) {`, `] = {`.
_ENDS_HEADER: Final = re.compile(r"\s*[{)\]]")
# A line whose place tells nothing of blocks.
_PREPROCESSOR: Final = re.compile(r"\s*#\s*(?:if|ifdef|ifndef|else|elif|endif|region|endregion)\b")


class Region(NamedTuple):
    """The code to parse up to the cursor and behind its line.

    `closing` are ends for what that leaves open, the innermost first, as at the end of a file that is being written.
    """

    before: str
    after: str
    closing: tuple[str, ...] = ()

    def with_text(self, text: str, num_closed: int = 0) -> str:
        """Return the code with a text at the cursor, which closes some of what is open itself."""
        return f"{self.before}{text}{self.after}\n{''.join(self.closing[num_closed:])}"


def cut_region(place: Place, language: Language, num_near: int, *, goes_on: bool = False) -> Region:
    """Return the code around a cursor: so many lines on each side that aren't empty, and what those stand in.

    With `goes_on` the cursor's line will go on with, or end, what a line at its own indentation began.
    """
    line = place.head + place.tail
    if not line.strip():
        line = place.head + "." if place.head else next((below for below in place.below if below.strip()), "")
    above = _above(place, line, language, num_near, goes_on=goes_on)
    below = _below(place, line, language, num_near)
    return Region("\n".join((*above, place.head)), "\n".join(("", *below)))


def _lines_upwards(place: Place) -> Iterator[str]:
    yield from reversed(place.above)
    yield from (line[:MAX_LINE_CHARS] for line in reversed(place.farther))


def _above(place: Place, line: str, language: Language, num_near: int, *, goes_on: bool) -> list[str]:
    """Return the near lines above, and of the farther ones those less deep than all below them: the headers."""
    found: list[str] = []
    level = indentation(line)
    # The exclusive bound of the next header's indentation; a line that goes on has its header at its own.
    bound = level + (goes_on or begins_with_end(line, language))
    in_header = 0
    for raw in _lines_upwards(place):
        is_near = num_near > 0
        if not is_near and bound <= 0 and not in_header:
            break
        if not is_near and not in_header and raw[:bound].isspace():
            continue  # deeper, or empty: the quick way for most lines
        above = without_end(raw)
        if not above.strip() or _is_aside(above, language):
            in_header = 0
            continue
        width = indentation(above)
        goes_on = begins_with_end(above, language)
        if width < bound or (width <= level and goes_on):
            level, bound = min(level, width), width + goes_on
            in_header = MAX_HEADER_LINES if _ENDS_HEADER.match(above) else 0
        elif not is_near and not in_header:
            continue
        else:
            in_header -= in_header > 0
        found.append(above)
        num_near -= 1
        if num_near == 0:
            while found and indentation(found[-1]) > level:
                found.pop()  # it is within a block whose header isn't near
    return found[::-1]


def _below(place: Place, line: str, language: Language, num_near: int) -> list[str]:
    """Return the near lines below, and of the farther ones those that end what lines above them stand in."""
    found: list[str] = []
    level = indentation(line)
    for below in place.below:
        if not below.strip() or _is_aside(below, language):
            continue
        if num_near == 0:
            while found and indentation(found[-1]) > level:
                found.pop()  # it is within a block whose end isn't near
        width = indentation(below)
        num_near -= 1
        if num_near >= 0:
            found.append(below)
            level = min(level, width)
        elif level < 0:
            break
        elif width <= level:
            goes_on = begins_with_end(below, language)
            if goes_on:
                found.append(below)
            level = width if goes_on and not language.is_block_end(below) else width - 1
    return found


def begins_with_end(line: str, language: Language) -> bool:
    """Return whether a line ends or goes on with what a line at its indentation began."""
    return language.continues(line) or _ENDS_HEADER.match(line) is not None


def _is_aside(line: str, language: Language) -> bool:
    """Return whether a line's indentation tells nothing: a comment, an instruction to a preprocessor."""
    return line.lstrip().startswith(language.line_comments or "\0") or _PREPROCESSOR.match(line) is not None
