"""Nothing but blanks is nothing to suggest."""

from __future__ import annotations

from lsp_server.documents import Place
from lsp_server.trigger import Mode


def drop_blank(text: str, place: Place, mode: Mode) -> str:
    """The text, or "" if it holds no visible character."""
    return text if text.strip() else ""
