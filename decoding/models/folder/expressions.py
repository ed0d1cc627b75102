r"""Judges a tokenizer's regular expressions by their text: whether a match takes a bounded number of attempts.

Tokenizers match by backtracking (Oniguruma), and an expression such as `(a+)+$` makes a request that never ends.
No clock and no process of its own is needed against that: a probe would have to guess the text that hurts, while the
number of ways in which an expression can match is a simple sum over its parts. What can't be shown to be harmless is
refused. A repeat of a single character is harmless, and so are a repeat of a group that matches in one way only, and
several repeats of which no later one can fail; all published families' expressions are of these kinds.

The estimate is for a text of `NUM_CHARACTERS`, from one place in it. It is never too small, as every repeat is taken
to match everything. Knows no tokenizer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import reduce
from typing import Final

NUM_CHARACTERS: Final = 4096
# measured: published expressions need up to 24 attempts a character, a repeat within a repeat some thousand and more.
MAX_ATTEMPTS: Final = 64 * NUM_CHARACTERS
MAX_EXPRESSION: Final = 20_000
MAX_GROUPS: Final = 50  # chosen: groups may be nested so deeply
MAX_COUNT: Final = 32  # chosen: counted repeats up to this number are computed exactly, larger ones as unbounded
LARGEST: Final = 1e30

_COUNTED: Final = re.compile(r"\{(\d*)(,?)(\d*)\}")
_FLAGS: Final = re.compile(r"\?[imasuW]*(?:-[ims]+)?(?=[:)])")
_OPENING: Final = re.compile(r"\?(?:<?[=!]|[:>]|<\w+>)")
_ESCAPE: Final = re.compile(r"\\(?:[pP]\{\^?[\w ]+\}|x\{[0-9A-Fa-f]+\}|x[0-9A-Fa-f]{1,2}|u[0-9A-Fa-f]{4}|[^1-9gkXpP])")
_CONTROLS: Final = {"r": "\r", "n": "\n", "t": "\t"}


class UnknownFormError(Exception):
    """A part of an expression that this module doesn't understand."""


@dataclass(frozen=True, slots=True)
class Cost:
    """How a part of an expression behaves at one place of a text, in numbers of attempts.

    `ways` counts the ways in which it may match; `fail` is what it costs until it has failed, `win` until it has
    matched first, `every` until all its ways were tried. `is_sure` says that it can't fail. `literal` is the one
    character that it begins with, if it matches anything, and "" where it may be one of several.
    """

    ways: float = 1
    fail: float = 1
    win: float = 1
    every: float = 1
    is_sure: bool = False
    literal: str = ""


CHARACTER: Final = Cost()
NOTHING: Final = Cost(fail=0, is_sure=True)


def why_not_bounded(expression: str) -> str:
    """Return why matches of an expression may take unbounded attempts, or "" if none does."""
    if len(expression) > MAX_EXPRESSION:
        return f"it has more than {MAX_EXPRESSION:,} characters"
    try:
        parser = _Parser(expression)
        cost = parser.alternatives(0)
        if not parser.is_at_end:
            return "its brackets don't match"
    except UnknownFormError as error:
        return str(error)
    return "" if max(cost.fail, cost.win) <= MAX_ATTEMPTS else "on some texts it would try for ever"


def _sequence(first: Cost, then: Cost) -> Cost:
    if first.is_sure and first.literal and then.literal and not then.is_sure and first.literal != then.literal:
        return replace(then, win=first.win + then.win, literal="")  # as in \r?\n: the text decides between the two
    literal = "" if first.is_sure else first.literal
    ways = min(first.ways * then.ways, LARGEST)
    every = min(first.every + first.ways * then.every, LARGEST)
    if then.is_sure:  # what follows can't fail, so the first part is never tried another way
        return Cost(ways, first.fail, first.win + then.win, every, first.is_sure, literal)
    tried = min(first.every + first.ways * then.fail, LARGEST)
    return Cost(ways, max(first.fail, tried), tried + then.win, every, literal=literal)


def _either(first: Cost, other: Cost) -> Cost:
    return Cost(
        min(first.ways + other.ways, LARGEST),
        first.fail + other.fail,
        max(first.win, first.fail + other.win),
        first.every + other.every,
        first.is_sure or other.is_sure,
    )


def _optional(part: Cost) -> Cost:
    return Cost(part.ways + 1, 0, max(part.win, part.fail), part.every + 1, is_sure=True, literal=part.literal)


