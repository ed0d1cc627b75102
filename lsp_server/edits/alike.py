"""Finds what is due where the same tokens were changed alike on two lines: further lines with that pattern of tokens.

One changed value may be meant for its place alone, so that it takes two, with the same tokens around them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from lsp_server.edits.code import Code
from lsp_server.edits.history import Hunk
from lsp_server.edits.proposal import Replaced
from lsp_server.edits.rename import KEYWORDS, has_roles, is_name
from lsp_server.edits.swaps import Swap, Token, swaps_of, tokens_of

MIN_CONTEXT: Final = 2
MAX_CONTEXT: Final = 6
MAX_PLACES: Final = 50
_TELLING: Final = re.compile(r"[^\W\d]\w{2,}\Z")


def due_alike(code: Code, hunks: Sequence[Hunk]) -> list[Replaced]:
    """Return the places whose tokens are those that were changed alike in two hunks, with the same around them."""
    swaps = {(swap.line, swap.old): swap for hunk in reversed(hunks) for swap in swaps_of(hunk)}
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Swap]] = {}
    for swap in swaps.values():
        groups.setdefault((swap.old, _texts(swap.new)), []).append(swap)
    for (old, _), alike in reversed(groups.items()):
        if len({swap.line for swap in alike}) > 1 and (due := _due(code, old, alike)):
            return due
    return []


def _due(code: Code, old: tuple[str, ...], alike: Sequence[Swap]) -> list[Replaced]:
    if len(old) == 1 and is_name(old[0], code.language) and has_roles(code.language):
        is_member = all(swap.left and swap.left[-1].text == "." for swap in alike)
        if not is_member:
            return []  # that is a rename's business, which knows of scopes
    left = _up_to_telling(_common([_texts(swap.left)[::-1] for swap in alike]))[::-1]
    right = _up_to_telling(_common([_texts(swap.right) for swap in alike]))
    if left and _is_telling(left[0]):
        right = right[:1] if len(left) < MIN_CONTEXT else ()
    if len(left) + len(right) < MIN_CONTEXT or not any(map(_is_telling, (*left, *right))):
        return []
    pattern = (*left, *old, *right)
    swap = alike[-1]
    new_line = code.lines[swap.line]
    new = new_line[swap.new[0].column : swap.new[-1].column + len(swap.new[-1].text)]
    changed = {swap.line for swap in alike}
    telling = max(pattern, key=len)
    due: list[Replaced] = []
    for number, line in enumerate(code.lines):
        if telling not in line or number in changed:
            continue
        found = _find(tokens_of(line), pattern)
        if found is None:
            continue
        first, last = found[len(left)], found[len(left) + len(old) - 1]
        at = code.starts[number] + first.column
        if code.masked[code.starts[number] + found[0].column].isspace():  # in a comment, or within a long string
            continue
        due.append(Replaced(at, line[first.column : last.column + len(last.text)], new))
    return due if len(due) <= MAX_PLACES else []


def _up_to_telling(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the texts up to the first that says what is meant, as a name does."""
    end = next((i + 1 for i, text in enumerate(texts) if _is_telling(text)), len(texts))
    return tuple(texts[:end])


def _is_telling(text: str) -> bool:
    return bool(_TELLING.match(text)) and text not in KEYWORDS


def _find(tokens: Sequence[Token], pattern: Sequence[str]) -> Sequence[Token] | None:
    """Return the tokens that have the texts of a pattern; None if none or several have."""
    size = len(pattern)
    starts = [i for i in range(len(tokens) - size + 1) if all(tokens[i + k].text == pattern[k] for k in range(size))]
    return tokens[starts[0] : starts[0] + size] if len(starts) == 1 else None


def _common(sides: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return what several runs of tokens begin with alike."""
    found: list[str] = []
    for texts in zip(*sides, strict=False):
        if len(set(texts)) > 1 or len(found) == MAX_CONTEXT:
            break
        found.append(texts[0])
    return tuple(found)


def _texts(tokens: Sequence[Token]) -> tuple[str, ...]:
    return tuple(token.text for token in tokens)
