"""Decides when a growing text is settled: nothing that the model may still write changes what is shown.

Either the text has ended (`filters/end.py`), or a filter has cut it for good, or a statement is too improbable to be
shown, and so is all behind it. It must not know the engine, requests or settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lsp_server.completion.cache import CursorContext
from lsp_server.documents.store import Place
from lsp_server.filters import Surroundings
from lsp_server.filters.calibration import SHOWS_ALL, Bounds
from lsp_server.filters.confidence import ScoredSpan, cut_unlikely, likely_ends
from lsp_server.filters.end import find_end
from lsp_server.filters.settled import is_cut_for_good
from lsp_server.filters.surroundings import Mode


class Growing(NamedTuple):
    """A text as far as it has come, with the probabilities of its pieces, and the place that its user has come to.

    `num_typed` characters of it stand there already.
    """

    text: str
    spans: Sequence[ScoredSpan]
    spot: CursorContext
    num_typed: int


class Settling:
    """The rule for one text. `bounds` say what is too improbable to be shown.

    `improbable_from` is the end of what is probable, once something is not, and `nothing_at` the number of typed
    characters behind which nothing is.

    `reads_on` is for texts that are written ahead: they go on to the end of the statement or block behind their line.
    """

    def __init__(self, spot: CursorContext, mode: Mode, bounds: Bounds = SHOWS_ALL, *, reads_on: bool = False) -> None:
        self.bounds = bounds
        self.improbable_from: int | None = None
        self.nothing_at: int | None = None
        self._around = Surroundings(place=spot.place, mode=mode, language=spot.language)
        self._reads_on = reads_on and mode == "line"
        self._num_lines = 0

    def lower(self, bounds: Bounds) -> None:
        """Let the text serve somebody who wants to see less probable texts, too."""
        self.bounds = min(self.bounds, bounds)

    def is_settled(self, growing: Growing) -> bool:
        """Return whether the text need not go on; `improbable_from` says if a part is improbable."""
        num_lines, self._num_lines = self._num_lines, growing.text.count("\n")
        if self._has_ended(growing.text):
            return True
        has_new_line = self._num_lines > num_lines
        return is_cut_for_good(growing.text, self._around, has_new_line=has_new_line) or self._is_improbable(growing)

    def _has_ended(self, text: str) -> bool:
        place, language = self._around.place, self._around.language
        if not self._reads_on:
            return find_end(text, place, self._around.mode, language) is not None
        line, _, after = text.partition("\n")
        body = after.lstrip()
        head = after[: len(after) - len(body)].rpartition("\n")[2]
        next_place = Place(above=(*place.above, place.head + line), head=head, below=place.below)
        return bool(body) and find_end(body, next_place, "block", language) is not None

    def _is_improbable(self, growing: Growing) -> bool:
        if self.bounds.shows_all or not growing.spans:
            return False
        text, (spot, num_typed) = growing.text[growing.num_typed :], (growing.spot, growing.num_typed)
        if likely_ends(text, growing.spans, num_typed, self.bounds, spot.place, spot.language).is_whole:
            return False
        part = cut_unlikely(text, growing.spans, num_typed, self.bounds, spot.place, spot.language)
        self.improbable_from = num_typed + len(part)
        self.nothing_at = None if part else num_typed
        return True
