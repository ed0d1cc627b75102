"""Tracks which suggestions were shown and how much of each was accepted.

An offer is a text from the beginning of its line on, so that it stays the same one while its characters are typed.
Editors that run an item's command tell of an acceptance. For the others it is inferred from the document: one change
brings the rest of an offer, or a piece that is longer than a key or two. It must not know requests, engines or the
wire.
"""

from __future__ import annotations

import itertools
import re
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from lsprotocol import types

from lsp_server.completion.habits import Place
from lsp_server.completion.standing import count_kept, count_standing
from lsp_server.documents.store import Cursor, Snapshot, without_end
from lsp_server.languages.syntax import is_only_closers

ACCEPTED_COMMAND: Final = "tabcast.server.accepted"
MAX_OFFERS: Final = 100
# chosen: a change that brings so many characters of an offer counts as an accepted part and not as typing. Editors that
# gather keys before they send a change gather two or three.
MIN_PART_CHARS: Final = 4
MIN_REST_CHARS: Final = 2
# chosen: what was shown for a shorter time was not read before another key came.
SEEN_S: Final = 0.5
# chosen: what the user dismissed stays away from its place for so long.
REJECTED_S: Final = 60.0
MAX_REJECTED: Final = 20
_WORD: Final = re.compile(r"\s*(?:\w+|[^\w\s]+)|\s+")
_LINE: Final = re.compile(r"\r?\n?[^\r\n]*")


@dataclass(slots=True, kw_only=True)
class ShownItem:
    """One offer: a text that was shown. `text` begins at the start of its line.

    `num_standing` characters of it are in the document; `num_before` of them were there when it was first shown.
    `num_replaced` characters of `tail`, the text that stood behind them then, are closers that the offer replaces.
    `num_come` characters of it have come into the document since it was last sent to the editor. `is_applying` is true
    while an edit of ours is in flight, so that the edit is not taken for typing. `about` is the kind of place, and
    `is_decided` is true once the user accepted it or passed it over. The document had `num_lines` lines when it was
    shown.
    """

    id: str
    uri: str
    line: int
    text: str
    num_before: int
    num_standing: int
    num_replaced: int
    tail: str
    num_lines: int = 0
    shown_s: float = 0.0
    about: Place | None = None
    is_decided: bool = False
    num_accepted: int = 0
    num_come: int = 0
    is_applying: bool = False

    @property
    def num_new(self) -> int:
        """Return how many characters the offer would have added to the document."""
        return len(self.text) - self.num_before

    @property
    def is_accepted(self) -> bool:
        """Return whether the offer was accepted to its end, and not only typed."""
        return self.num_accepted > 0 and self.num_standing == len(self.text)

    def piece(self, unit: str) -> str:
        """Return the next `word` or `line` of the text that is not in the document yet; "" if all of it is."""
        found = (_WORD if unit == "word" else _LINE).match(self.text[self.num_standing :])
        return found.group() if found else ""

    def still_fits(self, lines: Sequence[str]) -> bool:
        """Return whether nothing else was typed behind the offer's text; an editor may have closed brackets there."""
        end = self.end()
        if self.num_standing < self.num_before or end.line >= len(lines):
            return False
        tail = without_end(lines[end.line])[end.column :]
        return tail.endswith(self.tail) and is_only_closers(tail.removesuffix(self.tail))

    def is_passed_over(self, lines: Sequence[str]) -> bool:
        """Return whether something else was typed where the offer goes on: other characters, or a line end."""
        end = self.end()
        if self.num_standing < self.num_before or end.line >= len(lines):
            return False
        num_more_lines = len(lines) - self.num_lines - self.text.count("\n", self.num_before, self.num_standing)
        has_more = len(without_end(lines[end.line])) - end.column > len(self.tail)
        return num_more_lines > 0 or (has_more and not self.still_fits(lines))

    def end(self) -> Cursor:
        """Return the cursor behind the part of the offer that is in the document."""
        above, _, last = self.text[: self.num_standing].rpartition("\n")
        return Cursor(self.line + above.count("\n") + bool(_), len(last))


