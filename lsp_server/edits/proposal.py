"""Defines an edit that is proposed, how it is applied, and how it follows a text that moves on. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from lsp_server.documents.store import Cursor, split_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of a document by whole lines: from line `first` on, `old` lines became `new` ones, with their ends."""

    first: int
    old: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def end(self) -> int:
        """Return the line behind the old lines."""
        return self.first + len(self.old)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A proposed edit: the text from `start` to `end`, which is `old`, becomes `new`. `why` is for people."""

    start: Cursor
    end: Cursor
    old: str
    new: str
    why: str


class Replaced(NamedTuple):
    """A piece of the text at an offset, and what it becomes."""

    at: int
    old: str
    new: str


def text_between(lines: Sequence[str], start: Cursor, end: Cursor) -> str:
    """Return the text of lines with their ends between two places."""
    if start.line == end.line:
        return lines[start.line][start.column : end.column]
    last = lines[end.line][: end.column] if end.line < len(lines) else ""
    return "".join((lines[start.line][start.column :], *lines[start.line + 1 : end.line], last))


def fits(edit: Edit, lines: Sequence[str]) -> bool:
    """Return whether the text that an edit replaces stands at its place."""
    return edit.end.line < len(lines) and text_between(lines, edit.start, edit.end) == edit.old


def applied(edit: Edit, lines: Sequence[str]) -> list[str]:
    """Return the lines that an edit leads to. It must fit them."""
    joined = lines[edit.start.line][: edit.start.column] + edit.new + lines[edit.end.line][edit.end.column :]
    changed = split_lines(joined)
    if edit.end.line + 1 < len(lines) and changed[-1] == "":
        changed.pop()  # the text ends with a line end, behind which the next line begins
    return [*lines[: edit.start.line], *changed, *lines[edit.end.line + 1 :]]


def rebased(edit: Edit, changes: Iterable[Change], lines: Sequence[str]) -> Edit | None:
    """Return an edit as it is behind later changes; None if one of them touched its lines.

    `lines` are the document's after the changes: whatever they did, an edit that doesn't fit them is dropped.
    """
    for change in changes:
        if change.first > edit.end.line:
            continue
        if change.end > edit.start.line:
            return None
        moved = len(change.new) - len(change.old)
        start, end = (Cursor(place.line + moved, place.column) for place in (edit.start, edit.end))
        edit = replace(edit, start=start, end=end)
    return edit if fits(edit, lines) else None
