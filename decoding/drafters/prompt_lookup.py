"""Drafts by looking the last tokens up in the text so far and copying what followed them.

Prompt lookup decoding: Saxena 2023 (https://github.com/apoorvumang/prompt-lookup-decoding). The longest match wins; of
several places, what followed most of them, the latest counting most, and the others are rivals. Where a long copy was
left for an edit, the place at which it would continue comes first. Places are found by hash chains as in DEFLATE (RFC
1951, section 4), of bounded length: the time of a proposal doesn't depend on the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from decoding.drafters.chain_scoring import in_own_text, to_draft, vote
from decoding.speculation.drafting import NOTHING, PER_PROPOSAL, Chain, Draft, DraftRequest, Outcome

MAX_MATCH = 8  # chosen: matches are followed no further, and a match of this length counts as a copy
MIN_MATCH = 2
SURE_MATCH = 3  # chosen: a match of so many tokens shows where an edited copy continues
LONG_MATCH = 4
# chosen: so many places are tried for each length of key. Common pairs, such as a newline and an indentation, have
# hundreds.
MAX_PLACES = 24
MAX_HINT_IDS = 2048
MAX_DRAFT = 16
# chosen: what followed is read at so many places of the longest match; with so many full matches, the search ends.
MAX_EQUALS = 8
# The weight of a place, relative to the next later one: late text is likelier to come again. measured: no difference
# between 0.5 and 1.
FADING = 0.8
# chosen: behind an edit, a copy continues within so many tokens of where it would without the edit, and the edit has so
# many tokens at most.
MAX_MOVED = 6
MAX_EDIT = 24
GOES_ON = 3  # chosen: a match counts so many tokens more where the edit moved nothing
# chosen: how often the next token of another model's proposal is the target's, as long as all before it were.
PROPOSED = 0.9
BESIDE = 0.3  # chosen: the weight of places beside the one that continues the copy


def common_prefix_len(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many items two lists have in common at their beginning. Slices are compared, which is quick."""
    known, unknown = 0, min(len(a), len(b))
    if a[:unknown] == b[:unknown]:
        return unknown
    while unknown - known > 1:
        middle = (known + unknown) // 2
        if a[known:middle] == b[known:middle]:
            known = middle
        else:
            unknown = middle
    return known


class _Copy(NamedTuple):
    """A long match: the text that has it, its distance from the end of what was generated, and the length of that."""

    source: _Text
    distance: int
    num_written: int


class PromptLookup:
    """Searches the prompt with the emitted tokens, then the hint texts (last suggestion, recent edits).

    What another model proposed for this place comes first, as long as the answer is the same.
    """

    name = "lookup"
    cost = PER_PROPOSAL
    needs = NOTHING
    num_unread = 0

    def __init__(self) -> None:
        self._text = _Text()
        self._hints = _Text()
        self._copy: _Copy | None = None
        self._request = DraftRequest(prompt_ids=())
        self._num_agreed = 0

    def begin(self, request: DraftRequest) -> None:
        """Index what differs from the last request's text; −1 stands between hints, and no token matches it."""
        self._request, self._copy, self._num_agreed = request, None, 0
        self._text.become(list(request.prompt_ids))
        hints = [token_id for hint in request.hint_ids if len(hint) for token_id in (*hint, -1)]
        self._hints.become(hints[-MAX_HINT_IDS:])

    def observe(self, outcome: Outcome) -> None:
        """Append the emitted tokens to the index."""
        self._text.extend(outcome.emitted_ids)

    def propose(self, budget: int) -> Draft:
        """Propose what followed the longest match of the last tokens; among equals, this text comes before hints."""
        if proposed := self._proposed(min(budget, MAX_DRAFT)):
            return proposed
        recent = self._text.ids[-MAX_MATCH:]
        match_len, places = self._text.longest_match(recent, is_own=True)
        source = self._text
        if match_len < MAX_MATCH and self._hints.ids:
            hint_len, hint_places = self._hints.longest_match(recent, is_own=False)
            if hint_len > match_len:
                match_len, places, source = hint_len, hint_places, self._hints
        weights = [FADING**age for age in range(len(places))]
        if match_len == MAX_MATCH:
            self._copy = _Copy(source, len(self._text.ids) - places[0], len(self._text.ids))
        elif self._copy is not None and (not places or self._copy.source is source):
            source = self._copy.source
            match_len, places, weights = self._going_on(self._copy, match_len, places, weights)
        length = min(budget, MAX_DRAFT)
        following = [source.following(place, length) for place in places]
        if (allowed := self._allowed()) is not None:
            following = [copied if copied and copied[0] in allowed else [] for copied in following]
        return to_draft(vote(following, weights, match_len, in_own_text), length, self.name)

    def _proposed(self, length: int) -> Draft | None:
        """Return the next tokens of what another model proposed, or None once the answer differs from it."""
        proposed_ids, num_written = self._request.proposed_ids, len(self._text.ids) - len(self._request.prompt_ids)
        if self._num_agreed < 0 or num_written >= len(proposed_ids):
            return None
        if self._text.ids[len(self._text.ids) - num_written + self._num_agreed :] != list(
            proposed_ids[self._num_agreed : num_written]
        ):
            self._num_agreed = -1
            return None
        self._num_agreed = num_written
        token_ids = tuple(proposed_ids[num_written : num_written + length])
        return Draft((Chain(token_ids, scores=(PROPOSED,) * len(token_ids)),))

    def _going_on(
        self, copy: _Copy, match_len: int, places: list[int], weights: list[float]
    ) -> tuple[int, list[int], list[float]]:
        """Return match length, places and weights, with the place that continues a copy behind an edit first.

        They stay as they are where no copy was left lately, or where no place is near.
        """
        num_written = len(self._text.ids)
        expected = num_written - copy.distance
        if num_written - copy.num_written > MAX_EDIT:  # new text, and no edit of a copy
            return match_len, places, weights
        if not places:  # nothing matches right behind an edit: guess that it replaced as many tokens
            return 0, [expected], [1.0]
        nearest = min(places, key=lambda place: abs(place - expected))
        if abs(nearest - expected) > MAX_MOVED:
            return match_len, places, weights
        if match_len >= SURE_MATCH:  # the edit is over, and may have moved the copy
            self._copy = _Copy(copy.source, num_written - nearest, num_written)
        first = places.index(nearest)
        others = [BESIDE * weight for weight in weights[: len(places) - 1]]
        places = [nearest, *places[:first], *places[first + 1 :]]
        return match_len + GOES_ON * (nearest == expected), places, [1.0, *others]

    def close(self) -> None:
        """Do nothing: the index stays for the next request."""

    def _allowed(self) -> Sequence[int] | None:
        """Return the token ids that healing allows first, or None for all: the match ends before the healed bytes."""
        healing, num_prompt = self._request.healing, len(self._request.prompt_ids)
        return None if healing is None else healing.allowed_next(self._text.ids[num_prompt:])


