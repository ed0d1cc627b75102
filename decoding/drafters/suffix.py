"""Drafts what followed the last tokens in earlier texts on this machine: live ones, and datastores of code.

SuffixDecoding, Oliaro et al. 2024 (https://arxiv.org/abs/2411.04975), over a bounded automaton of requests and answers;
REST, He et al. 2023 (https://arxiv.org/abs/2311.08252), over suffix arrays on disk. Every source tells what followed
its longest match and how often; the chain with the most expected tokens is the draft, and the others are its rivals. It
must not know files: it is given what can be searched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from decoding.datastore.suffix_array import DEPTH, SuffixArray
from decoding.drafters.chain_scoring import (
    MAX_RIVALS,
    MIN_PROBABILITY,
    in_foreign_text,
    in_own_text,
    num_expected,
    to_draft,
    vote,
)
from decoding.drafters.prompt_lookup import common_prefix_len
from decoding.drafters.suffix_automaton import Automaton, LiveText, Writer
from decoding.speculation.drafting import NOTHING, PER_PROPOSAL, Chain, Draft, DraftRequest, Outcome

MIN_MATCH: Final = 2
MAX_DRAFT: Final = 16
# chosen: where the live text is so sure of a token, the datastores are not searched.
SURE: Final = 0.6
MAX_PROMPT_IDS: Final = 1024  # chosen: so many of the prompt's last tokens are learnt before the first step
MAX_HINT_IDS: Final = 512

Stores = Callable[[], Sequence[SuffixArray]]


class _Cursor:
    """The state of an automaton behind a text that grows: how much of the text's end it holds."""

    def __init__(self, automaton: Automaton, token_ids: Sequence[int]) -> None:
        self.automaton = automaton
        self.state, self.matched = automaton.find(token_ids)

    def follow(self, token_id: int) -> None:
        self.state, self.matched = self.automaton.follow(self.state, self.matched, token_id)


class SuffixDrafter:
    """Follows the live text in all automata, and searches the datastores."""

    name = "suffix"
    cost = PER_PROPOSAL
    needs = NOTHING
    num_unread = 0

    def __init__(self, live: Callable[[], LiveText], stores: Stores) -> None:
        """`live` and `stores` are called at each request; all sessions share them."""
        self._live_now, self._stores_now = live, stores
        self._live = live()
        self._stores: Sequence[SuffixArray] = ()
        self._cursors: list[_Cursor] = []
        self._writer: Writer | None = None
        self._request = DraftRequest(prompt_ids=())
        self._ids: list[int] = []
        self._learnt_ids: list[int] = []

    def begin(self, request: DraftRequest) -> None:
        """Learn the new part of the prompt and of the hints, and find the prompt's end in what was learnt before."""
        self._request = request
        if (live := self._live_now()) is not self._live:
            self._live, self._learnt_ids = live, []
        self._stores = self._stores_now()
        self._ids = list(request.prompt_ids)
        for hint_ids in request.hint_ids:
            hint = list(hint_ids[-MAX_HINT_IDS:])
            if hint and not self._live.holds(hint):
                self._live.open().write(hint)
        self._learn_prompt()

    def observe(self, outcome: Outcome) -> None:
        """Follow the emitted tokens in all automata, and learn them."""
        self._read(outcome.emitted_ids)
        self._ids += outcome.emitted_ids

    def propose(self, budget: int) -> Draft:
        """Propose the chain with the most expected tokens, and at most three others."""
        length = min(budget, MAX_DRAFT)
        chains = [chain for cursor in self._cursors for chain in _from_automaton(cursor, length)]
        if not any(chain.scores[0] >= SURE for chain in chains):
            for store in self._stores:
                found = store.find(self._ids, length, MIN_MATCH)
                chains += vote(found.following, [1.0] * len(found.following), found.match_len, in_foreign_text)
        allowed = self._allowed()
        chains = [chain for chain in chains if allowed is None or chain.token_ids[0] in allowed]
        chains.sort(key=lambda chain: -num_expected(chain.scores))
        return to_draft(_without_beginnings(chains), budget, self.name)

    def close(self) -> None:
        """Do nothing: what was learnt stays, for all sessions."""
        self._learnt_ids = self._ids
        self._cursors, self._writer, self._stores = [], None, ()

    def _learn_prompt(self) -> None:
        """Learn the part of the prompt that differs from the text before, and stand behind the prompt then."""
        ids, last = self._ids, self._learnt_ids
        begin = common_prefix_len(ids, last)
        num_alike = min(common_prefix_len(ids[::-1], last[::-1]), len(ids) - begin, len(last) - begin)
        end = min(len(ids), len(ids) - num_alike + DEPTH) if begin < len(ids) - num_alike else begin
        begin = max(begin, end - MAX_PROMPT_IDS)
        self._stand_behind(ids[max(0, begin - DEPTH) : begin])
        self._read(ids[begin:end])
        if end < len(ids):
            self._stand_behind(ids[-DEPTH:])

    def _stand_behind(self, token_ids: Sequence[int]) -> None:
        """Move the cursors behind a known text."""
        self._writer = self._live.open(token_ids)
        self._cursors = [_Cursor(automaton, token_ids) for automaton in self._live.automata]

    def _read(self, token_ids: Sequence[int]) -> None:
        """Follow each token and only then learn it, so that it doesn't match itself."""
        for token_id in token_ids:
            for cursor in self._cursors:
                cursor.follow(token_id)
            if self._writer is not None:
                self._writer.write((token_id,))

    def _allowed(self) -> Sequence[int] | None:
        """Return the token ids that healing allows first, or None for all: the match ends before the healed bytes."""
        healing = self._request.healing
        return None if healing is None else healing.allowed_next(self._ids[len(self._request.prompt_ids) :])


def _from_automaton(cursor: _Cursor, length: int) -> list[Chain]:
    """Return the likeliest chain behind a match, and those that begin otherwise, the likeliest first."""
    automaton = cursor.automaton
    state, matched, counts = automaton.followers(cursor.state, cursor.matched)
    if matched < MIN_MATCH or not counts:
        return []
    chains = []
    for token_id in sorted(counts, key=lambda token_id: -counts[token_id])[: MAX_RIVALS + 1]:
        ids, scores, place = [token_id], [_score(counts, token_id, matched)], automaton.after(state, token_id)
        alive = scores[0]
        while len(ids) < length and (nexts := automaton.counts(place)):
            best = max(nexts, key=lambda token_id: nexts[token_id])
            found = _score(nexts, best, matched + len(ids))
            alive *= found
            if alive < MIN_PROBABILITY:
                break
            ids.append(best)
            scores.append(found)
            place = automaton.after(place, best)
        chains.append(Chain(tuple(ids), match_len=matched, scores=tuple(scores)))
    return chains


def _score(counts: Mapping[int, int], token_id: int, match_len: int) -> float:
    # A count of 0 is possible: text that was learnt only as context of another isn't counted.
    return in_own_text(counts[token_id] or 1, sum(counts.values()) or len(counts), match_len)


def _without_beginnings(chains: Sequence[Chain]) -> list[Chain]:
    """Return the chains that no better one contains or begins."""
    kept: list[Chain] = []
    for chain in chains:
        if not any(
            common_prefix_len(chain.token_ids, other.token_ids) == min(len(chain.token_ids), len(other.token_ids))
            for other in kept
        ):
            kept.append(chain)
    return kept
