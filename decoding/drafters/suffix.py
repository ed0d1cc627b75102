"""Drafts by what followed the last tokens in texts of before, on this machine: live ones, and datastores of code.

SuffixDecoding, Oliaro et al. 2024 (https://arxiv.org/abs/2411.04975), over a bounded automaton of what was asked and
answered; REST, He et al. 2023 (https://arxiv.org/abs/2311.08252), over suffix arrays on disk. Every source names what
followed its longest match and how often; what promises most tokens is the draft, and the others are its rivals.

It must not know files: it is given what can be searched.
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
# What the live text is so sure of, the datastores are not asked about.
SURE: Final = 0.6
MAX_PROMPT_IDS: Final = 1024  # learnt before the first step, the latest of them
MAX_HINT_IDS: Final = 512

Stores = Callable[[], Sequence[SuffixArray]]


class _Cursor:
    """How much of the end of a text an automaton holds, as the text goes on."""

    def __init__(self, automaton: Automaton, token_ids: Sequence[int]) -> None:
        self.automaton = automaton
        self.state, self.matched = automaton.find(token_ids)

    def follow(self, token_id: int) -> None:
        self.state, self.matched = self.automaton.follow(self.state, self.matched, token_id)


class SuffixDrafter:
    """Reads along in the live text and asks the datastores."""

    name = "suffix"
    cost = PER_PROPOSAL
    needs = NOTHING
    num_unread = 0

    def __init__(self, live: Callable[[], LiveText], stores: Stores) -> None:
        """`live` and `stores` are asked at each request; all sessions share them."""
        self._live_now, self._stores_now = live, stores
        self._live = live()
        self._stores: Sequence[SuffixArray] = ()
        self._cursors: list[_Cursor] = []
        self._writer: Writer | None = None
        self._request = DraftRequest(prompt_ids=())
        self._ids: list[int] = []
        self._learnt_ids: list[int] = []

    def begin(self, request: DraftRequest) -> None:
        """Learn what is new of the prompt and of the hints, and find its end in what was learnt before."""
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
        """Go on in all automata, and learn what was emitted."""
        self._read(outcome.emitted_ids)
        self._ids += outcome.emitted_ids

    def propose(self, budget: int) -> Draft:
        """The chain that promises most tokens, and at most three others."""
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
        """What was learnt stays, for all sessions."""
        self._learnt_ids = self._ids
        self._cursors, self._writer, self._stores = [], None, ()

    def _learn_prompt(self) -> None:
        """Read what differs from the text of before, and stand behind the prompt then."""
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
        """Go on from a text that is known."""
        self._writer = self._live.open(token_ids)
        self._cursors = [_Cursor(automaton, token_ids) for automaton in self._live.automata]

    def _read(self, token_ids: Sequence[int]) -> None:
        """Follow each token and only then learn it: it is no match of itself."""
        for token_id in token_ids:
            for cursor in self._cursors:
                cursor.follow(token_id)
            if self._writer is not None:
                self._writer.write((token_id,))

    def _allowed(self) -> Sequence[int] | None:
        """What healing allows for the first token: the match stands before what was taken back."""
        healing = self._request.healing
        return None if healing is None else healing.allowed_next(self._ids[len(self._request.prompt_ids) :])


def _from_automaton(cursor: _Cursor, length: int) -> list[Chain]:
    """The likeliest way on from a match, and those that begin otherwise, the likeliest first."""
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
    # What is only known as the beginning of another text was not counted.
    return in_own_text(counts[token_id] or 1, sum(counts.values()) or len(counts), match_len)


def _without_beginnings(chains: Sequence[Chain]) -> list[Chain]:
    """The chains that no better one goes on from or begins with."""
    kept: list[Chain] = []
    for chain in chains:
        if not any(
            common_prefix_len(chain.token_ids, other.token_ids) == min(len(chain.token_ids), len(other.token_ids))
            for other in kept
        ):
            kept.append(chain)
    return kept
