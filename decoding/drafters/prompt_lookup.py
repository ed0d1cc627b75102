"""Drafts by looking the last tokens up in the text so far and copying what followed them.

Prompt look-up decoding: Saxena 2023 (https://github.com/apoorvumang/prompt-lookup-decoding). The longest match wins,
of several the latest; the draft is no longer than the match deserves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from decoding.drafting import Draft, DraftRequest, Outcome

MAX_MATCH = 8
MIN_MATCH = 2
TOKENS_PER_MATCHED = 2


class PromptLookup:
    """Looks through the prompt, the emitted tokens and the hint texts (last suggestion, recent edits)."""

    name = "lookup"

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._num_hint_ids = 0
        self._places: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)

    def begin(self, request: DraftRequest) -> None:
        """Index hints and prompt; −1 stands between texts, and no token matches it."""
        self._ids, self._places = [], defaultdict(list)
        for hint in request.hint_ids:
            self._extend([*hint, -1])
        self._num_hint_ids = len(self._ids)
        self._extend(request.prompt_ids)

    def observe(self, outcome: Outcome) -> None:
        """Append what was emitted."""
        self._extend(outcome.emitted_ids)

    def propose(self, budget: int) -> Draft:
        """What followed the latest place with the longest match of the last tokens."""
        match_len, after = self._longest_match()
        if not match_len:
            return Draft()
        copied = self._ids[after : after + min(budget, match_len * TOKENS_PER_MATCHED)]
        if -1 in copied:
            copied = copied[: copied.index(-1)]
        return Draft(tuple(copied), self.name)

    def close(self) -> None:
        """Nothing is kept."""

    def _extend(self, token_ids: Sequence[int]) -> None:
        for token_id in token_ids:
            self._ids.append(token_id)
            end = len(self._ids)
            if end >= MIN_MATCH:
                self._places[tuple(self._ids[end - MIN_MATCH : end])].append(end)

    def _longest_match(self) -> tuple[int, int]:
        """(length, place after the match), by extending each place of the last two tokens backwards."""
        end = len(self._ids)
        if end < MIN_MATCH:
            return 0, 0
        best_len, best_place = 0, 0
        for place in reversed(self._places[tuple(self._ids[end - MIN_MATCH :])]):
            if place == end:
                continue
            length = MIN_MATCH
            while length < min(MAX_MATCH, place) and self._ids[place - length - 1] == self._ids[end - length - 1]:
                length += 1
            if length > best_len:
                best_len, best_place = length, place
            if best_len == MAX_MATCH:
                break
        return best_len, best_place