class ShownItems:
    """The offers of one editor: those shown now, which changes are compared with, and older ones by their id.

    `on_decided` is called once for each offer that the user accepted, in part or whole, or passed over.
    """

    def __init__(
        self,
        name: str,
        on_decided: Callable[[ShownItem, bool], None] = lambda _offer, _is_accepted: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._on_decided = on_decided
        self._clock = clock
        self._rejected: deque[tuple[ShownItem, float]] = deque(maxlen=MAX_REJECTED)
        self._numbers = itertools.count(1)
        self._known: OrderedDict[str, ShownItem] = OrderedDict()
        self._shown: list[ShownItem] = []
        self._displayed: set[str] = set()
        self.num_shown = self.num_accepted = self.num_parts = 0
        self.shown_chars = self.accepted_chars = self.looked_at_chars = self.kept_chars = 0

    @property
    def latest(self) -> ShownItem | None:
        """Return the shown offer of which most is in the document; the first one if several are equal."""
        return max(self._shown, key=lambda offer: offer.num_standing, default=None)

    def show(
        self, snapshot: Snapshot, items: Sequence[types.InlineCompletionItem], about: Place | None = None
    ) -> list[types.InlineCompletionItem]:
        """Take items as shown in place of those before; return each with the command that reports its acceptance."""
        before, self._shown = self._shown, []
        shown: list[types.InlineCompletionItem] = []
        for item in items:
            offer = self._offer(snapshot, item, before)
            offer.num_come, offer.about = 0, about
            self._shown.append(offer)
            command = types.Command(title="Accepted", command=ACCEPTED_COMMAND, arguments=[offer.id])
            shown.append(
                types.InlineCompletionItem(
                    insert_text=item.insert_text, range=item.range, filter_text=item.filter_text, command=command
                )
            )
        if self._shown and not any(offer in before for offer in self._shown):
            self.num_shown += 1
            self.shown_chars += self._shown[0].num_new
        return shown

    def changed(self, uri: str, lines: Sequence[str]) -> ShownItem | None:
        """Compare the shown offers with a changed document's lines; return the offer just accepted whole, if any."""
        taken = None
        for offer in self._shown:
            if offer.uri != uri or offer.is_accepted:
                continue
            before, offer.num_standing = offer.num_standing, count_standing(offer.text, lines, offer.line)
            num_come, num_left = offer.num_standing - before, len(offer.text) - offer.num_standing
            offer.num_come += num_come
            threshold = 1 if offer.is_applying else MIN_PART_CHARS if num_left else MIN_REST_CHARS
            offer.is_applying = offer.is_applying and num_come == 0
            if num_come >= threshold and before >= offer.num_before and self._take(offer, num_come):
                taken = offer
            self._look_whether_passed_over(offer, lines)
        return taken

    def rejected(self, offer_id: object) -> None:
        """Record that the user dismissed an offer: it was passed over, and stays away for a while."""
        if (offer := self.find(offer_id)) is not None:
            self._rejected.append((offer, self._clock()))
            self._decide(offer, is_accepted=False)

    def was_rejected(self, uri: str, line: int, text: str) -> bool:
        """Return whether a text, with what stands before it on its line, was dismissed there a while ago."""
        now_s = self._clock()
        return any(
            offer.uri == uri and offer.line == line and now_s - at_s < REJECTED_S and offer.text.startswith(text)
            for offer, at_s in self._rejected
        )

    def _look_whether_passed_over(self, offer: ShownItem, lines: Sequence[str]) -> None:
        is_seen = self._clock() - offer.shown_s >= SEEN_S
        if is_seen and not offer.num_accepted and offer.is_passed_over(lines):
            self._decide(offer, is_accepted=False)

    def _decide(self, offer: ShownItem, *, is_accepted: bool) -> None:
        if not offer.is_decided:
            offer.is_decided = True
            self._on_decided(offer, is_accepted)

    def displayed(self, offer_id: str) -> None:
        """Count an offer that the editor reports as really displayed."""
        self._displayed.add(offer_id)

    def accepted(self, offer_id: str, end: int | None = None) -> ShownItem | None:
        """Record that the editor reports an offer as accepted, whole or up to the character `end` of its text.

        Return the offer, or None if it is unknown or if its acceptance was known already.
        """
        offer = self._known.get(offer_id)
        if offer is None or offer.is_accepted:
            return None
        end = len(offer.text) if end is None else min(len(offer.text), end)
        num_new = end - offer.num_before - offer.num_accepted
        offer.num_standing = max(offer.num_standing, end)
        if num_new > 0:
            self._take(offer, num_new)
        return offer

    def look_at_kept(self, offer: ShownItem, lines: Sequence[str]) -> None:
        """Count how much of an offer is still in the document, a while after it was accepted."""
        whole = sum(map(len, offer.text.split("\n")))
        self.looked_at_chars += offer.num_accepted
        self.kept_chars += round(offer.num_accepted * count_kept(offer.text, lines) / max(1, whole))

    def figures(self) -> dict[str, int]:
        """Return the counts as JSON. `displayed` counts only where the editor reports it.

        `keptChars` of the `lookedAtChars` accepted characters that were looked at again were still in the document.
        """
        return {
            "shown": self.num_shown,
            "displayed": len(self._displayed),
            "accepted": self.num_accepted,
            "partlyAccepted": self.num_parts,
            "shownChars": self.shown_chars,
            "acceptedChars": self.accepted_chars,
            "lookedAtChars": self.looked_at_chars,
            "keptChars": self.kept_chars,
        }

    def find(self, offer_id: object) -> ShownItem | None:
        """Return the offer with this id, or None."""
        return self._known.get(offer_id) if isinstance(offer_id, str) else None

    def forget(self, uri: str) -> None:
        """Drop the offers of a document that was closed."""
        self._shown = [offer for offer in self._shown if offer.uri != uri]
        self._rejected = deque((found for found in self._rejected if found[0].uri != uri), MAX_REJECTED)

    def _take(self, offer: ShownItem, num_chars: int) -> bool:
        """Count accepted characters. Return whether the offer is now accepted whole."""
        self.num_parts += offer.num_accepted == 0 and offer.num_standing < len(offer.text)
        if offer.num_standing == len(offer.text):
            self.num_accepted += 1
            self.num_parts -= offer.num_accepted > 0
        self._decide(offer, is_accepted=True)
        offer.num_accepted += num_chars
        self.accepted_chars += num_chars
        return offer.is_accepted

    def _offer(self, snapshot: Snapshot, item: types.InlineCompletionItem, before: Sequence[ShownItem]) -> ShownItem:
        assert isinstance(item.insert_text, str)
        assert item.range is not None
        start, end = snapshot.cursor(item.range.start), snapshot.cursor(item.range.end)
        text = snapshot.lines[start.line][: start.column] + item.insert_text
        num_standing = count_standing(text, snapshot.lines, start.line)
        for offer in before:
            rest = offer.text.split("\n")[max(0, start.line - offer.line) :]
            if offer.uri == snapshot.uri and start.line >= offer.line and text == "\n".join(rest):
                return offer
        offer = ShownItem(
            id=f"{self._name}-{next(self._numbers)}",
            uri=snapshot.uri,
            line=start.line,
            text=text,
            num_before=num_standing,
            num_standing=num_standing,
            num_replaced=0,
            tail="",
            num_lines=len(snapshot.lines),
            shown_s=self._clock(),
        )
        place = offer.end()
        offer.num_replaced = max(0, end.column - place.column) if place.line == end.line else 0
        offer.tail = without_end(snapshot.lines[place.line])[place.column :]
        self._known[offer.id] = offer
        if len(self._known) > MAX_OFFERS:
            self._known.popitem(last=False)
        return offer
