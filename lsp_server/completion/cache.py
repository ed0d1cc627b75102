"""Answers without the engine where an earlier text still fits: type-through, and a bounded cache of suggestions.

While the user types what was suggested, the rest of it is the answer. After an undo, an accepted suggestion or a cursor
that returns, the cache knows the place. Values and pure functions; it must not know the engine or the wire.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from decoding.protocol import CompletionStats
from lsp_server.documents.embedded import embedded
from lsp_server.documents.store import Cursor, Place, Snapshot, split_lines
from lsp_server.filters import IMPROBABLE, Surroundings, filter_text, fit_tail
from lsp_server.filters.calibration import SHOWS_ALL, UNBOUND, Bounds
from lsp_server.filters.confidence import ScoredSpan
from lsp_server.filters.end import find_end
from lsp_server.filters.surroundings import Mode
from lsp_server.languages.syntax import is_only_closers

NUM_LINES_COMPARED: Final = 20
MAX_LINES_TYPED: Final = 30
MAX_REMEMBERED: Final = 128


class CursorContext(NamedTuple):
    """A cursor and the text around it, cheap to keep after the document has changed."""

    uri: str
    line: int
    place: Place
    language: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """The text that the engine generated at a spot, and the part of it that can be shown there.

    `text` is the part that the filters left, always a beginning of `generated`; `dropped_by` names the filter that left
    nothing. `spans` cover `generated` with probabilities, or are empty where the engine gives none. `is_finished` is
    true if the model ended the text itself, so that nothing would follow. `bounds` are those by which the text was left
    unfinished because what followed was too improbable, and `nothing_at` is the number of typed characters behind which
    nothing is probable enough. `author` is whose text it is, "" where only one engine writes; `is_first` is true of a
    text that the engine on this machine wrote while a server was asked.
    """

    spot: CursorContext
    mode: Mode
    generated: str
    text: str
    dropped_by: str = ""
    spans: tuple[ScoredSpan, ...] = ()
    is_finished: bool = False
    stats: CompletionStats | None = None
    bounds: Bounds = SHOWS_ALL
    nothing_at: int | None = None
    author: str = ""
    is_first: bool = False


class Remainder(NamedTuple):
    """The part of a suggestion that is left to show at a spot; `text` is "" if it is known that there is none.

    `num_typed` counts the characters of `generated` that are in the document by now, `num_shown` those that the user
    has seen.
    """

    suggestion: Suggestion
    text: str
    num_typed: int
    dropped_by: str = ""
    num_shown: int = 0

    @property
    def has_more(self) -> bool:
        """Return whether generated text goes on from here, be it shown or not."""
        return bool(self.suggestion.generated[self.num_typed :].strip())


def cursor_context(snapshot: Snapshot, cursor: Cursor) -> CursorContext:
    """Return the surroundings of a cursor; within a page's script or style they are that code alone."""
    return CursorContext(snapshot.uri, cursor.line, *embedded(snapshot.place(cursor), snapshot.language))


def typed_between(old: CursorContext, new: CursorContext) -> str | None:
    """Return what was typed from the old spot to the new one, or None if anything else happened between them.

    An editor that closes brackets itself may have put closers behind the cursor.
    """
    num_lines = new.line - old.line
    if new.uri != old.uri or not 0 <= num_lines <= min(MAX_LINES_TYPED, len(new.place.above)):
        return None
    first = len(new.place.above) - num_lines
    written = "\n".join((*new.place.above[first:], new.place.head))
    if not written.startswith(old.place.head):
        return None
    if _nearest(new.place.above[:first]) != _nearest(old.place.above):
        return None
    if new.place.below[:NUM_LINES_COMPARED] != old.place.below[:NUM_LINES_COMPARED]:
        return None
    if not new.place.tail.endswith(old.place.tail) or not is_only_closers(new.place.tail.removesuffix(old.place.tail)):
        return None
    return written[len(old.place.head) :]


def remainder_at(suggestion: Suggestion, spot: CursorContext, mode: Mode) -> Remainder | None:
    """Return what a suggestion has to show at a later spot; None if it doesn't fit or does not reach that far.

    Within the text that was shown, its rest is the answer. Behind it, more text may have been generated, which is cut
    anew by `mode`.
    """
    typed = typed_between(suggestion.spot, spot)
    if typed is None or not suggestion.generated.startswith(typed):
        return None
    if len(typed) < len(suggestion.text):
        around = Surroundings(place=spot.place, mode=suggestion.mode, language=spot.language)
        text, dropped_by = fit_tail(suggestion.text[len(typed) :], around)
        return Remainder(suggestion, text, len(typed), dropped_by)
    if len(typed) == suggestion.nothing_at:
        return Remainder(suggestion, "", len(typed), IMPROBABLE)
    if not typed and suggestion.mode == mode:
        return Remainder(suggestion, "", 0, suggestion.dropped_by)
    more = suggestion.generated[len(typed) :]
    if not suggestion.is_finished and find_end(more, spot.place, mode, spot.language) is None:
        return None
    text, dropped_by = filter_text(more, Surroundings(place=spot.place, mode=mode, language=spot.language))
    return Remainder(suggestion, text, len(typed), dropped_by)


