"""Tells in what kind of text a cursor stands: a comment, a string or a docstring.

A comment that documents what follows (`/** … */`, `///`) is both a comment and a docstring. It must not know settings.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from lsp_server.languages.syntax import LONG_QUOTES, inside
from lsp_server.languages.table import language_named

Scope = Literal["comment", "string", "docstring"]

_DOCUMENTING: Final = re.compile(r"\s*(?:///|//!|--\||##)|\s*\*")
_BEFORE_DOCSTRING: Final = re.compile(r"\s*(?:@\w*doc\s+)?[A-Za-z~]{0,2}")


def scopes_at(lines: tuple[str, ...], language: str) -> frozenset[Scope]:
    """Return the kinds of text that are open behind the last of these lines; none in code and prose."""
    known, found = language_named(language), inside(lines, language)
    if not found.text:
        return frozenset()
    if found.text in known.line_comments:
        return _comment(bool(_DOCUMENTING.match(lines[-1])))
    text = "\n".join(lines)
    if found.text in known.comment_ends:
        return _comment(text.startswith("/**", text.rfind(found.text)))
    is_long = found.text in LONG_QUOTES and found.brackets[-1:] not in ("(", "[")
    return frozenset(("docstring",)) if is_long and _is_statement(text, found.text) else frozenset(("string",))


def _comment(is_documenting: bool) -> frozenset[Scope]:
    return frozenset(("comment", "docstring") if is_documenting else ("comment",))


def _is_statement(text: str, quote: str) -> bool:
    """Return whether the string that is open stands for itself, or began above the text."""
    before, mark, _ = text.rpartition(quote)
    return not mark or _BEFORE_DOCSTRING.fullmatch(before.rpartition("\n")[2]) is not None
