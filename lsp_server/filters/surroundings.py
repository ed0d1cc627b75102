"""Defines what filters know of the place that a text is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lsp_server.documents.store import Place
from lsp_server.languages.syntax import is_between_braces

# The amount of text that is asked for: the rest of a line, or a block.
Mode = Literal["line", "block"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The cursor's place and the mode of the request.

    `is_cut_short` is true if the text ended because tokens or time ran out. `deleted` is the text that the user deleted
    here just now. `language` is "" where it isn't known, so that the code around is not judged.
    """

    place: Place
    mode: Mode
    is_cut_short: bool = False
    deleted: str = ""
    language: str = ""

    @property
    def final_line(self) -> str:
        """Return the line end and indentation that a body needs before a brace right behind the cursor; mostly ""."""
        return final_line(self.place)


def final_line(place: Place) -> str:
    """Return what leads from the end of a body to the brace behind the cursor, in `{|}`; "" elsewhere."""
    head = place.head
    return "\n" + head[: len(head) - len(head.lstrip())] if is_between_braces(head, place.tail) else ""
