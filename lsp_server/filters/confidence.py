"""Cuts a text to the part that is probable enough to be shown, by the engine's log-probabilities.

The product of the probabilities of a text's tokens is the model's own estimate of how likely the user is to write that
text. The shown part ends, between words, where the product falls below the bound; the rest becomes more probable as
soon as the user has typed or accepted the part before it. An end within a statement must be surer than one behind it.
It must not know documents, the engine or settings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

_LAST_WORD: Final = re.compile(r"\w+\Z")
# chosen: accepting fewer characters saves nobody a key.
MIN_SHOWN_CHARS: Final = 3
# chosen: the bound for an end within a statement is the bound to this power. 0.3 becomes 0.74; 0 and 1 stay.
OPEN_EXPONENT: Final = 1 / 4
MAX_TRIES: Final = 24


class ScoredSpan(NamedTuple):
    """A piece of a generated text: its length in characters, and the model's log-probability (natural) of it."""

    num_chars: int
    log_prob: float


def cut_unlikely(
    text: str,
    likely: Sequence[ScoredSpan],
    num_typed: int,
    min_confidence: float,
    stands: Callable[[str], bool] | None = None,
    *,
    has_tail: bool = False,
) -> str:
    """Return the beginning of `text` that has at least this probability; all of it if no probabilities are given.

    `likely` counts from `num_typed` characters before `text`. Those are in the document, and so certain by now, and so
    is the token that they break off in. `stands` tells whether the code parses with a text: an earlier end where it
    does is preferred. Without one the text must be surer; and where code follows on the line (`has_tail`) nothing is
    left of it.
    """
    if min_confidence <= 0:
        return text
    shown = _cut(text, likely, num_typed, min_confidence)
    if stands is None or not shown or stands(shown):
        return shown
    for end in islice(reversed(list(_ends(shown, likely, num_typed))), MAX_TRIES):
        part = shown[:end].rstrip()
        if is_worth_showing(part) and stands(part):
            return part
    return "" if has_tail else _cut(text, likely, num_typed, min_confidence**OPEN_EXPONENT)


def is_worth_showing(text: str) -> bool:
    """Return whether accepting the text saves keys."""
    return sum(not char.isspace() for char in text) >= MIN_SHOWN_CHARS


def _is_inside_word(text: str, index: int) -> bool:
    return 0 < index < len(text) and all(char.isalnum() or char == "_" for char in text[index - 1 : index + 1])


def _cut(text: str, likely: Iterable[ScoredSpan], num_typed: int, bound: float) -> str:
    end, log_prob = -num_typed, 0.0
    for num_chars, token_log_prob in likely:
        if end >= 0:
            log_prob += token_log_prob
        if log_prob < math.log(bound):
            return _LAST_WORD.sub("", text[:end]).rstrip() if _is_inside_word(text, end) else text[:end].rstrip()
        end += num_chars
    return text


def _ends(text: str, likely: Iterable[ScoredSpan], num_typed: int) -> Iterator[int]:
    """Yield the places in a text where a token ends and no word goes on."""
    end = -num_typed
    for num_chars, _ in likely:
        end += num_chars
        if 0 < end < len(text) and not _is_inside_word(text, end):
            yield end
