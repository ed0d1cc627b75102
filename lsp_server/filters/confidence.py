"""Cuts a text to the part that is probable enough to be shown, by the engine's log-probabilities.

The product of the probabilities of a statement's tokens is the model's own estimate of how likely the user is to write
it, once what stands before it is right. Each statement has to reach a bound, and the text ends behind the last one that
does; nothing is shown rather than the beginning of a statement, unless it is of use by itself: an argument, a call, a
phrase of a comment. What was typed or accepted is certain, so that the rest becomes more probable. It must not know
documents, the engine or settings.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from lsp_server.documents.store import Place
from lsp_server.filters.calibration import Bounds
from lsp_server.filters.parsing import is_open, parse_checker
from lsp_server.filters.thoughts import inner_ends, is_begun, phrase_ends, statement_ends

# chosen: accepting fewer characters saves nobody a key.
MIN_SHOWN_CHARS: Final = 3
# measured: a phrase that stops behind a word has to be surer than a statement. Of its bound in logarithms it may use
# so much: 0.35 becomes 0.5.
PHRASE_SHARE: Final = 2 / 3


class ScoredSpan(NamedTuple):
    """A piece of a generated text: its length in characters, and the model's log-probability (natural) of it."""

    num_chars: int
    log_prob: float


class Likely(NamedTuple):
    """The places, in their order, where a text may be cut, as all before each is probable enough.

    `is_whole` is true as long as nothing of the text is improbable.
    """

    ends: tuple[int, ...]
    is_whole: bool


def cut_unlikely(
    text: str, likely: Sequence[ScoredSpan], num_typed: int, bounds: Bounds, place: Place, language: str
) -> str:
    """Return the part of `text` that is probable enough; all of it if no probabilities are given.

    `likely` counts from `num_typed` characters before `text`. Those are in the document, and so certain by now, and so
    is the token that they break off in.
    """
    if bounds.shows_all or not likely:
        return text
    found = likely_ends(text, likely, num_typed, bounds, place, language)
    if found.is_whole:
        return text
    stands = parse_checker(text, place, language)
    for end in reversed(found.ends):
        part = text[:end].rstrip()
        if not is_worth_showing(part) or is_begun(part, place, language):
            continue
        if stands is None or stands(part) or (end == found.ends[0] and is_open(part, place, language, stands)):
            return part
    return ""


def likely_ends(
    text: str, likely: Sequence[ScoredSpan], num_typed: int, bounds: Bounds, place: Place, language: str
) -> Likely:
    """Find where a text, which may still grow, can end."""
    ends: list[int] = []
    all_ends = deque(statement_ends(text[: text.rfind("\n") + 1], place, language))
    log_prob, sure_to = 0.0, -1
    for start, end, token_log_prob in _tokens(text, likely, num_typed):
        log_prob += token_log_prob
        if sure_to < 0 and log_prob < bounds.first * PHRASE_SHARE:
            sure_to = start
        if log_prob < (bounds.next if ends else bounds.first):
            if not ends:
                ends = [inner for inner in inner_ends(text[:end], place, language) if inner <= start]
                ends += [phrase for phrase in phrase_ends(text[:end], place, language) if phrase <= sure_to]
            return Likely(tuple(sorted(ends)), is_whole=False)
        while all_ends and end > all_ends[0]:
            ends.append(all_ends.popleft())
            log_prob = 0.0
    return Likely((*ends, len(text)), is_whole=True)


def _tokens(text: str, likely: Iterable[ScoredSpan], num_typed: int) -> Iterator[tuple[int, int, float]]:
    """Yield the start and the end of each token of the text, and its log-probability; what is typed is certain.

    The token behind the text tells how likely it is to end there.
    """
    end = -num_typed
    for num_chars, log_prob in likely:
        start, end = end, end + num_chars
        if start > len(text):
            return
        if end > 0:
            yield start, end, log_prob if start >= 0 else 0.0


def is_worth_showing(text: str) -> bool:
    """Return whether accepting the text saves keys."""
    return sum(not char.isspace() for char in text) >= MIN_SHOWN_CHARS
