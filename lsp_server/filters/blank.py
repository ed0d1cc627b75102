"""Nothing but blanks is nothing to suggest."""

from __future__ import annotations

from lsp_server.filters.surroundings import Surroundings


def drop_blank(text: str, around: Surroundings) -> str:
    """The text, or "" if it holds no visible character."""
    return text if text.strip() else ""
