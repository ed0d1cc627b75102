"""Tells what names in Go are: bound, read, or part of something else, by what stands around them."""

from __future__ import annotations

import re
from typing import Final

from lsp_server.edits.code import Code
from lsp_server.edits.roles import OTHER, READ, UNSURE, Role

_FUNC: Final = re.compile(r"(?m)^func[ \t]+\Z")
_METHOD: Final = re.compile(r"(?m)^func[ \t]*\([ \t]*(?:\w+[ \t]+)?\*?(?P<type>\w+)(?:\[[^\]]*\])?[ \t]*\)[ \t]*\Z")
_DECLARED: Final = re.compile(r"\b(?:type|var|const)\s+(?:\w+\s*,\s*)*\Z")
_GROUP: Final = re.compile(r"\b(?:type|var|const)\s*\Z")
_SHORT: Final = re.compile(r"\s*(?:,\s*\w+\s*)*:=")
_BEFORE_SHORT: Final = re.compile(
    r"\s*(?P<head>(?:\}\s*else\s+)?if\b|for\b|switch\b|case\b|select\b)?\s*(?:\w+\s*,\s*)*\Z"
)
_PARAMETERS: Final = re.compile(r"\bfunc\s*(?:\([^()]*\)\s*)?\w*(?:\[[^\]]*\])?\s*\Z")
_RESULTS: Final = re.compile(r"\bfunc\s*(?:\([^()]*\)\s*)?\w*\s*\([^()]*\)\s*\Z")
_STRUCT: Final = re.compile(r"\btype\s+\w+(?:\[[^\]]*\])?\s+struct\s*\Z")
_TYPE_NAME: Final = re.compile(r"\btype\s+(\w+)")
_ELSE: Final = re.compile(r"\s*else\b[^{\n]*\{")
_NAMED: Final = re.compile(r"\s*(?:[\w*\[.]|,)")


class GoRoles:
    """The roles of names in one document."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self._text = code.masked

    def role(self, at: int, name: str) -> Role:
        """Return what the name at an offset does."""
        text = self._text
        start = text.rfind("\n", 0, at) + 1
        line = text[start:at]
        after = text[at + len(name) : at + len(name) + 200]
        if line.rstrip().endswith("."):
            return self._attribute(at, line)
        if role := self._declared(at, line, after):
            return role
        opener = self._code.opener(at)
        if opener >= 0 and text[opener] == "(":
            return self._in_parentheses(at, line, after, opener)
        return self._in_braces(at, line, after, opener) if opener >= 0 and text[opener] == "{" else READ

    def hides(self, at: int, name: str) -> bool:
        """Return False: a type's members are always named through a value."""
        return False

    def type_of(self, at: int) -> str:
        """Return the name of the type whose method or field is defined at an offset; "" if none is."""
        line = self._text[self._text.rfind("\n", 0, at) + 1 : at]
        if found := _METHOD.search(line):
            return found["type"]
        opener = self._code.block(at)
        found = None if opener < 0 else _TYPE_NAME.search(self._text, self._text.rfind("\n", 0, opener) + 1, opener)
        return found[1] if found else ""

    def receiver(self, at: int) -> tuple[str, str]:
        """Return the name and type of the receiver of the method around an offset."""
        start = self._text.rfind("\nfunc", 0, at) + 1
        line = self._text[start : self._text.find("\n", start)]
        found = re.match(r"func[ \t]*\([ \t]*(\w+)[ \t]+\*?(\w+)", line)
        end = self._text.find("\n}", start)
        return (found[1], found[2]) if found and (end < 0 or at < end) else ("", "")

    def _block(self, at: int) -> Role:
        opener = self._code.block(at)
        return Role("bind", 0, len(self._text)) if opener < 0 else Role("bind", opener, self._code.closer(opener))

    def _declared(self, at: int, line: str, after: str) -> Role | None:
        if _FUNC.search(line):
            return Role("bind", 0, len(self._text))
        if _METHOD.search(line):
            return Role("member", 0, len(self._text))
        if _DECLARED.search(line):
            return self._block(at)
        found = _BEFORE_SHORT.match(line) if _SHORT.match(after) else None
        return self._short(at, found["head"] or "") if found else None

    def _attribute(self, at: int, line: str) -> Role:
        found = re.search(r"(?<![\w.)\]])(\w+)\s*\.\s*\Z", line)
        name, _ = self.receiver(at)
        return Role("field", 0, len(self._text)) if found and name and found[1] == name else OTHER

    def _short(self, at: int, head: str) -> Role:
        if head in {"case", "select"}:
            return UNSURE
        if not head:
            return self._block(at)
        brace = self._text.find("{", at)
        end = self._code.closer(brace) if brace >= 0 else -1
        while end >= 0 and (found := _ELSE.match(self._text, end + 1)):
            end = self._code.closer(found.end() - 1)
        return Role("bind", at, end) if end >= 0 else UNSURE

    def _in_parentheses(self, at: int, line: str, after: str, opener: int) -> Role:
        head = self._text[max(0, opener - 300) : opener]
        head = head[head.rfind("\n\n") + 1 :]
        if _GROUP.search(head) and not line.strip():
            return self._block(opener)
        is_named = self._text[opener:at].rstrip()[-1:] in {"(", ","}
        if not (_PARAMETERS.search(head) or _RESULTS.search(head)) or not is_named:
            return READ
        group = self._text[opener + 1 : self._code.closer(opener)]
        has_names = any(re.match(r"\s*\w+\s+[\w*\[.(]", piece) for piece in group.split(","))
        if not has_names or not _NAMED.match(after):
            return READ
        closer = self._code.closer(opener)
        brace = re.compile(r"[^{}\n;]*(?:interface\{\}[^{}\n;]*)*\{").match(self._text, closer + 1)
        if brace is None:
            return OTHER
        start = self._text.rfind("func", 0, opener)
        return Role("bind", start, self._code.closer(brace.end() - 1))

    def _in_braces(self, at: int, line: str, after: str, opener: int) -> Role:
        head = self._text[max(0, opener - 100) : opener]
        if not line.strip() and _STRUCT.search(head):
            return Role("member", 0, len(self._text))
        if re.search(r"\b(?:struct|interface)\s*\Z", head) and not line.strip():
            return OTHER
        is_key = re.match(r"\s*:(?!=)", after) and self._text[opener:at].rstrip()[-1:] in {"{", ","}
        return OTHER if is_key else READ
