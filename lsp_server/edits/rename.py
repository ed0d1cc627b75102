"""Finds what is due where a name was changed at its definition: the places that still have the old name.

It is silent wherever a place may mean something else: where the new name was in use before, where the old one is bound
in more than one way, where the changed place defines nothing.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from lsp_server.edits.code import Code
from lsp_server.edits.go_roles import GoRoles
from lsp_server.edits.proposal import Replaced
from lsp_server.edits.python_roles import Block, PythonRoles
from lsp_server.edits.roles import Role, Roles
from lsp_server.edits.script_roles import ScriptRoles
from lsp_server.languages.table import name_of

NAME: Final = re.compile(r"[^\W\d]\w*\Z")
MAX_PLACES: Final = 1_000
_PYTHON: Final = "python"
_SCRIPTS: Final = ("javascript", "typescript", "javascriptreact")
KEYWORDS: Final = frozenset(
    (*keyword.kwlist, *keyword.softkwlist, "self", "cls", "this", "true", "false", "null", "nil")
)
_WORDS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "go": frozenset(
            [
                "func",
                "var",
                "const",
                "type",
                "struct",
                "interface",
                "map",
                "chan",
                "range",
                "go",
                "defer",
                "select",
                "switch",
                "case",
                "default",
            ]
        ),
        "typescript": frozenset(
            [
                "function",
                "const",
                "let",
                "var",
                "new",
                "typeof",
                "instanceof",
                "interface",
                "enum",
                "extends",
                "implements",
                "undefined",
                "void",
            ]
        ),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Renamed:
    """A name that became another at the `changed` offsets.

    On `lines` the new name wasn't before that. `is_sure` is true if the user changed several places alike.
    """

    old: str
    new: str
    changed: tuple[int, ...]
    lines: frozenset[int]
    is_sure: bool = False


def roles_of(code: Code) -> Roles | None:
    """Return who tells what names are in a language; None where nobody does."""
    language = name_of(code.language)
    if language == _PYTHON:
        return PythonRoles(code)
    if language in _SCRIPTS:
        return ScriptRoles(code)
    return GoRoles(code) if language == "go" else None


def has_roles(language: str) -> bool:
    """Return whether it is known what names are in a language."""
    return name_of(language) in {_PYTHON, "go", *_SCRIPTS}


def is_name(text: str, language: str) -> bool:
    """Return whether a text may be the name of something of the user's."""
    known = name_of(language)
    words = _WORDS.get("typescript" if known in _SCRIPTS else known, frozenset())
    return bool(NAME.match(text)) and text not in KEYWORDS and text not in words


def due_for_rename(code: Code, renamed: Renamed) -> list[Replaced]:
    """Return what is due where a name became another; nothing where that isn't sure."""
    old, new, changed = renamed.old, renamed.new, renamed.changed
    roles = roles_of(code)
    if roles is None or not (is_name(old, code.language) and is_name(new, code.language)):
        return []
    if not code.words(old) or not changed:
        return []
    found = [(at, roles.role(at, new)) for at in changed]
    for at, role in found:
        if role.kind == "bind" and not _is_pattern(code, at, new):
            return _due_in_scope(code, roles, at, role, renamed)
        if role.kind == "member":
            return _due_members(code, roles, at, role, renamed)
    return _due_for_uses(code, roles, found, renamed) if renamed.is_sure else []


def _is_pattern(code: Code, at: int, new: str) -> bool:
    """Return whether a name is bound and at the same time the name of a property: `const {name} = value`."""
    opener = code.opener(at)
    if name_of(code.language) not in _SCRIPTS or opener < 0 or code.masked[opener] != "{":
        return False
    head = code.masked[max(0, opener - 100) : opener]
    if re.search(r"\bimport\b[^;{}]*\Z", head):
        return False
    return code.masked[opener:at].rstrip()[-1:] in {"{", ","} and code.masked[at + len(new) :].lstrip()[:1] in {
        ",",
        "}",
        "=",
    }


def _due_in_scope(code: Code, roles: Roles, at: int, own: Role, renamed: Renamed) -> list[Replaced]:
    """Return the places of a scope in which the old name means what was renamed."""
    old, new = renamed.old, renamed.new
    places = {place: roles.role(place, old) for place in code.words(old, own.start, own.end)}
    if len(places) > MAX_PLACES or any(role.kind == "unsure" for role in places.values()):
        return []
    if _is_taken(code, roles, own, renamed):
        return []
    bound = [place for place, role in places.items() if role[:3] == own]
    if not renamed.is_sure and bound and min(bound) < at:
        return []  # another place defines the old name, too
    limit = min((place for place in bound if place > at), default=own.end) if not renamed.is_sure else own.end
    hidden = [role[1:3] for role in places.values() if role.kind == "bind" and role[:3] != own]
    due: list[Replaced] = []
    for place, role in places.items():
        is_meant = role.kind in {"read", "shorthand"} or (renamed.is_sure and role == own)
        if not is_meant or place >= limit or any(start <= place <= end for start, end in hidden):
            continue
        if roles.hides(place, old):
            continue
        due.append(Replaced(place, old, f"{old}: {new}" if role.kind == "shorthand" else new))
    return due + _due_keywords(code, roles, own, old, new)


