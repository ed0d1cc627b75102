"""Keeps apart what a document holds besides its text: the byte order mark at its start, and halves of surrogate pairs.

Editors that count in UTF-16 may send the two halves of a character in two changes, or replace only one of them. Our
copy keeps a half as it is, so that it joins its other half when that comes; whoever reads a document sees U+FFFD in its
place, which has the same length in every encoding.
"""

from __future__ import annotations

import re
from typing import Final

BYTE_ORDER_MARK: Final = "\ufeff"
REPLACEMENT: Final = "\ufffd"
_HALF: Final = re.compile("[\ud800-\udfff]")


def has_halves(text: str) -> bool:
    """Return whether a text holds a half of a surrogate pair."""
    if text.isascii():
        return False
    try:
        text.encode()  # ten times as fast as to search with the expression
    except UnicodeEncodeError:
        return True
    return False


def without_halves(text: str) -> str:
    """Return a text with U+FFFD for each half of a surrogate pair."""
    return _HALF.sub(REPLACEMENT, text) if has_halves(text) else text


def joined(text: str) -> str:
    """Return a text in which two halves side by side are one character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass") if has_halves(text) else text


def cut_at_unit(text: str, index: int) -> tuple[str, str]:
    """Cut a text behind so many UTF-16 code units, if need be between the halves of a character."""
    if text.isascii():
        return text[:index], text[index:]
    units = text.encode("utf-16-le", "surrogatepass")
    head, tail = units[: 2 * index], units[2 * index :]
    return head.decode("utf-16-le", "surrogatepass"), tail.decode("utf-16-le", "surrogatepass")
