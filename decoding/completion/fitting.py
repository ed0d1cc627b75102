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
# chosen: a form isn't laid out if its characters alone tell that it takes so many times as long as it may.
HOPELESS = 6.0


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
    """Return the first of a request's forms, the fullest first, that can be read in its time; else the shortest.

    Args:
        models: whose prompts these are.
        request: with all that is worth reading.
        caches: what need not be read any more.
        token_ms: the time to read one token.
    """
    whole = fitted = Fitted(request=request, prompt=prompt_tokens(models, request))
    limit_ms = request.tabcast.latency_ms

    def is_in_time() -> bool:
        ids = fitted.prompt.ids
        return (len(ids) - caches.num_shared(ids)) * token_ms <= limit_ms

    if not limit_ms or is_in_time():
        return fitted
    token_chars = max(1.0, _num_chars(request) / len(whole.prompt.ids))
    for number, form in enumerate(forms := [*_forms(request)]):
        is_last = number == len(forms) - 1
        is_hopeless = _num_new_chars(form) / token_chars * token_ms > HOPELESS * limit_ms
        if is_hopeless and not is_last and form.prompt != request.prompt:
            continue
        fitted = Fitted(request=form, prompt=prompt_tokens(models, form), is_cut=True)
        if is_in_time():
            return fitted
        if number == 0 and (older := _as_read_before(models, fitted, caches)) is not None:
            newest, fitted = fitted, older
            if is_in_time():
                return fitted
            fitted = newest
    return fitted


def _forms(request: CompletionRequest) -> Iterator[CompletionRequest]:
    """Yield a request with less and less text, as far as its options allow."""
    options = request.tabcast
    short = replace(request, suffix=request.suffix[: options.least_suffix])
    yield short
    for start in _starts(request.prompt, max(0, len(request.prompt) - options.least_prefix)):
        cut = replace(short, prompt=request.prompt[start:])
        if options.context:
            yield cut  # other documents may share the context, so perhaps it is read already
        yield replace(cut, tabcast=replace(options, context=()))


def _starts(prefix: str, last: int) -> list[int]:
    """Return where cuts of a prefix begin, at lines, up to the last of them."""
    lines = [0, *accumulate(len(line) for line in prefix[:last].splitlines(keepends=True))]
    wanted = (bisect_left(lines, share * last) // STEP_LINES * STEP_LINES for share in LEFT_OUT)
    return [*dict.fromkeys(lines[number] for number in wanted if 0 < lines[number] < last), last]


def _num_chars(request: CompletionRequest) -> int:
    return _num_new_chars(request) + sum(len(file.text) for file in request.tabcast.context)


def _num_new_chars(request: CompletionRequest) -> int:
    return len(request.prompt) + len(request.suffix)


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