def _is_taken(code: Code, roles: Roles, own: Role, renamed: Renamed) -> bool:
    """Return whether the new name was in use in the scope before, so that it may be another thing."""
    new = renamed.new
    return any(
        code.cursor(place).line not in renamed.lines and roles.role(place, new).kind not in {"other", "field"}
        for place in code.words(new, own.start, own.end)
    )


def _due_keywords(code: Code, roles: Roles, own: Role, old: str, new: str) -> list[Replaced]:
    """Return the keywords of calls that name a renamed parameter of a Python function."""
    if not isinstance(roles, PythonRoles):
        return []
    block = next((block for block in roles.blocks if block.kind == "def" and block.head == own.start), None)
    if block is None or sum(other.name == block.name for other in roles.blocks) != 1:
        return []
    header = code.masked[block.head : block.head_end]
    if not re.search(rf"(?<!\w){re.escape(new)}(?!\w)", header):
        return []  # a variable of the function, not a parameter
    return [Replaced(place, old, new) for place in code.words(old) if _is_keyword_of(code, roles, place, old, block)]


def _is_keyword_of(code: Code, roles: PythonRoles, place: int, old: str, block: Block) -> bool:
    opener = code.opener(place)
    if opener < 0 or code.masked[opener] != "(" or not re.match(r"\s*=(?!=)", code.masked[place + len(old) :]):
        return False
    found = re.search(r"(?<![\w.])((?:self|cls)\.)?(\w+)\Z", code.masked[max(0, opener - 100) : opener])
    is_method = block.parent >= 0 and roles.blocks[block.parent].kind == "class"
    return (
        found is not None
        and found[2] == block.name
        and bool(found[1]) == is_method
        and roles.role(place, old).kind == "other"
    )


def _due_members(code: Code, roles: Roles, at: int, own: Role, renamed: Renamed) -> list[Replaced]:
    """Return the uses of a renamed method or field through the object itself."""
    old, new = renamed.old, renamed.new
    if old.startswith("__") or old in {"constructor", "init", "String", "Error"}:
        return []
    owner = roles.type_of(at) if isinstance(roles, GoRoles) else ""
    for place in code.words(new, own.start, own.end):
        if (
            code.cursor(place).line not in renamed.lines
            and roles.role(place, new).kind in {"member", "field"}
            and _is_of(roles, place, owner)
        ):
            return []
    places = {place: roles.role(place, old) for place in code.words(old, own.start, own.end)}
    same = [
        place for place, role in places.items() if role.kind == "member" and _is_same(roles, place, role, own, owner)
    ]
    is_field = code.masked[at - 1] == "."
    if same and (not is_field or min(same) < at) and not renamed.is_sure:
        return []  # overloads, properties with setters, or fields that several places set
    meant = {"field", "member"} if same else {"field"}
    return [
        Replaced(place, old, new)
        for place, role in places.items()
        if role.kind in meant and _is_same(roles, place, role, own, owner)
    ]


def _is_same(roles: Roles, place: int, role: Role, own: Role, owner: str) -> bool:
    """Return whether a member or field belongs to the class or type that `own` tells of."""
    return _is_of(roles, place, owner) if isinstance(roles, GoRoles) else role[1:3] == own[1:3]


def _is_of(roles: Roles, place: int, owner: str) -> bool:
    if not isinstance(roles, GoRoles):
        return True
    return owner != "" and owner in {roles.type_of(place), roles.receiver(place)[1]}


def _due_for_uses(code: Code, roles: Roles, changed: Sequence[tuple[int, Role]], renamed: Renamed) -> list[Replaced]:
    """Return what is due where two uses of a name were changed alike, and its definition not yet."""
    if any(role.kind != "read" for _, role in changed):
        return []
    old = renamed.old
    places = [at for at, _ in changed]
    scopes = {
        role
        for place in code.words(old)
        if (role := roles.role(place, old)).kind == "bind" and role.start <= min(places) and max(places) <= role.end
    }
    if not scopes:
        return []
    own = max(scopes, key=lambda role: role.start)
    first = min(place for place in code.words(old) if roles.role(place, old) == own)
    return _due_in_scope(code, roles, first, own, renamed)