def _repeated(part: Cost, least: int, most: int | None) -> Cost:
    """Return the cost of a part `least` to `most` times, or without an upper bound."""
    if most is not None and most <= MAX_COUNT:
        optional = reduce(lambda rest, _: _optional(_sequence(part, rest)), range(most - least), NOTHING)
        return reduce(lambda rest, _: _sequence(part, rest), range(least), optional)
    if part.ways > 1:
        raise UnknownFormError("it repeats a group that can match in several ways")
    number = float(NUM_CHARACTERS)
    work = number * part.every
    return Cost(number, part.fail if least else 0, work, work, is_sure=not least)


class _Parser:
    """Reads an expression in Oniguruma's form and adds up its cost."""

    def __init__(self, expression: str) -> None:
        self._text, self._at = expression, 0

    @property
    def is_at_end(self) -> bool:
        """Whether the whole expression was read."""
        return self._at == len(self._text)

    def alternatives(self, depth: int) -> Cost:
        """Return the cost up to the end of a group, or of the whole."""
        if depth > MAX_GROUPS:
            raise UnknownFormError("its groups are nested too deeply")
        cost = self._one_after_another(depth)
        while self._skip("|"):
            cost = _either(cost, self._one_after_another(depth))
        return cost

    def _one_after_another(self, depth: int) -> Cost:
        parts: list[Cost] = []
        while not self.is_at_end and self._text[self._at] not in "|)":
            parts.append(self._quantified(self._part(depth)))
        # From the last to the first: a part's cost depends on whether what follows can fail.
        return reduce(lambda rest, part: _sequence(part, rest), reversed(parts), NOTHING)

    def _part(self, depth: int) -> Cost:
        character = self._text[self._at]
        if character == "(":
            return self._group(depth)
        if character == "[":
            self._class(depth)
            return CHARACTER
        if character == "\\":
            found = _ESCAPE.match(self._text, self._at)
            if found is None:
                raise UnknownFormError("it refers to its own groups, or has an escape that is not known")
            self._at = found.end()
            return Cost(literal=_CONTROLS.get(found[0][1], ""))
        if character in "?*+":
            raise UnknownFormError("it repeats nothing")
        self._at += 1
        return CHARACTER if character in ".^$" else Cost(literal=character.casefold())

    def _quantified(self, part: Cost) -> Cost:
        while not self.is_at_end:
            counted = _COUNTED.match(self._text, self._at)
            character = self._text[self._at]
            if character in "?*+":
                self._at += 1
                part = _optional(part) if character == "?" else _repeated(part, int(character == "+"), None)
            elif counted and (counted[1] or counted[3]):
                self._at = counted.end()
                least = int((counted[1] or "0")[:6])
                most = int(counted[3][:6]) if counted[3] else None if counted[2] else least
                if most is not None and most < least:
                    raise UnknownFormError("it counts backwards")
                part = _repeated(part, min(least, MAX_COUNT), most)
            else:
                break
            if not self._skip("?"):  # a lazy repeat has as many ways as a greedy one
                self._skip("+")
        return part

    def _group(self, depth: int) -> Cost:
        self._at += 1
        is_look = False
        if self._text.startswith("?", self._at):
            if flags := _FLAGS.match(self._text, self._at):
                self._at = flags.end()
                if self._skip(")"):  # options such as (?i) hold up to the end of the group around them
                    return self.alternatives(depth + 1)
                self._at += 1
            elif opening := _OPENING.match(self._text, self._at):
                self._at = opening.end()
                is_look = opening[0][-1] in "=!"
            else:
                raise UnknownFormError("it has a group of a kind that is not known")
        cost = self.alternatives(depth + 1)
        if not self._skip(")"):
            raise UnknownFormError("its brackets don't match")
        if is_look:
            once = max(cost.fail, cost.win)
            return Cost(1, once, once, once)
        return cost

    def _class(self, depth: int) -> None:
        """Skip a class of characters, which may hold other classes."""
        if depth > MAX_GROUPS:
            raise UnknownFormError("its classes are nested too deeply")
        self._at += 1
        self._skip("^")
        if self._text.startswith("]", self._at):
            raise UnknownFormError("it has an empty class")
        while not self._skip("]"):
            if self.is_at_end:
                raise UnknownFormError("its brackets don't match")
            if self._text.startswith("[:", self._at) and (end := self._text.find(":]", self._at)) > 0:
                self._at = end + 2
            elif self._text.startswith("[", self._at):
                self._class(depth + 1)
            else:
                self._at += 2 if self._text.startswith("\\", self._at) else 1

    def _skip(self, text: str) -> bool:
        if not self._text.startswith(text, self._at):
            return False
        self._at += len(text)
        return True
