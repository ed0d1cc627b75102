"""Defines what filters know of the place that a text is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lsp_server.documents.store import Place

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
