"""Keeps the next edits of one editor window: what was changed, what was offered, and what the user said to it.

It decides when nothing is offered: long after the last change, behind an undo, while the user has just said no, where
an edit would lead back to a text of before. It must not know the wire.
"""

from __future__ import annotations

import itertools
import math
import re
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lsprotocol import types

from lsp_server.documents.store import Cursor, Snapshot
from lsp_server.edits.find import MAX_AGE_S, Question
from lsp_server.edits.history import EditHistory, find_change
from lsp_server.edits.proposal import Edit, applied, fits

ACCEPTED_COMMAND: Final = "tabcast.server.editAccepted"
# chosen: a next edit follows from what was just done.
RECENT_S: Final = 10.0
# chosen: what ends at the cursor may be half of a name that is being typed.
SETTLED_S: Final = 0.7
# chosen: whoever says no wants no other offer at once, and this one for longer.
QUIET_S: Final = 5.0
REJECTED_S: Final = 300.0
# chosen: an offer that was passed over so often, while the user went on changing something, isn't made again.
MAX_PASSED: Final = 4
MAX_OFFERS: Final = 100
_WORD: Final = re.compile(r"\w")
_WORD_END: Final = re.compile(r"\w\Z")

_Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """An edit that was sent to the editor, for a document at one revision."""

    id: str
    uri: str
    edit: Edit
    revision: int

    @property
    def key(self) -> _Key:
        """Return what it is about, wherever it stands: the document, the rule, and the texts."""
        return (self.uri, self.edit.why, self.edit.old, self.edit.new)


class NextEdits:
    """The next edits of all documents of a window."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self.history = EditHistory(clock)
        self._numbers = itertools.count(1)
        self._offers: OrderedDict[str, Offer] = OrderedDict()
        self._rejected: deque[tuple[_Key, float]] = deque(maxlen=MAX_OFFERS)
        self._passed: dict[_Key, set[int]] = {}
        self._shown: set[str] = set()
        self._applied: _Key | None = None
        self._counts: Counter[str] = Counter()

    def changed(
        self, params: types.DidChangeTextDocumentParams, before: Sequence[str], after: Sequence[str], revision: int
    ) -> None:
        """Take note of a change, behind which the document has this revision."""
        uri = params.text_document.uri
        offer = next((offer for offer in reversed(self._offers.values()) if offer.uri == uri), None)
        is_ours = offer is not None and fits(offer.edit, before) and applied(offer.edit, before) == list(after)
        self.history.changed(params, before, after, revision, is_ours=is_ours)
        if is_ours and offer is not None:
            self._applied = offer.key
            self._passed.pop(offer.key, None)
        past = self.history.past(uri)
        if self._applied and past.is_return and past.hunks and past.hunks[0].is_taken_back:
            self._rejected.append((self._applied, self._clock()))

    def why_silent(self, uri: str) -> str:
        """Return why nothing is offered in a document now, whatever is due; "" if something may be."""
        past, now_s = self.history.past(uri), self._clock()
        if not past.hunks or now_s - past.changed_s > RECENT_S:
            return "nothing was changed here in the last ten seconds"
        if past.is_return:
            return "the last change was an undo or a redo"
        if self._rejected and now_s - self._rejected[-1][1] < QUIET_S:
            return "an edit was dismissed a moment ago"
        return ""

    def wait_s(self, snapshot: Snapshot, cursor: Cursor) -> float:
        """Return how long to wait, since the word that ends at the cursor may not be whole yet."""
        past = self.history.past(snapshot.uri)
        line = snapshot.lines[cursor.line]
        hunk = past.hunks[0] if past.hunks else None
        is_behind_word = bool(_WORD_END.search(line[: cursor.column])) and not _WORD.match(line, cursor.column)
        if hunk is None or not hunk.first <= cursor.line < hunk.end or not is_behind_word:
            return 0.0
        return max(0.0, SETTLED_S - (self._clock() - past.changed_s))

    def is_typed(self, uri: str, line: int) -> bool:
        """Return whether a line belongs to the last change of a document."""
        hunks = self.history.past(uri).hunks
        return bool(hunks) and hunks[0].first <= line < hunks[0].end

    def question(self, snapshot: Snapshot, cursor: Cursor) -> Question:
        """Return what is looked at to find what is due."""
        oldest_s = self._clock() - MAX_AGE_S
        hunks = [hunk for hunk in self.history.past(snapshot.uri).hunks if hunk.at_s >= oldest_s]
        is_alone = not snapshot.uri.startswith("vscode-notebook-cell:") and not snapshot.uri.endswith("/__init__.py")
        return Question(lines=snapshot.lines, language=snapshot.language, cursor=cursor, hunks=hunks, is_alone=is_alone)

    def choose(self, snapshot: Snapshot, edits: Sequence[Edit]) -> Edit | None:
        """Return the first edit that the user may want: not one that was refused, nor one that leads back."""
        now_s = self._clock()
        refused = {key for key, at_s in self._rejected if now_s - at_s < REJECTED_S}
        for edit in edits:
            key = (snapshot.uri, edit.why, edit.old, edit.new)
            if key in refused or len(self._passed.get(key, ())) >= MAX_PASSED or edit.old.split() == edit.new.split():
                continue
            change = find_change(snapshot.lines, applied(edit, snapshot.lines))
            if change is not None and not self.history.leads_back(snapshot.uri, change):
                return edit
        return None

    def offer(self, snapshot: Snapshot, edit: Edit) -> Offer:
        """Take an edit as sent to the editor, for this text."""
        offer = Offer(
            id=f"{self._name}-e{next(self._numbers)}", uri=snapshot.uri, edit=edit, revision=snapshot.revision
        )
        self._offers[offer.id] = offer
        if len(self._offers) > MAX_OFFERS:
            self._offers.popitem(last=False)
        self._passed.setdefault(offer.key, set()).add(snapshot.revision)
        self._counts["offered"] += 1
        return offer

    def shown(self, offer_id: object) -> None:
        """Note that the editor shows an offer."""
        if isinstance(offer_id, str) and offer_id in self._offers:
            self._shown.add(offer_id)

    def accepted(self, offer_id: object) -> None:
        """Note that the user accepted an offer, so that the next may come at once."""
        if offer := self._take(offer_id):
            self._passed.pop(offer.key, None)
            self._counts["accepted"] += 1

    def rejected(self, offer_id: object) -> None:
        """Note that the user dismissed an offer: it stays away, and for a moment so does any other."""
        if offer := self._take(offer_id):
            self._rejected.append((offer.key, self._clock()))
            self._counts["dismissed"] += 1

    def _take(self, offer_id: object) -> Offer | None:
        return self._offers.pop(offer_id, None) if isinstance(offer_id, str) else None

    def figures(self) -> dict[str, Any]:
        """Return the counts as JSON."""
        counts = {name: self._counts[name] for name in ("offered", "accepted", "dismissed")}
        return {**counts, "displayed": len(self._shown)}

    def since_change_s(self, uri: str) -> float:
        """Return how long ago a document changed; infinity if it is not known to have."""
        since_s = self.history.since_change_s(uri)
        return since_s if math.isfinite(since_s) else math.inf

    def forget(self, uri: str) -> None:
        """Drop all that is known of a closed document."""
        self.history.forget(uri)
        self._offers = OrderedDict((key, offer) for key, offer in self._offers.items() if offer.uri != uri)
        self._passed = {key: revisions for key, revisions in self._passed.items() if key[0] != uri}
