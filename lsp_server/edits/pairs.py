"""Finds the other half of a pair of which one half was changed: a tag's end, or a bracket's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from lsp_server.edits.code import OPENERS, Code
from lsp_server.edits.history import Hunk
from lsp_server.edits.proposal import Replaced
from lsp_server.edits.swaps import swaps_of
from lsp_server.languages.table import name_of

_MARKUP: Final = frozenset(
    ("html", "xml", "vue", "svelte", "javascriptreact", "typescriptreact", "handlebars", "astro", "php")
)
_TAG: Final = re.compile(r"<(?P<end>/?)(?P<name>[A-Za-z][\w.:-]*)(?P<rest>(?:[^<>\"']|\"[^\"]*\"|'[^']*'|=>)*)>")
_CLOSERS: Final = {opener: closer for closer, opener in OPENERS.items()}


def due_in_pair(code: Code, hunks: Sequence[Hunk], language: str) -> list[Replaced]:
    """Return the half of a pair that no longer fits the other, which a hunk has changed."""
    for hunk in hunks:
        for swap in () if hunk.is_ours else swaps_of(hunk):
            if len(swap.old) != 1 or len(swap.new) != 1:
                continue
            old, new = swap.old[0], swap.new[0].text
            at = code.starts[swap.line] + swap.new[0].column
            is_tag = language.lower() in _MARKUP or name_of(language) in _MARKUP
            due = _other_tag(code, at, old, new) if is_tag and new.isidentifier() and old.isidentifier() else None
            if old in _CLOSERS and new in _CLOSERS:
                due = _closer(code, at, old, new)
            if due is not None:
                return [due]
    return []


def _other_tag(code: Code, at: int, old: str, new: str) -> Replaced | None:
    """Return the other tag of an element, if it has the old name where its match should stand."""
    tags = [tag for tag in _TAG.finditer(code.text) if not tag["rest"].endswith("/")]
    number = next((i for i, tag in enumerate(tags) if tag.start("name") == at and tag["name"] == new), None)
    if number is None:
        return None
    is_end, depth = bool(tags[number]["end"]), 0
    others = reversed(tags[:number]) if is_end else iter(tags[number + 1 :])
    for tag in others:
        if tag["name"] == new:
            return None  # its other half may be this one
        if tag["name"] != old:
            continue
        if bool(tag["end"]) != is_end:
            if depth == 0:
                return Replaced(tag.start("name"), old, new)
            depth -= 1
        else:
            depth += 1
    return None


def _closer(code: Code, at: int, old: str, new: str) -> Replaced | None:
    """Return the end of a bracket that became another one, if all between them is closed."""
    if code.masked[at] != new:
        return None
    depth: list[str] = []
    for place in range(at + 1, min(len(code.masked), at + 2_000)):
        mark = code.masked[place]
        if mark in _CLOSERS:
            depth.append(mark)
        elif mark in OPENERS:
            if not depth:
                return Replaced(place, mark, _CLOSERS[new]) if OPENERS[mark] == old else None
            if depth.pop() != OPENERS[mark]:
                return None
    return None
