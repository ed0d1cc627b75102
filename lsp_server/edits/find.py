"""Finds the next edit of a document in what the user changed last: the lane that needs no model.

Each rule returns what it is sure of; the first that has something decides. It knows no session and no wire, and may
run in any thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from lsp_server.documents.store import Cursor
from lsp_server.edits.alike import due_alike
from lsp_server.edits.code import Code
from lsp_server.edits.history import Hunk
from lsp_server.edits.imports import due_for_imports
from lsp_server.edits.pairs import due_in_pair
from lsp_server.edits.proposal import Edit, Replaced
from lsp_server.edits.rename import Renamed, due_for_rename
from lsp_server.edits.signature import due_for_signature
from lsp_server.edits.swaps import swapped_names

# chosen: what was changed longer ago asks for nothing any more.
MAX_AGE_S: Final = 120.0
MAX_CHARS: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A document's lines, where the cursor is, and the hunks that were changed lately, the latest first.

    `is_alone` is false where other documents share its names: a cell of a notebook, a package's `__init__.py`.
    """

    lines: Sequence[str]
    language: str
    cursor: Cursor
    hunks: Sequence[Hunk]
    is_alone: bool = True


Rule = Callable[[Code, Question], list[Replaced]]


def find_edits(question: Question) -> list[Edit]:
    """Return the edits that are due, the next one first: those below the cursor come before those above it."""
    if not question.hunks or sum(map(len, question.lines)) > MAX_CHARS:
        return []
    code = Code(question.lines, question.language)
    for why, rule in RULES.items():
        if due := rule(code, question):
            edits = _by_line(code, due, why)
            return sorted(edits, key=lambda edit: (edit.start.line < question.cursor.line, edit.start))
    return []


def _renamed(code: Code, question: Question) -> list[Replaced]:
    pairs: dict[tuple[str, str], dict[Cursor, bool]] = {}
    for hunk in question.hunks:
        for old, new, cursors in swapped_names(hunk):
            pairs.setdefault((old, new), {}).update(dict.fromkeys(cursors, not hunk.is_ours))
    for (old, new), by_user in pairs.items():
        if old not in code.text:
            continue
        changed = tuple(sorted(code.starts[cursor.line] + cursor.column for cursor in by_user))
        word = re.compile(rf"(?<!\w){re.escape(new)}(?!\w)")
        came = [hunk for hunk in question.hunks if not word.search("".join(hunk.versions[0]))]
        renamed = Renamed(
            old=old,
            new=new,
            changed=tuple(at for at in changed if code.masked.startswith(new, at)),
            lines=frozenset(line for hunk in came for line in range(hunk.first, hunk.end)),
            is_sure=sum(by_user.values()) > 1,
        )
        if due := due_for_rename(code, renamed):
            return due
    return []


def _alike(code: Code, question: Question) -> list[Replaced]:
    return due_alike(code, [hunk for hunk in question.hunks if not hunk.is_ours])


def _called(code: Code, question: Question) -> list[Replaced]:
    return due_for_signature(code, question.hunks)


def _paired(code: Code, question: Question) -> list[Replaced]:
    return due_in_pair(code, question.hunks, question.language)


def _imported(code: Code, question: Question) -> list[Replaced]:
    return due_for_imports(code, question.hunks, question.language) if question.is_alone else []


RULES: Final[dict[str, Rule]] = {
    "rename": _renamed,
    "parameters": _called,
    "other half": _paired,
    "changed alike": _alike,
    "import": _imported,
}


def _by_line(code: Code, due: Sequence[Replaced], why: str) -> list[Edit]:
    """Return one edit for each line, from the first piece to the last."""
    lines: dict[int, list[Replaced]] = {}
    for one in sorted(due):
        lines.setdefault(code.cursor(one.at).line, []).append(one)
    edits: list[Edit] = []
    for pieces in lines.values():
        start, end = pieces[0].at, pieces[-1].at + len(pieces[-1].old)
        new, at = "", start
        for piece in pieces:
            new += code.text[at : piece.at] + piece.new
            at = piece.at + len(piece.old)
        edits.append(Edit(start=code.cursor(start), end=code.cursor(end), old=code.text[start:end], new=new, why=why))
    return edits
