"""Finds what is due where a function's parameters changed: calls in the same document that pass what is gone or moved.

It is sure only of parameters that were taken out or put into another order: what a new one is to be given, nobody can
know. Where the function still uses what was taken out, the user isn't done.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from lsp_server.edits.code import Code
from lsp_server.edits.history import Hunk
from lsp_server.edits.proposal import Replaced
from lsp_server.edits.rename import roles_of
from lsp_server.edits.roles import Roles

NUM_LINES_NEAR: Final = 20
MAX_CALLS: Final = 200
_HEADS: Final = re.compile(r"\b(?:def|func|function)\s+\*?\s*(?P<name>\w+)\s*\(")
_NAME: Final = re.compile(r"\s*(\w+)")
_KEYWORD: Final = re.compile(r"\s*(\w+)\s*=(?!=)")


class Header(NamedTuple):
    """A function's name and the offset of the bracket around its parameters, by whose names they are told."""

    name: str
    opener: int
    parameters: tuple[str, ...]


class Call(NamedTuple):
    """The arguments of a call, from offset `at` on."""

    at: int
    text: str
    arguments: tuple[str, ...]


def due_for_signature(code: Code, hunks: Sequence[Hunk]) -> list[Replaced]:
    """Return the calls that a change of parameters in one of these hunks leaves wrong."""
    changed = {line for hunk in hunks for line in range(hunk.first, hunk.end)}
    for hunk in hunks:
        if hunk.is_ours:
            continue
        for old, new in _changed_headers(code, hunk):
            kept = [old.parameters.index(name) for name in new.parameters if name in old.parameters]
            if len(kept) != len(new.parameters) or kept == list(range(len(old.parameters))):
                continue  # something was added, or nothing is gone or moved
            if due := _due(code, old, new, changed):
                return due
    return []


def _changed_headers(code: Code, hunk: Hunk) -> Iterator[tuple[Header, Header]]:
    """Yield each function whose header a hunk is in, as it was and as it is; the offset is that in the whole text."""
    first, last = max(0, hunk.first - NUM_LINES_NEAR), min(len(code.lines), hunk.end + NUM_LINES_NEAR)
    above, below = tuple(code.lines[first : hunk.first]), tuple(code.lines[hunk.end : last])
    now = {header.name: header for header in _headers(Code((*above, *hunk.lines, *below), code.language))}
    for version in hunk.versions:
        for old in _headers(Code((*above, *version, *below), code.language)):
            new = now.get(old.name)
            if new is not None and new.parameters != old.parameters and new.opener == old.opener:
                yield old, new._replace(opener=new.opener + code.starts[first])


def _headers(code: Code) -> Iterator[Header]:
    for found in _HEADS.finditer(code.masked):
        opener = found.end() - 1
        pieces = _pieces(code, opener)
        names = [name[1] for piece in pieces or () if (name := _NAME.match(piece))]
        if pieces is not None and len(names) == len(pieces):  # no stars, patterns or the like
            own = names[1:] if names[:1] in (["self"], ["cls"]) else names
            yield Header(found["name"], opener, tuple(own))


def _pieces(code: Code, opener: int) -> tuple[str, ...] | None:
    """Return what stands between the commas of a bracket; None if its end is missing."""
    closer = code.closer(opener)
    if closer < 0:
        return None
    pieces: list[str] = []
    depth, start = 0, opener + 1
    for at in range(opener + 1, closer):
        mark = code.masked[at]
        depth += (mark in "([{") - (mark in ")]}")
        if mark == "," and depth == 0:
            pieces.append(code.text[start:at])
            start = at + 1
    rest = code.text[start:closer]
    return (*pieces, rest) if rest.strip() else tuple(pieces)


def _due(code: Code, old: Header, new: Header, changed: set[int]) -> list[Replaced]:
    roles = roles_of(code)
    if roles is None or any(_is_used(code, roles, new, name) for name in set(old.parameters) - set(new.parameters)):
        return []
    places = code.words(old.name)
    kinds = {place: roles.role(place, old.name).kind for place in places[: MAX_CALLS + 1]}
    defined = [place for place, kind in kinds.items() if kind in {"bind", "member"}]
    if len(places) > MAX_CALLS or len(defined) != 1 or not code.text.startswith(old.name, defined[0]):
        return []
    is_method = kinds[defined[0]] == "member"
    due: list[Replaced] = []
    for place, kind in kinds.items():
        call = _call(code, place + len(old.name)) if kind == ("field" if is_method else "read") else None
        if call is None or code.cursor(call.at).line in changed:
            continue
        arguments = _adapted(call.arguments, old.parameters, new.parameters)
        if arguments is not None and arguments != call.arguments:
            due.append(Replaced(call.at, call.text, ", ".join(argument.strip() for argument in arguments)))
    return due


def _is_used(code: Code, roles: Roles, header: Header, name: str) -> bool:
    """Return whether a function still uses a parameter that its header has no more."""
    end = (
        next(
            (
                role.end
                for place in code.words(header.parameters[0], header.opener, code.closer(header.opener))
                if (role := roles.role(place, header.parameters[0])).kind == "bind"
            ),
            0,
        )
        if header.parameters
        else 0
    )
    if not end:  # without a parameter left, the function's end isn't told: its next lines have to do
        line = code.cursor(header.opener).line
        last = min(len(code.lines), line + 2 * NUM_LINES_NEAR)
        end = code.starts[last - 1] + len(code.lines[last - 1])
    return bool(code.words(name, code.closer(header.opener), end))


def _call(code: Code, behind: int) -> Call | None:
    found = re.compile(r"\s*\(").match(code.masked, behind)
    pieces = _pieces(code, found.end() - 1) if found else None
    if found is None or pieces is None:
        return None
    text = code.text[found.end() : code.closer(found.end() - 1)]
    is_plain = "\n" not in text and not any(piece.strip().startswith(("*", "...")) for piece in pieces)
    return Call(found.end(), text, pieces) if is_plain else None


def _adapted(arguments: tuple[str, ...], old: Sequence[str], new: Sequence[str]) -> tuple[str, ...] | None:
    """Return the arguments for the new parameters; None where it isn't sure which is which."""
    named = [found[1] if (found := _KEYWORD.match(argument)) else "" for argument in arguments]
    num_plain = next((i for i, name in enumerate(named) if name), len(named))
    if not all(named[num_plain:]) or num_plain > len(old) or set(named[num_plain:]) - set(old) - {""}:
        return None
    by_name = dict(zip(old, arguments[:num_plain], strict=False))
    is_moved = [name for name in old if name in new] != list(new)
    if is_moved and num_plain < len(old):
        return None if num_plain else arguments
    if len(arguments) < len(old) and any(name not in new for name in old[:num_plain]):
        return None  # it may have been changed already
    plain = [by_name[name] for name in new if name in by_name]
    keywords = [
        argument for name, argument in zip(named[num_plain:], arguments[num_plain:], strict=True) if name in new
    ]
    return (*plain, *keywords)
