"""Cuts what would never run: code behind a `return`, `break` or `raise`, or behind a block that always leaves."""

from __future__ import annotations

import re
from typing import Final

from lsp_server.documents.store import Place
from lsp_server.filters.leaving import MAX_LINES, block_leaves
from lsp_server.filters.surroundings import Surroundings
from lsp_server.languages.language import Language
from lsp_server.languages.syntax import indentation, inside, unclosed, without_comment
from lsp_server.languages.table import language_named

_LABEL: Final = re.compile(r"\s*\w+\s*:\s*\Z")
# A statement whose line ends so goes on on the next one.
_GOES_ON: Final = re.compile(r"(?:[-+*/%&^=<.,?\\([]|\|\||=>|\b(?:and|or|not|is))\s*\Z")


def cut_unreachable(text: str, around: Surroundings) -> str:
    """Return the text up to its first line that can't be reached; all of it within strings and in prose."""
    place, language = around.place, language_named(around.language)
    if language.body in ("tags", "prose") or inside((*place.above, place.head), around.language).text:
        return text
    width, start, statement = _left_above(place, language, around.language), 0, ""
    lines = [*place.above[-MAX_LINES:]]
    for number, line in enumerate(text.split("\n")):
        full = place.head + line if number == 0 else line
        if full.strip() and not statement:
            columns = indentation(full)
            is_next = line.strip() and not _is_reachable(full, language)
            if width is not None and columns == width and line.strip():
                if is_next:
                    return text[:start].rstrip()
                width = width if language.is_block_end(full) else None
            else:
                width = None if width is not None and columns < width else width
                is_own = number > 0 or not place.head.strip()
                if is_own and is_next and block_leaves(lines, columns, around.language):
                    return text[:start].rstrip()
            if width is None and language.leaves.match(full):
                width = columns
        statement = _open_statement(statement, full, around.language)
        lines.append(full)
        start += len(line) + 1
    return text


def _left_above(place: Place, language: Language, name: str) -> int | None:
    """Return the indentation of the line above the cursor if that leaves the block; None elsewhere."""
    if place.head.strip():
        return None
    nearest = next((line for line in reversed(place.above) if line.strip()), "")
    leaves = language.leaves.match(nearest) and not _open_statement("", nearest, name)
    return indentation(nearest) if leaves else None


def _is_reachable(line: str, language: Language) -> bool:
    """Return whether a line at a statement's indentation belongs to it, or can be jumped to."""
    return bool(language.continues(line) or language.definition.match(line) or _LABEL.match(line))


def _open_statement(before: str, line: str, name: str) -> str:
    """Return the lines of the statement that the next line goes on with; "" where this line ends it."""
    lines = f"{before}\n{line}" if before else line
    found = unclosed(lines, name)
    is_body = found.openers and found.openers[-1] in language_named(name).statements_in
    return (
        lines if (found.text or (found.openers and not is_body) or _GOES_ON.search(without_comment(line, name))) else ""
    )
