"""Rewrites a text while it is generated: its indentation becomes the document's, and line ends lose blanks.

It works on pieces as they come, so that each keeps its place in the text and its probability; blanks are held back
until it is known what follows them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from lsp_server.documents.store import Place
from lsp_server.filters.confidence import ScoredSpan
from lsp_server.languages.syntax import indentation, is_between_braces, is_header, opens_block
from lsp_server.languages.table import language_named

DEFAULT_WIDTH: Final = 4
_RUNS: Final = re.compile(r"\n|[ \t]+|[^ \t\n]+")
_OPENS: Final = re.compile(r"[:{(\[]\s*\Z")


@dataclass(frozen=True, slots=True)
class IndentStyle:
    """A document's style of indentation; `width` is the number of columns of one level, or 0 if nothing tells."""

    uses_tabs: bool
    width: int


def style_of(place: Place) -> IndentStyle | None:
    """Return the style of the lines around a cursor; None where none is indented."""
    lines = [line for line in (*place.above, place.head + "." if place.head else "", *place.below) if line.strip()]
    num_tabs = sum(line.startswith("\t") for line in lines)
    num_spaces = sum(line.startswith("  ") for line in lines)
    if not num_tabs and not num_spaces:
        return None
    if num_tabs > num_spaces:
        return IndentStyle(uses_tabs=True, width=DEFAULT_WIDTH)
    # A cursor that is less deep than other blocks begin has not come to its level yet.
    return IndentStyle(uses_tabs=False, width=max(_own_step(place), _commonest_step(lines)))


class Rewriter:
    """Rewrites one text for its place in a document."""

    def __init__(self, place: Place, language: str = "") -> None:
        self._language = language
        self._style = style_of(place)
        self._line = place.head
        self._is_first = True
        self._is_before_brace = is_between_braces(place.head, place.tail)
        self._held = ""
        nearest = next((line for line in reversed(place.above) if line.strip()), "")
        begins = place.head or nearest
        self._base = self._columns(begins[: len(begins) - len(begins.lstrip())])
        self._previous = nearest
        self._has_level = self._is_level(place.head, nearest)
        self._step: int | None = None
        # The columns of the header above that waits for its body, and the level that the model's lines lack there.
        header = _waiting_header(place, language)
        self._body_of = None if header is None else self._columns(header[: len(header) - len(header.lstrip())])
        self._lost: int | None = None

    def feed(self, piece: str) -> str:
        """Take one more piece and return the rewritten text that is certain by now."""
        told = ""
        for run in _RUNS.findall(piece.replace("\r", "")):
            if run == "\n":
                self._held = ""
                if self._line.strip():
                    self._previous = self._line
                self._line = ""
                self._is_first = False
                told += run
            elif not run.strip():
                self._held += run
            else:
                written = self._indented(self._held) if not self._line.strip() else self._held
                self._held = ""
                self._line += written + run
                told += written + run
        return told

    def finish(self) -> str:
        """Return the blanks at the end of the text that lead to a brace behind the cursor; "" where none does."""
        return self._indented(self._held) if self._is_before_brace and not self._line else ""

    def _indented(self, blanks: str) -> str:
        if self._line and self._is_first:
            # Blanks behind those that are there are the rest of the indentation, unless it has its level already.
            written = "" if self._has_level else blanks
            return written + self._blanks(self._lost_at(self._columns(self._line + written)))
        columns = self._columns(blanks)
        if self._style is None:
            return blanks + " " * self._lost_at(columns)
        columns = self._scaled(columns)
        return self._blanks(columns + self._lost_at(columns))

    def _blanks(self, columns: int) -> str:
        if self._style is None or not self._style.uses_tabs:
            return " " * columns
        levels, more = divmod(columns, self._style.width)
        return "\t" * levels + " " * more

    def _lost_at(self, columns: int) -> int:
        """Return the columns that a line lacks: a level if the first line isn't deeper than the header it is for."""
        if self._body_of is None:
            return 0
        if self._lost is None:
            width = (self._style.width if self._style else 0) or DEFAULT_WIDTH
            self._lost = width if columns == self._body_of else 0
            return self._lost
        return self._lost if columns > self._body_of else 0

    def _scaled(self, columns: int) -> int:
        """Return the columns in the document's width of a level, where the model indents by another width."""
        width, deeper = self._style.width if self._style else 0, columns - self._base
        if deeper <= 0 or not width:
            return columns
        if self._step is None and self._opens(self._previous):
            self._step = deeper if deeper in (2, 4, 8) else width
        step = self._step or width
        return self._base + deeper // step * width + deeper % step

    def _is_level(self, head: str, nearest: str) -> bool:
        """Return whether the blanks in front of the cursor are all that a line here can have."""
        if not head or head.strip():
            return False
        deeper = self._columns(head) - self._columns(nearest[: len(nearest) - len(nearest.lstrip())])
        if self._opens(nearest):
            return deeper >= ((self._style.width if self._style else 0) or 1)
        return deeper >= 0

    def _opens(self, line: str) -> bool:
        return bool(_OPENS.search(line)) or opens_block(line, self._language)

    def _columns(self, blanks: str) -> int:
        return len(blanks.expandtabs((self._style.width if self._style else 0) or DEFAULT_WIDTH))


def rewrite(text: str, place: Place, language: str = "") -> str:
    """Rewrite a whole text at once."""
    rewriter = Rewriter(place, language)
    return rewriter.feed(text) + rewriter.finish()


class SpanRewriter:
    """Follows a text that grows; `known` are its pieces so far, by their lengths after rewriting."""

    def __init__(self, place: Place, language: str = "") -> None:
        self.known: list[ScoredSpan] = []
        self._rewriter = Rewriter(place, language)
        self._waiting = ""

    def feed(self, text: str, likely: Iterable[tuple[int, float]]) -> None:
        """Take more text, and the lengths and log-probabilities of tokens that are complete with it."""
        self._waiting += text
        for num_chars, log_prob in likely:
            piece, self._waiting = self._waiting[:num_chars], self._waiting[num_chars:]
            self.known.append(ScoredSpan(len(self._rewriter.feed(piece)), log_prob))


def rewrite_spans(text: str, likely: Iterable[tuple[int, float]], place: Place, language: str = "") -> list[ScoredSpan]:
    """Return the pieces of a text, by their lengths after rewriting, with their log-probabilities."""
    rewriter = SpanRewriter(place, language)
    rewriter.feed(text, likely)
    return rewriter.known


def _waiting_header(place: Place, language: str) -> str | None:
    """Return the header above the cursor's empty line, where blocks are told by indentation; None elsewhere."""
    known = language_named(language)
    if known.body != "indent" or known.header_start is None or place.head.strip():
        return None
    last = next((number for number in range(len(place.above), 0, -1) if place.above[number - 1].strip()), 0)
    return place.above[last - 1] if last and is_header(place.above[:last], language) else None


def _own_step(place: Place) -> int:
    """Return the step from the line that opens the cursor's block to the cursor."""
    nearest = next((line for line in reversed(place.above) if line.strip()), "")
    step = len(place.head) - indentation(nearest)
    is_step = place.head.isspace() and "\t" not in place.head and _OPENS.search(nearest)
    return step if is_step and 1 < step <= 8 else 0


def _commonest_step(lines: Iterable[str]) -> int:
    steps = Counter(
        indentation(lower) - indentation(upper)
        for upper, lower in pairwise(lines)
        if _OPENS.search(upper) and 1 < indentation(lower) - indentation(upper) <= 8
    )
    return steps.most_common(1)[0][0] if steps else 0
