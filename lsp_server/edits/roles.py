"""Defines what a name at a place may be: where it is bound, read, or part of something else."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, Protocol

Kind = Literal["bind", "read", "shorthand", "member", "field", "other", "unsure"]
"""What a name does at its place.

`bind` gives a value a name, and `read` uses it; `shorthand` does so as `{name}` for `{name: name}`. `member` defines a
method or field of a class or type, and `field` uses one through the object itself, as `self.name`. `other` is anything
that a rename of a variable leaves alone: a member of some object, a keyword, a key. Of the `unsure` nothing is known.
"""


class Role(NamedTuple):
    """What a name does at its place; `start` and `end` enclose the code in which a binding holds, or the class."""

    kind: Kind
    start: int = 0
    end: int = 0


READ: Final = Role("read")
OTHER: Final = Role("other")
UNSURE: Final = Role("unsure")


class Roles(Protocol):
    """Tells what names are in one document."""

    def role(self, at: int, name: str) -> Role:
        """Return what the name at an offset does."""
        ...

    def hides(self, at: int, name: str) -> bool:
        """Return whether a name that is read at an offset is one of its own class, and not the one outside of it."""
        ...
