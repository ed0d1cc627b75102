"""Cuts a text so that the code around the cursor still parses, if it parsed without the text."""

from __future__ import annotations

from lsp_server.filters.parsing import is_open, longest_standing, parse_checker
from lsp_server.filters.surroundings import Surroundings


def cut_broken(text: str, around: Surroundings) -> str:
    """Return the longest beginning with which the code parses. If there is none, the text if it may go on, else ""."""
    stands = parse_checker(text, around.place, around.language)
    if stands is None or stands(text):
        return text
    return longest_standing(text, stands) or (text if is_open(text, around.place, around.language, stands) else "")
