"""Implements a suffix automaton that grows token by token: it holds every run of tokens of its texts, with counts.

Blumer et al. 1985 (https://doi.org/10.1016/0304-3975(85)90157-4), for several texts; as a source of drafts:
SAM-Decoding, Hu et al. 2024 (https://arxiv.org/abs/2411.10666). To follow a text takes constant time a token. It knows
tokens alone. `LiveText` bounds its memory: the oldest half is forgotten at once.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

ROOT: Final = 0
NOWHERE: Final = -1
NO_TOKEN: Final = -1
# chosen: of a run that is added, only so many of its ends are counted. A text that repeats one token would have as many
# ends as tokens.
MAX_COUNTED: Final = 48
MAX_FOLLOWERS: Final = 64
# chosen: about 10 MB. measured: a state takes about 100 bytes, and a token of code makes one and a half.
MAX_STATES: Final = 100_000


class Automaton:
    """A suffix automaton. A state is a number and stands for all runs of tokens that end at equal places.

    Of these runs a state knows the longest. Most states have one follower: those lie in arrays, and only further ones
    in dictionaries, of which a hundred thousand would keep the interpreter's garbage collector busy.
    """

    def __init__(self) -> None:
        self.num_tokens = 0
        self._link, self._length, self._count = array("i", [-1]), array("i", [0]), array("i", [0])
        self._first_id, self._first_to = array("i", [NO_TOKEN]), array("i", [NOWHERE])
        self._further: dict[int, dict[int, int]] = {}

    def __len__(self) -> int:
        return len(self._link)

    def extend(self, state: int, token_id: int, *, is_new: bool = True) -> int:
        """Return the state of a text that led to `state` and continues with this token; `is_new` counts it."""
        after = self.after(state, token_id)
        if after == NOWHERE:
            after = self._append(state, token_id)
        elif self._length[after] != self._length[state] + 1:
            after = self._split(after, state, token_id)
        if is_new:
            self.num_tokens += 1
            self._count_ends(after)
        return after

    def after(self, state: int, token_id: int) -> int:
        """Return the state behind a token that follows a state, `NOWHERE` if it never did."""
        if self._first_id[state] == token_id:
            return self._first_to[state]
        further = self._further.get(state)
        return NOWHERE if further is None else further.get(token_id, NOWHERE)

    def follow(self, state: int, matched: int, token_id: int) -> tuple[int, int]:
        """Return state and length of the longest end of the match, continued by this token, that is held."""
        while (after := self.after(state, token_id)) == NOWHERE:
            if state == ROOT:
                return ROOT, 0
            state = self._link[state]
            matched = self._length[state]
        return self._settled(after, matched + 1)

    def find(self, token_ids: Sequence[int]) -> tuple[int, int]:
        """Return state and length of the longest end of these tokens that is held."""
        state, matched = ROOT, 0
        for token_id in token_ids:
            state, matched = self.follow(state, matched, token_id)
        return state, matched

    def followers(self, state: int, matched: int) -> tuple[int, int, dict[int, int]]:
        """Return state and length of the longest end of a match that has followers, and the count of each follower."""
        state, matched = self._settled(state, matched)
        while self._first_id[state] == NO_TOKEN and state != ROOT:
            state = self._link[state]
            matched = self._length[state]
        return state, matched, self.counts(state)

    def counts(self, state: int) -> dict[int, int]:
        """Return the counts of a state's followers; empty if there are so many that none of them is likely."""
        if self._first_id[state] == NO_TOKEN:
            return {}
        found = {self._first_id[state]: self._count[self._first_to[state]]}
        if further := self._further.get(state):
            if len(further) >= MAX_FOLLOWERS:
                return {}
            for token_id, after in further.items():
                found[token_id] = self._count[after]
        return found

    def _append(self, state: int, token_id: int) -> int:
        """Make a new state behind one that no such token followed."""
        after = self._add(self._length[state] + 1, 0)
        while state != NOWHERE and (known := self.after(state, token_id)) == NOWHERE:
            self._lead(state, token_id, after)
            state = self._link[state]
        if state != NOWHERE:
            is_whole = self._length[known] == self._length[state] + 1
            self._link[after] = known if is_whole else self._split(known, state, token_id)
        return after

    def _settled(self, state: int, matched: int) -> tuple[int, int]:
        """Return the state of a match, which may be shorter than all runs that a state has kept since it was split."""
        while state != ROOT and matched <= self._length[self._link[state]]:
            state = self._link[state]
        return state, matched

    def _add(self, length: int, count: int) -> int:
        self._link.append(ROOT)
        self._length.append(length)
        self._count.append(count)
        self._first_id.append(NO_TOKEN)
        self._first_to.append(NOWHERE)
        return len(self._link) - 1

    def _lead(self, state: int, token_id: int, after: int) -> None:
        if self._first_id[state] in (NO_TOKEN, token_id):
            self._first_id[state], self._first_to[state] = token_id, after
        else:
            self._further.setdefault(state, {})[token_id] = after

    def _split(self, state: int, before: int, token_id: int) -> int:
        """Make a state of its own for those runs of `state` that are `before` and this token, or ends of that."""
        short = self._add(self._length[before] + 1, self._count[state])
        self._first_id[short], self._first_to[short] = self._first_id[state], self._first_to[state]
        if state in self._further:
            self._further[short] = dict(self._further[state])
        self._link[short], self._link[state] = self._link[state], short
        while before != NOWHERE and self.after(before, token_id) == state:
            self._lead(before, token_id, short)
            before = self._link[before]
        return short

    def _count_ends(self, state: int) -> None:
        counted = 0
        while state != ROOT and counted < MAX_COUNTED:
            self._count[state] += 1
            state = self._link[state]
            counted += 1


class Writer:
    """Appends tokens to one text of an automaton."""

    def __init__(self, automaton: Automaton, known_ids: Sequence[int]) -> None:
        self.automaton = automaton
        self._state = ROOT
        for token_id in known_ids:
            self._state = automaton.extend(self._state, token_id, is_new=False)

    def write(self, token_ids: Sequence[int]) -> None:
        """Append these tokens to the text."""
        for token_id in token_ids:
            self._state = self.automaton.extend(self._state, token_id)


class LiveText:
    """Learns texts as they come, in two automata: when the younger is full, the older one is dropped.

    The younger stands first. A text is written to its end where it was begun, so the bound is exceeded by that much.
    """

    def __init__(self, max_states: int = MAX_STATES) -> None:
        self._max_young = max_states // 2
        self.automata: tuple[Automaton, ...] = (Automaton(),)

    @property
    def num_tokens(self) -> int:
        """The number of tokens of all texts held."""
        return sum(automaton.num_tokens for automaton in self.automata)

    def open(self, known_ids: Sequence[int] = ()) -> Writer:
        """Start a text; `known_ids` only give the first tokens something to stand behind."""
        if len(self.automata[0]) >= self._max_young:
            self.automata = (Automaton(), self.automata[0])
        return Writer(self.automata[0], known_ids)

    def holds(self, token_ids: Sequence[int]) -> bool:
        """Return whether all of these tokens were learnt in this order."""
        return any(automaton.find(token_ids)[1] == len(token_ids) for automaton in self.automata)
