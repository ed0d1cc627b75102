"""Where the code around the cursor parses, it should with the text, too, or with what may be written behind it."""

from __future__ import annotations

from lsp_server.filters.parsing import is_open, longest_standing, parse_checker
from lsp_server.filters.surroundings import Surroundings


def cut_broken(text: str, around: Surroundings) -> str:
    """The longest beginning with which the code parses; where there is none, the text if it may go on, else nothing.

    Of other languages than Python too little is known to judge a whole text; how sure its end must be is told by
    `confidence.py`.
    """
    stands = parse_checker(text, around.place, around.language) if around.language == "python" else None
    if stands is None or stands(text):
        return text
    return longest_standing(text, stands) or (text if is_open(text, around.place, stands) else "")
