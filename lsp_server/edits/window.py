"""Cuts out of a document what a model is asked about: a region of some lines, what stands around, and recent edits.

All text is masked as for completions, and lines end alike here, whatever ends them in the document. It must not
know formats of prompts, the engine or the wire.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from lsp_server.context.masking import mask_text
from lsp_server.documents.store import Cursor, without_end
from lsp_server.edits.find import Question
from lsp_server.edits.history import Hunk

# chosen: models for next edits were taught with about twenty lines, which a processor writes in a second.
NUM_ABOVE: Final = 6
NUM_BELOW: Final = 14
NUM_AROUND: Final = 12
MAX_RECENT: Final = 4
MAX_LINE_CHARS: Final = 500
_NAME: Final = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """A recent edit: lines from `first` on that were `old` and are `new`. `is_ours` if it was offered and accepted."""

    first: int
    old: tuple[str, ...]
    new: tuple[str, ...]
    is_ours: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A `region` of lines from `first` on, some lines `above` and `below` it, and the recent edits, the oldest first.

    `cursor` is a place in the region. The first `num_begun` lines of the region are taken to stay as they are.
    """

    path: str
    language: str
    first: int
    region: tuple[str, ...]
    above: tuple[str, ...]
    below: tuple[str, ...]
    cursor: Cursor
    recent: tuple[Recent, ...]
    num_begun: int = 0

    @property
    def begun(self) -> tuple[str, ...]:
        """Return the lines of the region that stay as they are."""
        return self.region[: self.num_begun]


def window_of(question: Question, path: str) -> Window | None:
    """Return what to ask a model about; None where nothing was changed, or a secret or a huge line stands there."""
    if not question.hunks:
        return None
    lines, gone = question.lines, frozenset(_gone(question.hunks[0]))
    place = _place(question, gone)
    first, end = max(0, place.line - NUM_ABOVE), min(len(lines), place.line + NUM_BELOW)
    while end > place.line + 1 and not lines[end - 1].strip():
        end -= 1
    region = _plain(lines[first:end])
    if mask_text("".join(region)) != "".join(region) or max(map(len, region)) > MAX_LINE_CHARS:
        return None
    due = (number for number, line in enumerate(region) if gone.intersection(_NAME.findall(line)))
    return Window(
        path=path,
        language=question.language,
        first=first,
        region=region,
        above=_masked(lines[max(0, first - NUM_AROUND) : first]),
        below=_masked(lines[end : end + NUM_AROUND]),
        cursor=Cursor(place.line - first, place.column),
        recent=tuple(_recent(hunk) for hunk in reversed(question.hunks[:MAX_RECENT]) if not hunk.is_taken_back),
        num_begun=min(place.line - first, next(due, len(region))),
    )


def _place(question: Question, gone: frozenset[str]) -> Cursor:
    """Return the place to ask about: where a name stands that was just taken away elsewhere, else the cursor."""
    cursor = question.cursor
    near = range(max(0, cursor.line - NUM_ABOVE), cursor.line + NUM_BELOW)
    hunk = question.hunks[0]
    due = [
        number
        for number, line in enumerate(question.lines)
        if not hunk.first <= number < hunk.end and gone and gone.intersection(_NAME.findall(line))
    ]
    if not due or any(number in near for number in due):
        return cursor
    return Cursor(min(due, key=lambda number: (number < cursor.line, abs(number - cursor.line))), 0)


def _gone(hunk: Hunk) -> Iterator[str]:
    """Yield the names that a hunk had before and has no more."""
    now = set(_NAME.findall("".join(hunk.lines)))
    for name in _NAME.findall("".join(hunk.versions[0])):
        if name not in now:
            yield name


def _recent(hunk: Hunk) -> Recent:
    return Recent(first=hunk.first, old=_masked(hunk.versions[0]), new=_masked(hunk.lines), is_ours=hunk.is_ours)


def _plain(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(without_end(line) + "\n" for line in lines)


def _masked(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(mask_text("".join(_plain(lines))).splitlines(keepends=True))
