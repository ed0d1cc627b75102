"""Blanks at the ends of lines are nobody's wish."""

from __future__ import annotations

from lsp_server.filters.surroundings import Surroundings


def cut_trailing(text: str, around: Surroundings) -> str:
    """The text less blanks and empty lines at its end; lines within were trimmed while the text was written."""
    return text.rstrip()
