"""Finds where each name of a Python file is bound and used, by the syntax tree: what a rename has to change.

It is the truth for `tabcast bench edits`, so it owes nothing to what the language server does. A name of which anything
isn't certain is left out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """One name: `places` are all its offsets in order, those that define it being `defined`; `kind` is for people."""

    name: str
    kind: str
    places: tuple[int, ...]
    defined: tuple[int, ...]


@dataclass(slots=True)
class _Scope:
    kind: str
    parent: _Scope | None
    bound: dict[str, list[int]] = field(default_factory=dict)
    used: dict[str, list[int]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)


def names_of(text: str) -> list[Named]:
    """Return the names of a file of which all places are certain. Raises `SyntaxError`."""
    found = _Reader(text)
    found.read(ast.parse(text))
    return [*found.names(), *found.members()]


class _Reader:
    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._text = text
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)
        self._scopes: list[_Scope] = []
        self._dubious: set[str] = set()
        self._members: dict[str, list[tuple[str, int, bool]]] = {}

    def read(self, tree: ast.Module) -> None:
        self._visit_all(tree.body, self._scope("module", None), "")

    def _scope(self, kind: str, parent: _Scope | None) -> _Scope:
        self._scopes.append(_Scope(kind, parent))
        return self._scopes[-1]

    def _offset(self, line: int, column: int) -> int:
        text = self._lines[line - 1]
        return self._starts[line - 1] + len(text.encode()[:column].decode())

    def _find(self, name: str, node: ast.AST, pattern: str) -> int | None:
        start = self._offset(node.lineno, node.col_offset)  # type: ignore[attr-defined]
        found = re.compile(pattern.format(re.escape(name))).search(self._text, start)
        return found.start(1) if found else None

    def _bind(self, scope: _Scope, name: str, at: int | None, kind: str) -> None:
        if at is None or not self._text.startswith(name, at):
            self._dubious.add(name)
            return
        scope.bound.setdefault(name, []).append(at)
        scope.kinds.setdefault(name, kind)

    def _use(self, scope: _Scope, name: str, at: int) -> None:
        if not self._text.startswith(name, at):
            self._dubious.add(name)
        scope.used.setdefault(name, []).append(at)

    def _visit_all(self, nodes: object, scope: _Scope, owner: str) -> None:
        for node in nodes if isinstance(nodes, list) else [nodes]:
            if isinstance(node, ast.AST):
                self._visit(node, scope, owner)

    def _visit(self, node: ast.AST, scope: _Scope, owner: str) -> None:
        if isinstance(node, _FUNCTIONS):
            self._function(node, scope, owner)
        elif isinstance(node, ast.ClassDef):
            self._bind(scope, node.name, self._find(node.name, node, r"class\s+({})\b"), "class")
            self._visit_all([*node.decorator_list, *node.bases, *node.keywords], scope, owner)
            self._visit_all(node.body, self._scope("class", scope), node.name)
        elif isinstance(node, _COMPREHENSIONS):
            inner = self._scope("comprehension", scope)
            for number, generator in enumerate(node.generators):
                self._visit(generator.target, inner, owner)
                self._visit(generator.iter, inner if number else scope, owner)  # the first is read outside
                self._visit_all(generator.ifs, inner, owner)
            values = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
            self._visit_all(values, inner, owner)
        elif isinstance(node, ast.JoinedStr | ast.Match | ast.Global | ast.Nonlocal):
            self._doubt(node)
        else:
            self._plain(node, scope, owner)

    def _doubt(self, node: ast.AST) -> None:
        """Leave out names in pieces of f-strings, whose places older Pythons tell wrongly, and a few others."""
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name):
                self._dubious.add(inner.id)
            for name in ("name", "names", "attr", "rest"):
                value = getattr(inner, name, None)
                self._dubious.update(value if isinstance(value, list) else [value] if isinstance(value, str) else [])

    def _plain(self, node: ast.AST, scope: _Scope, owner: str) -> None:
        if isinstance(node, ast.Name):
            at = self._offset(node.lineno, node.col_offset)
            if isinstance(node.ctx, ast.Store):
                self._bind(scope, node.id, at, "variable")
            else:
                self._use(scope, node.id, at)
        elif isinstance(node, ast.Attribute):
            at = self._offset(node.end_lineno or 1, node.end_col_offset or 0) - len(node.attr)
            is_self = isinstance(node.value, ast.Name) and node.value.id == "self"
            self._members.setdefault(node.attr, []).append((owner if is_self else "", at, False))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            self._import(node, scope)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            self._bind(scope, node.name, self._find(node.name, node, r"\bas\s+({})\b"), "variable")
        elif isinstance(node, ast.keyword) and node.arg:
            self._dubious.add(f"{node.arg}=")
        for child in ast.iter_child_nodes(node):
            self._visit(child, scope, owner)

    def _import(self, node: ast.Import | ast.ImportFrom, scope: _Scope) -> None:
        for alias in node.names:
            if alias.asname:
                self._bind(scope, alias.asname, self._find(alias.asname, alias, r"\bas\s+({})\b"), "import")
            elif "." not in alias.name and alias.name != "*":
                self._bind(scope, alias.name, self._offset(alias.lineno, alias.col_offset), "import")

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, scope: _Scope, owner: str) -> None:
        arguments = node.args
        outer: list[ast.AST | None] = [*arguments.defaults, *arguments.kw_defaults]
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [one for one in (arguments.vararg, arguments.kwarg) if one]
        inner = self._scope("function", scope)
        if not isinstance(node, ast.Lambda):
            at = self._find(node.name, node, r"def\s+({})\b")
            if scope.kind == "class":
                if at is not None:
                    self._members.setdefault(node.name, []).append((owner, at, True))
            else:
                self._bind(scope, node.name, at, "function")
            outer += [*node.decorator_list, node.returns, *(one.annotation for one in every)]
        for one in every:
            self._bind(inner, one.arg, self._offset(one.lineno, one.col_offset), "parameter")
        self._visit_all([one for one in outer if one is not None], scope, owner)
        self._visit_all(node.body if isinstance(node.body, list) else [node.body], inner, owner)

    def names(self) -> Iterator[Named]:
        """Yield the names that are variables, with all their places."""
        places: dict[tuple[int, str], list[int]] = {}
        by_id = {id(scope): scope for scope in self._scopes}
        for scope in self._scopes:
            for name, found in scope.bound.items():
                places.setdefault((id(scope), name), []).extend(found)
            for name, found in scope.used.items():
                if (home := _home(scope, name)) is not None:
                    places.setdefault((id(home), name), []).extend(found)
        for (key, name), found in places.items():
            scope = by_id[key]
            is_keyword = scope.kinds.get(name) == "parameter" and f"{name}=" in self._dubious
            if scope.kind in {"class", "comprehension"} or name in self._dubious or is_keyword:
                continue
            yield Named(
                name=name, kind=scope.kinds[name], places=tuple(sorted(found)), defined=tuple(sorted(scope.bound[name]))
            )

    def members(self) -> Iterator[Named]:
        """Yield methods that are defined once, and used through `self` in their class alone."""
        for name, found in self._members.items():
            owners = {owner for owner, _, _ in found}
            defined = tuple(at for _, at, is_defined in found if is_defined)
            if len(owners) == 1 and "" not in owners and len(defined) == 1 and name not in self._dubious:
                places = tuple(sorted(at for _, at, _ in found))
                if not name.startswith("__"):
                    yield Named(name=name, kind="method", places=places, defined=defined)


def _home(scope: _Scope, name: str) -> _Scope | None:
    """Return the scope that binds a name which is used in this one."""
    at: _Scope | None = scope
    while at is not None:
        if name in at.bound and (at is scope or at.kind != "class"):
            return at
        at = at.parent
    return None
