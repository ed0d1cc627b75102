"""Converts texts to UTF-16 code units, one character each, so that offsets and positions are those of editors. Pure."""

from __future__ import annotations

import re

LINE_END = re.compile(r"\r\n|\r|\n")


def to_units(text: str) -> str:
    """Return the code units of a text, one character each."""
    if text.isascii():
        return text
    return "".join(map(chr, memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H")))


def from_units(units: str) -> str:
    """Return the text of these code units."""
    return units if units.isascii() else units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def position_of(units: str, offset: int) -> dict[str, int]:
    """Return the LSP position of an offset."""
    starts = [0, *(match.end() for match in LINE_END.finditer(units, 0, offset))]
    return {"line": len(starts) - 1, "character": offset - starts[-1]}


def offset_of(units: str, position: dict[str, int]) -> int | None:
    """Return the offset of an LSP position; None if the text has no such place."""
    line, character = position["line"], position["character"]
    ends = [(match.start(), match.end()) for match in LINE_END.finditer(units)]
    if not 0 <= line <= len(ends):
        return None
    start = ends[line - 1][1] if line else 0
    end = ends[line][0] if line < len(ends) else len(units)
    return start + character if 0 <= character <= end - start else None
