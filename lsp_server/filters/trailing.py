"""Removes blanks at the end of a text, which nobody wants."""

from __future__ import annotations

from lsp_server.filters.surroundings import Surroundings


def cut_trailing(text: str, around: Surroundings) -> str:
    """Return the text without blanks and empty lines at its end; lines within were trimmed during generation."""
    return text.rstrip()
