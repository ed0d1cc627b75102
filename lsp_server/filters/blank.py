"""Drops a text that holds nothing but blanks."""

from __future__ import annotations

from lsp_server.filters.surroundings import Surroundings


def drop_blank(text: str, around: Surroundings) -> str:
    """Return the text, or "" if it holds no visible character."""
    return text if text.strip() else ""
