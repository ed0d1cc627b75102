"""Tells what names in Python are: bound, read, or part of something else, as far as their lines and blocks tell."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from lsp_server.edits.code import Code
from lsp_server.edits.roles import OTHER, READ, UNSURE, Role
from lsp_server.languages.syntax import indentation

_LINE: Final = re.compile(
    r"^(?P<blanks>[ \t]*)(?:(?:async[ \t]+)?(?P<kind>def|class)[ \t]+(?P<name>\w+)|[^\s)\]}])", re.M
)
_FOR: Final = re.compile(r"\bfor\s+[\w\s,*(]*\Z")
_IN: Final = re.compile(r"[\w\s,*)]*?\bin\b")
_IMPORT: Final = re.compile(r"\s*(?:from\s+[\w.]+\s+)?import\b")
_TARGETS: Final = re.compile(r"\s*[\w.,*\s()\[\]]*\Z")
_ASSIGNED: Final = re.compile(r"[\w.,*\s()\[\]]*=(?!=)")
_LAMBDA: Final = re.compile(r"\blambda\b[^:]*\Z")
_STATEMENTS: Final = re.compile(r"\s*(?:(?:global|nonlocal)\b|case\s)")


@dataclass(frozen=True, slots=True)
class Block:
    """A function or class: from its line's `start` over the bracket `head` of its header to `end`."""

    kind: str
    name: str
    name_at: int
    start: int
    head: int
    head_end: int
    end: int
    parent: int


class PythonRoles:
    """The roles of names in one document."""

    def __init__(self, code: Code) -> None:
        self._code = code

    @cached_property
    def blocks(self) -> list[Block]:
        """Return all functions and classes in the order of their beginnings."""
        return _find_blocks(self._code)

    @cached_property
    def _starts(self) -> list[int]:
        return [block.head for block in self.blocks]

    def around(self, at: int) -> list[Block]:
        """Return the functions and classes whose header's bracket or body a place is in, from the innermost on."""
        index = bisect_right(self._starts, at - 1) - 1
        found: list[Block] = []
        while index >= 0:
            block = self.blocks[index]
            if at < block.end:
                found.append(block)
            index = block.parent
        return found

    def role(self, at: int, name: str) -> Role:
        """Return what the name at an offset does."""
        code, around = self._code, self.around(at)
        line_start = code.starts[code.cursor(at).line]
        before, after = code.masked[line_start:at], code.line_at(at)[at - line_start + len(name) :]
        left, right = before.rstrip(), after.lstrip()
        if left.endswith("."):
            return self._attribute(at, before, right, around)
        if around and at < around[0].head_end:
            block = around.pop(0)
            if code.opener(at) == block.head and block.kind == "def":
                gap = code.masked[block.head : at].rstrip()
                if gap.endswith(("(", ",", "*")):
                    return Role("bind", block.head, block.end)
        if re.search(r"\b(?:def|class)\s+\Z", before):
            return self._bound(around)
        return UNSURE if _STATEMENTS.match(before) else self._in_statement(at, before, after, around) or READ

    def hides(self, at: int, name: str) -> bool:
        """Return whether a name that is read at an offset is one of its own class, and not the one outside of it."""
        around = self.around(at)
        if not around or around[0].kind != "class" or at < around[0].head_end:
            return False
        block = around[0]
        found = [place for place in self._code.words(name, block.head_end, block.end) if self.around(place)[0] is block]
        return any(self.role(place, name).kind == "member" for place in found)

    def _in_statement(self, at: int, before: str, after: str, around: Sequence[Block]) -> Role | None:
        code, left, right = self._code, before.rstrip(), after.lstrip()
        opener = code.opener(at)
        mark = code.masked[opener] if opener >= 0 else ""
        if role := self._imported(before, right, opener, around) or self._in_expression(at, before, after, opener):
            return role
        is_assigned = right.startswith("=") and not right.startswith("==")
        if is_assigned and mark:
            is_keyword = mark == "(" and code.masked[opener:at].rstrip()[-1:] in {"(", ","}
            return OTHER if is_keyword else READ
        is_named = re.search(r"\bas\s+\Z", before) or right.startswith(":=")
        is_annotated = right.startswith(":") and not left and not mark
        is_looped = _FOR.search(before) and _IN.match(after)
        if is_assigned or is_named or is_annotated or is_looped:
            return self._bound(around)
        is_target = _TARGETS.match(before) and _ASSIGNED.match(after) and left[-1:] in {"", ",", "(", "*"}
        return self._bound(around) if is_target and mark in {"", "("} and right[:1] in {",", ")", "="} else None

    def _in_expression(self, at: int, before: str, after: str, opener: int) -> Role | None:
        """Return the role of a name that a lambda or a comprehension binds for itself."""
        code = self._code
        if _LAMBDA.search(before):
            return Role("bind", at, code.closer(opener) if opener >= 0 else at + len(after) + 1)
        is_inner = opener >= 0 and _FOR.search(before) and _IN.match(after)
        if is_inner and re.search(r"\bfor\b", code.masked[opener:at]):
            return Role("bind", opener, code.closer(opener))
        return None

    def _imported(self, before: str, right: str, opener: int, around: Sequence[Block]) -> Role | None:
        is_listed = opener >= 0 and re.search(r"\bimport\s*\Z", self._code.masked[max(0, opener - 20) : opener])
        if not is_listed and not _IMPORT.match(before):
            return None
        return OTHER if re.match(r"as\b|\.", right) else self._bound(around)

    def _bound(self, around: Sequence[Block]) -> Role:
        if not around:
            return Role("bind", 0, len(self._code.text))
        block = around[0]
        if block.kind == "class":
            return Role("member", block.start, block.end)
        return Role("bind", block.head, block.end)

    def _attribute(self, at: int, before: str, right: str, around: Sequence[Block]) -> Role:
        owner = next((block for block in around if block.kind == "class"), None)
        found = re.search(r"(?<![\w.])(\w+)\.\Z", before)
        if owner is None or not found or found[1] not in {"self", "cls", owner.name}:
            return OTHER
        is_set = not before[: found.start()].strip() and re.match(r"=(?!=)|:(?!=)", right)
        return Role("member" if is_set else "field", owner.start, owner.end)


def _find_blocks(code: Code) -> list[Block]:
    text = code.masked
    found: list[Block] = []
    open_blocks: list[tuple[int, int]] = []  # indentation and number
    ends: dict[int, int] = {}
    head_end = -1
    for line in _LINE.finditer(text):
        if line.start() < head_end:
            continue
        blanks = line["blanks"]
        width = indentation(blanks + ".") if "\t" in blanks else len(blanks)
        while open_blocks and width <= open_blocks[-1][0]:
            ends[open_blocks.pop()[1]] = line.start()
        if not line["kind"]:
            continue
        head = line.end("name")
        while text[head : head + 1] not in {"(", ":", "\n", ""}:
            head += 1
        closer = code.closer(head) if text[head : head + 1] == "(" else head
        head_end = closer if closer >= 0 else head
        parent = open_blocks[-1][1] if open_blocks else -1
        open_blocks.append((width, len(found)))
        found.append(
            Block(line["kind"], line["name"], line.start("name"), line.start(), head, head_end, len(text), parent)
        )
    return [
        Block(one.kind, one.name, one.name_at, one.start, one.head, one.head_end, ends.get(i, one.end), one.parent)
        for i, one in enumerate(found)
    ]