def accepted(snapshot: Snapshot, cursor: Cursor, text: str, num_replaced: int) -> tuple[Snapshot, Cursor]:
    """Return the document as if a suggestion had been accepted, and where the cursor would be."""
    line = snapshot.lines[cursor.line]
    before = line[: cursor.column] + text
    lines = split_lines(before + line[cursor.column + num_replaced :])
    if cursor.line + 1 < len(snapshot.lines) and not lines[-1]:
        lines.pop()  # `split_lines` sees one more line behind a line end: the one below
    changed = replace(snapshot, lines=(*snapshot.lines[: cursor.line], *lines, *snapshot.lines[cursor.line + 1 :]))
    *above, last = before.split("\n")
    return changed, Cursor(cursor.line + len(above), len(last))


@dataclass(slots=True)
class _Kept:
    """A suggestion with what the user has seen of it: `num_shown` characters, the first time with `shown_at` typed."""

    suggestion: Suggestion
    num_shown: int = 0
    shown_at: int | None = None
    is_replaced: bool = False

    def is_being_taken(self, num_typed: int) -> bool:
        """Return whether the user has typed on into what was shown."""
        return self.shown_at is not None and self.shown_at < num_typed < self.num_shown


class SuggestionCache:
    """The latest suggestions, also those of which nothing was shown, the most recently used first."""

    def __init__(self, size: int = MAX_REMEMBERED) -> None:
        self._size = size
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._has_first = False  # whether first texts are written in this window

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, suggestion: Suggestion) -> None:
        """Store a suggestion. The least recently used one is forgotten if there are too many."""
        self._kept[id(suggestion)] = _Kept(suggestion)
        self._has_first = self._has_first or suggestion.is_first
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def find(self, spot: CursorContext, mode: Mode, bounds: Bounds = UNBOUND) -> Remainder | None:
        """Return what fits a spot. A text to show is preferred to the knowledge that there is none.

        Texts that were left unfinished by stricter bounds than these are passed over, and so are first texts in whose
        place others have come, unless the user has begun to take one.
        """
        best: tuple[int, Remainder] | None = None
        for key, kept in reversed(self._kept.items()):
            if not 0 <= spot.line - kept.suggestion.spot.line <= MAX_LINES_TYPED:  # cheap, and rules out most of them
                continue
            if kept.suggestion.bounds > bounds:
                continue
            rest = remainder_at(kept.suggestion, spot, mode)
            if rest is None:
                continue
            is_taken = kept.suggestion.is_first and bool(rest.text) and kept.is_being_taken(rest.num_typed)
            if is_taken or (not kept.is_replaced and (best is None or (rest.text and not best[1].text))):
                best = key, rest._replace(num_shown=kept.num_shown)
            if is_taken or (best is not None and best[1].text and not self._has_first):
                break
        if best is None:
            return None
        self._kept.move_to_end(best[0])
        return best[1]

    def note_shown(self, rest: Remainder, text: str) -> None:
        """Remember that so much of a remainder was shown to the user."""
        if kept := self._kept.get(id(rest.suggestion)):
            kept.num_shown = max(kept.num_shown, rest.num_typed + len(text))
            kept.shown_at = rest.num_typed if kept.shown_at is None else kept.shown_at

    def replace_first(self, suggestion: Suggestion) -> None:
        """Note that another text has come in place of a first one."""
        if kept := self._kept.get(id(suggestion)):
            kept.is_replaced = True

    def latest(self, uri: str) -> Iterator[Suggestion]:
        """Yield the suggestions of a document, the most recently used first."""
        return (kept.suggestion for kept in reversed(self._kept.values()) if kept.suggestion.spot.uri == uri)

    def forget(self, uri: str | None = None) -> None:
        """Forget the suggestions of a document, or all of them."""
        for key in [key for key, kept in self._kept.items() if uri in (None, kept.suggestion.spot.uri)]:
            del self._kept[key]


def _nearest(above: tuple[str, ...]) -> tuple[str, ...]:
    return above[max(0, len(above) - NUM_LINES_COMPARED) :]
