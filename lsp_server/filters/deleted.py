"""Drops a text that the user deleted a moment ago."""

from __future__ import annotations

from lsp_server.filters.surroundings import Surroundings


def drop_deleted(text: str, around: Surroundings) -> str:
    """Return the text, or "" if it only restates the beginning of the text that was deleted here."""
    restated = text.strip()
    return "" if restated and around.deleted.strip().startswith(restated) else text
