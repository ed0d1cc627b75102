"""Decides how much of a prompt is read before an answer: as much as the time allows, given what the caches hold.

The front end asks with more text than may be read. Whatever is chosen, the answer is the model's own for that prompt,
warm or cold.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from decoding.completion.completion import HealedPrompt, prompt_budget, prompt_tokens
from decoding.models.loading.model_set import ModelSet
from decoding.protocol import CompletionRequest

# chosen: how much of the prefix beyond what is read in any case is left out, the least first, by whole steps of lines,
# so that the cut stays where it is while lines are typed.
LEFT_OUT = (0.5, 0.75, 0.875)
STEP_LINES = 8
# chosen: a text that was read before its last changes serves if so much of it still stands.
MIN_STANDING = 0.5
# chosen: of the time until a suggestion should begin to come, so much is for reading what is not read yet; the rest is
# for what the caller may still read at this place, while it waits for a key, and for the first tokens.
SOON = 0.5
# chosen: where nothing can be read soon, more text is worth so much more time than the shortest takes.
HARDLY_LONGER = 1.25
# chosen: a model that takes so long for a token does with the nearest lines and the headers around.
VERY_SLOW_MS = 5.0


class Caches(Protocol):
    """What is known of the caches."""

    def num_shared(self, prompt_ids: Sequence[int]) -> int:
        """Return how many tokens of a prompt need not be computed."""

    def texts_above(self, document: str, head_ids: Sequence[int]) -> Iterable[Sequence[int]]:
        """Return what is cached of a document's text above a cursor behind this head, the last used first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A request as far as it is read, with its prompt; `is_cut` tells that there is more to it."""

    request: CompletionRequest
    prompt: HealedPrompt
    is_cut: bool = False


def fit(models: ModelSet, request: CompletionRequest, caches: Caches, token_ms: float) -> Fitted:
    """Return the first of a request's forms, the fullest first, that can be read soon enough; else the soonest read.

    So a form that was read for the most part, while the cursor rested, isn't left for a fuller one.

    Args:
        models: whose prompts these are.
        request: with all that is worth reading.
        caches: what need not be read any more.
        token_ms: the time to read one token.
    """
    whole = Fitted(request=request, prompt=prompt_tokens(models, request))
    soon_ms = SOON * request.tabcast.latency_ms
    known = [(_ms_to_read(whole, caches, token_ms), whole)]
    if not soon_ms or known[0][0] <= soon_ms:
        return whole
    for form in _forms(models, request, caches, is_very_slow=token_ms >= VERY_SLOW_MS):
        known.append((_ms_to_read(form, caches, token_ms), form))
        if known[-1][0] <= soon_ms:
            return form
    least_ms = min(ms for ms, _ in known)
    return next(form for ms, form in known if ms <= HARDLY_LONGER * least_ms)


def _ms_to_read(fitted: Fitted, caches: Caches, token_ms: float) -> float:
    ids = fitted.prompt.ids
    return (len(ids) - caches.num_shared(ids)) * token_ms


def _forms(models: ModelSet, request: CompletionRequest, caches: Caches, *, is_very_slow: bool) -> Iterator[Fitted]:
    """Yield a request with less and less text, as far as its options allow."""
    options = request.tabcast
    if options.least_suffix < (end := request.suffix.rfind("\n", 0, len(request.suffix) // 2) + 1):
        half = replace(request, suffix=request.suffix[:end])
        yield Fitted(request=half, prompt=prompt_tokens(models, half), is_cut=True)
    short = replace(request, suffix=request.suffix[: options.least_suffix])
    # Without context, too: so a document is kept on disk.
    for context in dict.fromkeys((options.context, ())):
        form = replace(short, tabcast=replace(options, context=context))
        fitted = Fitted(request=form, prompt=prompt_tokens(models, form), is_cut=True)
        yield fitted
        if (older := _as_read_before(models, fitted, caches)) is not None:
            yield older
    starts = _starts(request.prompt, max(0, len(request.prompt) - options.least_prefix))
    if is_very_slow and 0 < options.nearest_prefix < len(request.prompt) - starts[-1]:
        starts.append(len(request.prompt) - options.nearest_prefix)
    for start in starts:
        text = _headers_before(request, start) + request.prompt[start:]
        cut = replace(short, prompt=text, tabcast=replace(options, context=()))
        yield Fitted(request=cut, prompt=prompt_tokens(models, cut), is_cut=True)


def _starts(prefix: str, last: int) -> list[int]:
    """Return where cuts of a prefix begin, at lines, up to the last of them."""
    lines = [0, *accumulate(len(line) for line in prefix[:last].splitlines(keepends=True))]
    wanted = (bisect_left(lines, share * last) // STEP_LINES * STEP_LINES for share in LEFT_OUT)
    return [*dict.fromkeys(lines[number] for number in wanted if 0 < lines[number] < last), last]


def _headers_before(request: CompletionRequest, start: int) -> str:
    """Return the headers around the cursor that stand before a cut."""
    text, found = request.prompt, ""
    for begin, end in request.tabcast.headers:
        if end < begin <= len(text) and len(text) - end <= start:
            found += text[len(text) - begin : len(text) - end]
    return found


def _as_read_before(models: ModelSet, fitted: Fitted, caches: Caches) -> Fitted | None:
    """Return a request whose text far above the cursor is as it was read before its last changes, or None.

    What must be read in any case is as it is now. So a change costs nothing elsewhere until there was time to read on.
    """
    request, prompt = fitted.request, fitted.prompt
    start, end = prompt.above
    least = request.prompt[len(request.prompt) - request.tabcast.least_prefix :]
    num_least = len(models.encode(least[: least.rfind("\n") + 1]))
    if not 0 < num_least <= end - start:
        return None
    best: tuple[int, list[int]] = (0, [])
    for text in caches.texts_above(request.tabcast.session, prompt.ids[:start]):
        found = _place_of(text, prompt.ids[start:end], num_least)
        if found is not None and found[0] > best[0]:
            best = found[0], [*prompt.ids[:start], *text[: found[1]], *prompt.ids[end:]]
    num_standing, ids = best
    if not num_standing or ids == prompt.ids or len(ids) > prompt_budget(models, request):
        return None
    moved = len(ids) - len(prompt.ids)
    return replace(fitted, prompt=prompt._replace(ids=ids, above=(start, end + moved)))


def _place_of(text: Sequence[int], above: Sequence[int], num_least: int) -> tuple[int, int] | None:
    """Return where in an older text this place is, and before that how many of the tokens up to there still stand."""
    old, new = np.asarray(text, np.int64), np.asarray(above, np.int64)
    if len(old) < num_least:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(old, num_least)
    (found,) = np.nonzero((windows == new[-num_least:]).all(1))
    best: tuple[int, int] | None = None
    for begin in found[-4:]:
        place = int(begin) + num_least
        size = min(place, len(new))
        behind = _num_equal(old[place - size : place][::-1], new[-size:][::-1])
        before = _num_equal(old[: size - behind], new[: size - behind])
        if before + behind >= MIN_STANDING * place and (best is None or before + behind > best[0]):
            best = before + behind, place
    return best


def _num_equal(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """Return how many numbers are equal at the beginning of two arrays of one length."""
    differing = one != other
    return int(differing.argmax()) if differing.any() else len(one)
