"""Finds where each name of a TypeScript or Go file is bound and used, by its syntax tree.

It is the truth for `tabcast bench edits`, so it owes nothing to what the language server does. A name of which anything
isn't certain is left out.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, Final

from decoding.bench.harness.edit_names_python import Named
from decoding.errors import TabcastError

_MODULES: Final = {
    "typescript": ("tree_sitter_typescript", "language_typescript"),
    "go": ("tree_sitter_go", "language"),
}
_SCOPES: Final = {
    "typescript": frozenset(
        (
            *("program", "statement_block", "function_declaration", "arrow_function", "function_expression"),
            *("method_definition", "for_statement", "for_in_statement", "catch_clause", "switch_body", "class_body"),
            *("function_signature", "method_signature", "function_type", "construct_signature", "call_signature"),
            *("abstract_method_signature", "generator_function_declaration", "interface_body"),
        )
    ),
    "go": frozenset(
        (
            *("source_file", "block", "function_declaration", "method_declaration", "func_literal", "if_statement"),
            *("for_statement", "expression_switch_statement", "type_switch_statement", "expression_case"),
            *("default_case", "type_case", "communication_case", "select_statement", "function_type", "method_elem"),
        )
    ),
}
_NAMES: Final = frozenset(
    ("identifier", "type_identifier", "shorthand_property_identifier", "shorthand_property_identifier_pattern")
)
_OUTSIDE: Final = frozenset(
    (
        *("function_declaration", "class_declaration", "interface_declaration", "type_alias_declaration"),
        *("enum_declaration", "abstract_class_declaration", "generator_function_declaration"),
    )
)
_UNSURE_IN_TYPESCRIPT: Final = frozenset(
    (
        *("export_specifier", "type_parameter", "array_pattern", "object_pattern", "rest_pattern"),
        *("assignment_pattern", "pair_pattern"),
    )
)
_TYPESCRIPT_BINDS: Final = frozenset(
    (
        *("required_parameter", "optional_parameter", "import_specifier", "import_clause", "namespace_import"),
        *("catch_clause", "variable_declarator", "arrow_function"),
    )
)
_GO_BINDS: Final = {
    "var_spec": "name",
    "const_spec": "name",
    "parameter_declaration": "name",
    "variadic_parameter_declaration": "name",
    "type_spec": "name",
}


def names_of(text: str, language: str) -> list[Named]:
    """Return the names of a file of which all places are certain. Raises `TabcastError` without the grammar."""
    module, function = _MODULES[language]
    try:
        library = importlib.import_module("tree_sitter")
        grammar = library.Language(getattr(importlib.import_module(module), function)())
    except ImportError as error:
        raise TabcastError(f"{module} is needed to tell what a rename has to change: install it") from error
    source = text.encode()
    if len(source) != len(text):
        return []  # offsets would differ
    root = library.Parser(grammar).parse(source).root_node
    return [] if root.has_error else list(_Resolver(language, text).names(root))


class _Resolver:
    def __init__(self, language: str, text: str) -> None:
        self._language = language
        self._text = text
        self._bound: dict[tuple[int, str], list[tuple[int, int, str]]] = {}
        self._unsure: set[str] = set()
        self._uses: list[tuple[Any, str]] = []

    def names(self, root: Any) -> Iterator[Named]:
        stack = [root]
        while stack:
            node = stack.pop()
            stack.extend(node.children)
            if node.type in _NAMES:
                self._take(node)
        places = {key: [at for at, _, _ in found] for key, found in self._bound.items()}
        for node, name in self._uses:
            if (key := self._home(node, name)) is not None:
                places[key].append(node.start_byte)
        for (scope, name), found in places.items():
            defined = tuple(sorted({at for at, _, _ in self._bound[scope, name]}))
            if name not in self._unsure and len(name) > 1:
                kind = self._bound[scope, name][0][2]
                yield Named(name=name, kind=kind, places=tuple(sorted(set(found))), defined=defined)

    def _take(self, node: Any) -> None:
        name = self._text[node.start_byte : node.end_byte]
        bind = self._go_bind(node) if self._language == "go" else self._typescript_bind(node)
        if bind == "unsure":
            self._unsure.add(name)
        elif bind == "use":
            self._uses.append((node, name))
        elif bind != "skip":
            kind, _, where = bind.partition(" ")
            scope = self._scope(node, is_outside=where == "outside")
            self._bound.setdefault((scope.id, name), []).append((node.start_byte, self._since(node), kind))

    def _scope(self, node: Any, *, is_outside: bool = False) -> Any:
        at = node.parent.parent if is_outside else node.parent
        while at.parent is not None and at.type not in _SCOPES[self._language]:
            at = at.parent
        return at

    def _since(self, node: Any) -> int:
        """Return the offset from which a binding holds: in Go a variable doesn't hold in its own statement."""
        at = node.parent
        while self._language == "go" and at is not None:
            if at.type in {"short_var_declaration", "var_spec", "range_clause"}:
                return int(at.end_byte) if self._scope(node).type != "source_file" else 0
            if at.type in _SCOPES["go"]:
                break
            at = at.parent
        return 0

    def _home(self, node: Any, name: str) -> tuple[int, str] | None:
        at = node.parent
        while at is not None:
            if at.type in _SCOPES[self._language]:
                found = self._bound.get((at.id, name))
                if found and min(since for _, since, _ in found) <= node.start_byte:
                    return (at.id, name)
            at = at.parent
        return None

    def _typescript_bind(self, node: Any) -> str:
        parent = node.parent
        if node.type == "shorthand_property_identifier_pattern" or parent.type in _UNSURE_IN_TYPESCRIPT:
            return "unsure"
        if parent.type in _OUTSIDE and parent.child_by_field_name("name") == node:
            return f"{parent.type.partition('_')[0]} outside"
        if parent.type in _TYPESCRIPT_BINDS:
            return self._typescript_parameter(node, parent)
        if parent.type == "for_in_statement" and parent.child_by_field_name("left") == node:
            return "variable" if parent.child_by_field_name("kind") else "use"
        return "skip" if parent.type in {"function_expression", "class"} else "use"

    def _typescript_parameter(self, node: Any, parent: Any) -> str:
        if parent.type == "variable_declarator":
            bound = "variable" if parent.parent.type == "lexical_declaration" else "unsure"
            return bound if parent.child_by_field_name("name") == node else "use"
        if parent.type == "arrow_function":
            return "parameter" if parent.child_by_field_name("parameter") == node else "use"
        if parent.type == "import_specifier":
            alias = parent.child_by_field_name("alias")
            return "import" if alias is None or alias == node else "skip"
        if parent.type in {"required_parameter", "optional_parameter"}:
            if parent.child_by_field_name("pattern") != node:
                return "use"
            return "unsure" if any(one.type == "accessibility_modifier" for one in parent.children) else "parameter"
        return "import" if parent.type in {"import_clause", "namespace_import"} else "variable"

    def _go_bind(self, node: Any) -> str:
        parent = node.parent
        key = parent if parent.type == "keyed_element" else parent.parent
        if key is not None and key.type == "keyed_element" and key.children[0] in (node, parent):
            return "unsure"
        if parent.type == "function_declaration" and parent.child_by_field_name("name") == node:
            return "function outside"
        names = parent.children_by_field_name(_GO_BINDS.get(parent.type, "none"))
        if node in names:
            return "parameter" if "parameter" in parent.type else "type" if parent.type == "type_spec" else "variable"
        if parent.type in {"type_parameter_declaration", "label_name", "type_alias"}:
            return "unsure"
        return self._go_assigned(node, parent)

    def _go_assigned(self, node: Any, parent: Any) -> str:
        if parent.type != "expression_list" or parent.parent.child_by_field_name("left") != parent:
            return "use"
        holder = parent.parent
        if holder.type == "short_var_declaration":
            return "variable"
        if holder.type in {"range_clause", "receive_statement"}:
            is_new = any(one.type == ":=" for one in holder.children)
            return "variable" if is_new else "use"
        return "unsure" if holder.type == "type_switch_statement" else "use"