class _Text:
    """Tokens with an index of the places where each pair and each four of them stood."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self._chains = (_Chain(LONG_MATCH), _Chain(MIN_MATCH))

    def become(self, token_ids: list[int]) -> None:
        """Hold these tokens. The index of their common beginning with the last ones is kept."""
        kept = common_prefix_len(self.ids, token_ids)
        for chain in self._chains:
            chain.cut(self.ids, kept)
        del self.ids[kept:]
        self.extend(token_ids[kept:])

    def extend(self, token_ids: Sequence[int]) -> None:
        """Append tokens and index them."""
        self.ids += token_ids
        for chain in self._chains:
            chain.catch_up(self.ids)

    def following(self, place: int, length: int) -> list[int]:
        """Return the tokens behind a place, up to the end of its text."""
        ids = self.ids[place : place + length]
        return ids[: ids.index(-1)] if -1 in ids else ids

    def longest_match(self, recent: Sequence[int], *, is_own: bool) -> tuple[int, list[int]]:
        """Return the length of the longest end of `recent` in this text, and the places behind it, the latest first.

        `is_own` says that `recent` is this text's own end, which doesn't count as a match.
        """
        best_len, best_places = MIN_MATCH - 1, list[int]()
        for chain in self._chains:
            if best_len >= chain.size:
                break
            for place in chain.places(recent):
                length = 0 if is_own and place == len(self.ids) else self._match_len(recent, place)
                if length > best_len:
                    best_len, best_places = length, []
                if length == best_len:
                    best_places.append(place)
                    if length == len(recent) and len(best_places) == MAX_EQUALS:
                        break
        return (best_len, best_places[:MAX_EQUALS]) if best_places else (0, [])

    def _match_len(self, recent: Sequence[int], place: int) -> int:
        length, longest = 0, min(len(recent), place)
        if self.ids[place - longest : place] == recent[-longest:]:
            return longest
        while length < longest and self.ids[place - length - 1] == recent[-length - 1]:
            length += 1
        return length


class _Chain:
    """A hash chain: for every place, the last one before it that follows equal `size` tokens; 0 is none."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._latest: dict[int, int] = {}
        self._before: list[int] = []

    def catch_up(self, ids: Sequence[int]) -> None:
        """Index the tokens that were appended."""
        latest, before, size = self._latest, self._before, self.size
        for end in range(len(before) + 1, len(ids) + 1):
            key = hash(tuple(ids[end - size : end])) if end >= size else end
            before.append(latest.get(key, 0))
            latest[key] = end

    def cut(self, ids: Sequence[int], length: int) -> None:
        """Forget the places behind `length` tokens of `ids`: each key's latest place is again the one before."""
        for end in range(len(self._before), length, -1):
            key = hash(tuple(ids[end - self.size : end])) if end >= self.size else end
            previous = self._before.pop()
            if previous:
                self._latest[key] = previous
            else:
                del self._latest[key]

    def places(self, recent: Sequence[int]) -> Iterator[int]:
        """Yield at most `MAX_PLACES`, the latest first.

        Different tokens may share a key, so the caller must compare them.
        """
        place = self._latest.get(hash(tuple(recent[-self.size :])), 0) if len(recent) >= self.size else 0
        for _ in range(MAX_PLACES):
            if place == 0:
                return
            yield place
            place = self._before[place - 1]
