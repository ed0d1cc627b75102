"""Removes blanks at the end of a text, which nobody wants."""

from __future__ import annotations

from lsp_server.filters.surroundings import Surroundings


def cut_trailing(text: str, around: Surroundings) -> str:
    """Return the text without blanks and empty lines at its end; lines within were trimmed during generation.

    Between two braces the last line end stays, and a text of several lines without it is dropped, since the closing
    brace would end up behind its last line.
    """
    last, whole = around.final_line, text.rstrip()
    if not last or "\n" not in whole:
        return whole
    return whole + last if text[len(whole) :].startswith(last) else ""
