"""A suffix automaton that grows token by token: every run of tokens that its texts have, and how often it stood there.

Blumer et al. 1985 (https://doi.org/10.1016/0304-3975(85)90157-4), for several texts; as a source of drafts:
SAM-Decoding, Hu et al. 2024 (https://arxiv.org/abs/2411.10666). To follow a text takes constant time a token.

It knows tokens alone. `LiveText` bounds its memory: the oldest half is forgotten at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

ROOT: Final = 0
# Of a run that is added, only so many of its ends are counted: in a text of one token, they are as many as tokens.
MAX_COUNTED: Final = 48
MAX_FOLLOWERS: Final = 64
# About 300 bytes each; a token of code makes one and a half.
MAX_STATES: Final = 100_000


class Automaton:
    """States are numbers; each stands for runs of tokens that end at the same places, of which it knows the longest."""

    def __init__(self) -> None:
        self.num_tokens = 0
        self._next: list[dict[int, int]] = [{}]
        self._link = [-1]
        self._length = [0]
        self._count = [0]

    def __len__(self) -> int:
        return len(self._next)

    def extend(self, state: int, token_id: int, *, is_new: bool = True) -> int:
        """The state of a text that went to `state` and goes on with this token; `is_new` counts it."""
        nexts, length = self._next, self._length
        if token_id in nexts[state]:
            after = nexts[state][token_id]
            if length[after] != length[state] + 1:
                after = self._split(after, state, token_id)
        else:
            after = self._add({}, length[state] + 1, 0)
            place = state
            while place >= 0 and token_id not in nexts[place]:
                nexts[place][token_id] = after
                place = self._link[place]
            link = ROOT
            if place >= 0:
                link = nexts[place][token_id]
                if length[link] != length[place] + 1:
                    link = self._split(link, place, token_id)
            self._link[after] = link
        if is_new:
            self.num_tokens += 1
            self._count_ends(after)
        return after

    def follow(self, state: int, matched: int, token_id: int) -> tuple[int, int]:
        """State and length of the longest end of what was matched, with this token, that is held."""
        while token_id not in self._next[state]:
            if state == ROOT:
                return ROOT, 0
            state = self._link[state]
            matched = self._length[state]
        return self._settled(self._next[state][token_id], matched + 1)

    def find(self, token_ids: Sequence[int]) -> tuple[int, int]:
        """The same for all of some tokens."""
        state, matched = ROOT, 0
        for token_id in token_ids:
            state, matched = self.follow(state, matched, token_id)
        return state, matched

    def followers(self, state: int, matched: int) -> tuple[int, int, dict[int, int]]:
        """What followed the longest end of a match that anything followed: its state and length, and how often what."""
        state, matched = self._settled(state, matched)
        while not self._next[state] and state != ROOT:
            state = self._link[state]
            matched = self._length[state]
        return state, matched, self.counts(state)

    def counts(self, state: int) -> dict[int, int]:
        """What followed the runs of a state, and how often; nothing where so much did that none of it is likely."""
        if len(self._next[state]) > MAX_FOLLOWERS:
            return {}
        return {token_id: self._count[after] for token_id, after in self._next[state].items()}

    def after(self, state: int, token_id: int) -> int:
        """Where a token leads that follows a state."""
        return self._next[state][token_id]

    def _settled(self, state: int, matched: int) -> tuple[int, int]:
        """The state of what was matched, which may be shorter than all that a state was split off for since."""
        while state != ROOT and matched <= self._length[self._link[state]]:
            state = self._link[state]
        return state, matched

    def _add(self, nexts: dict[int, int], length: int, count: int) -> int:
        self._next.append(nexts)
        self._length.append(length)
        self._count.append(count)
        self._link.append(ROOT)
        return len(self._next) - 1

    def _split(self, state: int, before: int, token_id: int) -> int:
        """A state of its own for those runs of `state` that are `before` and this token, or ends of that."""
        short = self._add(dict(self._next[state]), self._length[before] + 1, self._count[state])
        self._link[short], self._link[state] = self._link[state], short
        while before >= 0 and self._next[before].get(token_id) == state:
            self._next[before][token_id] = short
            before = self._link[before]
        return short

    def _count_ends(self, state: int) -> None:
        counted = 0
        while state != ROOT and counted < MAX_COUNTED:
            self._count[state] += 1
            state = self._link[state]
            counted += 1


class Writer:
    """Adds to one text."""

    def __init__(self, automaton: Automaton, known_ids: Sequence[int]) -> None:
        self.automaton = automaton
        self._state = ROOT
        for token_id in known_ids:
            self._state = automaton.extend(self._state, token_id, is_new=False)

    def write(self, token_ids: Sequence[int]) -> None:
        """Go on with these."""
        for token_id in token_ids:
            self._state = self.automaton.extend(self._state, token_id)


class LiveText:
    """Texts that are learnt as they come, in two automata: when the younger is full, the older one is dropped.

    The younger stands first. A text is written to its end where it was begun, so the bound is exceeded by that much.
    """

    def __init__(self, max_states: int = MAX_STATES) -> None:
        self._max_young = max_states // 2
        self.automata: tuple[Automaton, ...] = (Automaton(),)

    @property
    def num_tokens(self) -> int:
        """Of all texts held."""
        return sum(automaton.num_tokens for automaton in self.automata)

    def open(self, known_ids: Sequence[int] = ()) -> Writer:
        """Begin a text; `known_ids` are only there so that what is written has something before it."""
        if len(self.automata[0]) >= self._max_young:
            self.automata = (Automaton(), self.automata[0])
        return Writer(self.automata[0], known_ids)

    def holds(self, token_ids: Sequence[int]) -> bool:
        """Whether all of these tokens were learnt in this order."""
        return any(automaton.find(token_ids)[1] == len(token_ids) for automaton in self.automata)
