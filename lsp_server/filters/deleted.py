"""What the user deleted a moment ago is not offered again."""

from __future__ import annotations

from lsp_server.filters.surroundings import Surroundings


def drop_deleted(text: str, around: Surroundings) -> str:
    """The text, or "" if it does no more than restate the beginning of what was deleted here."""
    restated = text.strip()
    return "" if restated and around.deleted.strip().startswith(restated) else text
